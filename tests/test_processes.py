"""Whatever ends a pytest, nothing that its tests started outlives it."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from processes import BEGIN_SECONDS, LEAVE_SECONDS, MARK, marked, named, spawn, told, until

TESTS = Path(__file__).parent
TRAIN = (
    "train --iterations 100000 --trials 8 --parts 1 --episodes 2 --hidden 4 --embedding 0 --learner-threads 1 "
    "--evaluation-tasks 0 --actors 1 --checkpoint-every 100000"
)
STUCK = f"""
import os, subprocess, sys, time
from pathlib import Path
from processes import spawn

def test_that_ends_only_when_it_is_ended():
    here = Path({{place!r}})
    # Like Ray's: in a session of its own, its parent gone.
    daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(10000)"
    subprocess.run([sys.executable, "-c", daemon], check=True)
    with spawn([sys.executable, "-m", "innerloop", *{TRAIN.split()!r}, "--out", str(here / "run")]):
        while not (here / "run" / "metrics.jsonl").exists():
            time.sleep(0.1)
        (here / "begun").write_text(str(os.getpid()))
        time.sleep(10000)
"""


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, 0), (signal.SIGKILL, 1)]
)
def test_a_pytest_that_is_ended_takes_a_run_and_its_ray_with_it(
    number: signal.Signals, workers: int, tmp_path: Path
) -> None:
    """With workers it is one of those that is killed."""
    (tmp_path / "test_stuck.py").write_text(STUCK.format(place=str(tmp_path)))
    paths = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    options = f"-p processes -p no:cacheprovider -n {workers} --maxfail=1 --max-worker-restart=0"
    command = [sys.executable, "-m", "pytest", *options.split(), str(tmp_path)]
    given = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": paths}}
    with (tmp_path / "said").open("wb") as said, spawn(command, stdout=said, stderr=said, **given) as outer:

        def begun() -> bool:
            assert outer.poll() is None, (tmp_path / "said").read_text()
            return (tmp_path / "begun").exists()

        until(begun)
        mark = outer.mark
        assert all(named(mark, name) for name in ("raylet", "gcs_server"))
        os.kill(int((tmp_path / "begun").read_text()), number)
        outer.wait(BEGIN_SECONDS)
        until(lambda: not marked(mark), LEAVE_SECONDS, lambda: f"left: {[*map(told, marked(mark))]}")


def test_what_has_no_mark_of_ours_is_not_ended() -> None:
    with spawn([sys.executable, "-c", "import time; time.sleep(10000)"]) as other:
        with spawn([sys.executable, "-c", "import time; time.sleep(10000)"]) as one:
            until(lambda: marked(one.mark), pause=0.01)
            assert {process.pid for process in marked(one.mark)} == {one.pid}
        assert not psutil.pid_exists(one.pid)
        assert other.poll() is None
        assert os.getpid() not in {process.pid for process in marked(os.environ[MARK])}

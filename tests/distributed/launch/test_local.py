"""A cluster of our own: begun with patience, ended whole, in a directory that is ours alone."""

import os
import re
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from processes import END_SECONDS, marked, named, run, spawn, until

from innerloop.distributed.launch import local
from innerloop.distributed.launch.local import own_directory
from innerloop.envs.errors import BadInput

TOO_SLOW = {**os.environ, "RAY_gcs_storage": "none", "RAY_gcs_server_port_wait_time_s": "1"}
"""Its GCS ends as soon as it has begun, and Ray gives up."""
TRAIN = "train --iterations 1 --trials 8 --episodes 2 --hidden 4 --embedding 0 --learner-threads 1 --evaluation-tasks 0"
IN_TIME = """
import logging, os
from innerloop.distributed.launch import local

class Later(logging.Handler):
    def emit(self, record):
        os.environ["RAY_gcs_server_port_wait_time_s"] = "100"
        os.environ["RAY_gcs_storage"] = "memory"

logging.getLogger("innerloop").addHandler(Later())
local.PAUSES = (0.1,)
with local.own_cluster(cpus=1) as context:
    print("begun", context.address_info["session_dir"])
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where clusters of this test put their directories; short, as sockets' names have to be."""
    directory = Path(tempfile.mkdtemp(prefix="", dir=os.environ["RAY_TMPDIR"]))
    for environment in (os.environ, TOO_SLOW):
        monkeypatch.setitem(environment, "RAY_TMPDIR", str(directory))
    return directory


def test_a_ray_that_does_not_start_ends_in_a_sentence_and_leaves_its_logs_alone(place: Path, tmp_path: Path) -> None:
    code = "from innerloop.distributed import cli; from innerloop.distributed.launch import local; "
    code += "local.PAUSES = 0.1, 0.2; cli.main()"
    with spawn(
        [sys.executable, "-c", code, *TRAIN.split(), "--out", str(tmp_path / "run")],
        env=TOO_SLOW, stdout=-1, stderr=-1, text=True,
    ) as process:  # fmt: skip
        _, said = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 1
        assert not marked(process.mark)
    *tries, last = said.splitlines()
    assert [re.search(r"It is tried again in ([\d.]+) seconds", line)[1] for line in tries] == ["0.1", "0.2"]
    found = re.fullmatch(r"innerloop: Ray does not start \(.+\)\. Its logs are kept in (\S+)\.", last)
    assert found, said
    assert [str(each) for each in place.iterdir()] == [found[1]]
    assert [*Path(found[1]).rglob("gcs_server.out")]
    assert not (tmp_path / "run").exists()


def test_a_ray_that_starts_when_it_is_tried_again_is_used_and_its_directory_goes_with_it(place: Path) -> None:
    done = run([sys.executable, "-c", IN_TIME], env=TOO_SLOW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"begun {place}/ray-")
    assert not [*place.iterdir()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_ray_starts_leaves_nothing(number: signal.Signals, place: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "innerloop", *TRAIN.split(), "--out", str(tmp_path / "run")]
    with spawn(command, stdout=-1, stderr=-1, text=True) as process:

        def begun() -> bool:
            assert process.poll() is None
            return bool(named(process.mark, "gcs_server"))

        until(begun, pause=0.01)
        process.send_signal(number)
        process.communicate(timeout=END_SECONDS)
        assert process.returncode != 0
        assert not marked(process.mark)
    assert not [*place.iterdir()]
    assert not (tmp_path / "run").exists()


def test_a_clusters_directory_is_ours_alone_whatever_the_mask(place: Path) -> None:
    before = os.umask(0)
    try:
        made = own_directory()
    finally:
        os.umask(before)
    assert made.parent == place
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "expected"),
    [("/nowhere", "can be written"), (f"/{'x' * 30}", "at most 28 bytes"), ("/dev/null", "can be written")],
)
def test_a_place_that_cannot_be_used_is_refused(name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", name)
    with pytest.raises(BadInput, match=rf"RAY_TMPDIR is '{name}'; expected .*{expected}"):
        own_directory()


def test_the_longest_place_that_is_taken_is_good_for_rays_sockets() -> None:
    session = "session_2026-11-27_07-48-32_544931_4194304"  # when, and the greatest number of a process
    assert local.LONGEST_PARENT + len(f"/ray-12345678/r/{session}/sockets/plasma_store") <= 107

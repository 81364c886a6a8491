"""A cluster that dies under a run: the run ends in a sentence, with its state saved, and goes on from there."""

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import LEAVE_SECONDS, marked, named, spawn, told
from test_cli import SMALL, begin, merged, wait_for_lines
from test_killed import OVERLAPPED, PEARL

from innerloop.distributed.cli import main
from innerloop.distributed.runs.lines import read_lines
from innerloop.learner.checkpoint import Checkpoints

ENDLESS = ("--iterations", "100000", "--actors", "1")
EVERY = {"gcs_server": 100_000, "raylet": 2}
"""Iterations between checkpoints. A driver can do without the GCS for a minute, and saves its state; when it needs the
raylet that has just ended, Ray's core ends it at once, and its last checkpoint is what there is."""


def left(process: psutil.Popen) -> list[psutil.Process]:
    """What a driver has left; not its guard, which ends when it has said what there is to say."""
    return [each for each in marked(process.mark) if "guard.py" not in told(each)]


@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("gcs_server",), SMALL),
        (("raylet",), SMALL),
        (("gcs_server", "raylet"), OVERLAPPED.split()),
        (("raylet",), PEARL.split()),
    ],
)
def test_a_cluster_that_dies_ends_the_run_in_a_sentence(
    names: tuple[str, ...], options: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    every = min(EVERY[name] for name in names)
    words = merged(*options, *ENDLESS, "--checkpoint-every", str(every), "--out", str(out))
    with begin("train", *words) as process:
        wait_for_lines(out / "metrics.jsonl", 4, process)
        for each in named(process.mark, *names):
            each.kill()
        printed, said = process.communicate(timeout=LEAVE_SECONDS)
        assert process.returncode == 1, said
        assert not left(process), said
    *before, last = said.splitlines()
    assert not printed
    assert all(line.startswith("iteration ") for line in before), said
    found = re.fullmatch(
        r"innerloop: Ray's (gcs_server|raylet) \(\d+\) has ended, and the run's Ray cluster with it; "
        r"(the state after iteration \d+ is saved|what was saved last is whole)\. "
        r"Go on with: innerloop train --resume, and the run's directory\.",
        last,
    )
    assert found, said
    assert found[1] in names
    if "pearl" not in options:  # whose replay was in the cluster
        saved = int(Checkpoints(str(out / "checkpoints")).newest().numbers["version"])
        played = len(read_lines(out / "metrics.jsonl"))
        if found[2].startswith("what"):  # Ray's core was faster, and the guard said it
            assert "raylet" in names
            assert 0 <= played - saved <= every
        else:
            assert found[2] == f"the state after iteration {saved} is saved"
            assert saved - played in (0, 1)  # it may have died between the two
        main(["train", "--resume", str(out), "--iterations", str(saved + 1)])
        assert read_lines(out / "metrics.jsonl")[-1]["iteration"] == saved + 1


BEGINS = """
import sys
import threading
import numpy as np
import ray
from innerloop.distributed.launch import lost
from innerloop.distributed.launch.local import running
from innerloop.distributed.launch.session import ray_session

asks = sys.argv[1] == "asks"
lost.ANSWER_SECONDS = 0.5
if asks:  # and its driver notices nothing in time, as on a busy machine
    lost.open_all = lambda processes: ({}, [])
with ray_session("local", False):
    @ray.remote
    class Actor:
        def there(self) -> bool:
            return True
    actor = Actor.remote()
    ray.get(actor.there.remote())
    print(*running, flush=True)
    while asks:
        ray.put(np.zeros(1000))
    threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("does", "name"), [("waits", "gcs_server"), ("waits", "raylet"), ("waits", "driver"), ("asks", "raylet")]
)
def test_what_is_left_of_a_cluster_ends_at_once_whatever_ended_the_driver(does: str, name: str) -> None:
    """An answer that does not come; kill -9; Ray's core, which ends the driver when a call finds no raylet."""
    command = [sys.executable, "-c", BEGINS, does]
    with spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        directory = Path(process.stdout.readline().strip())
        assert directory.is_dir()
        for each in [process] if name == "driver" else named(process.mark, name):
            each.kill()
        _, said = process.communicate(timeout=LEAVE_SECONDS)
        assert process.returncode == (-9 if name == "driver" else 1)
        assert not left(process)
        assert not directory.exists()
    missing = "(raylet|gcs_server)" if name == "driver" else name
    expected = rf"innerloop: Ray's {missing} \(\d+\) has ended, .* what was saved last is whole\. .*\n"
    assert re.fullmatch(expected, said)

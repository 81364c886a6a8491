"""A kill between every two writes: of a checkpoint, of a resume, of a move, of a run that begins over another."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved_runs import SMALL, metrics, newest, small, tree

from innerloop.actors.agent import Agent, locate
from innerloop.distributed.opening import Opened, open_new, open_saved
from innerloop.distributed.runs.journal import Journal
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.saving import Saver
from innerloop.learner.best import Best
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.experiment import Experiment
from innerloop.learner.trajectory import Arrays

Made = Callable[..., Path]

WRITES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
MOST = 200
BEST = 2
"""The version that did best on held-out tasks."""


class Exports:
    """A store that has a trial for every checkpoint, of as many steps as its version; none on-policy."""

    def __init__(self, experiment: Experiment, version: int) -> None:
        self._experiment, self._version = experiment, version

    def export(self) -> Arrays:
        problem, rows = self._experiment.problem, self._version + 1
        if self._experiment.learns_fresh:
            return {}
        spaces = {"observation": problem.observation_space, "action": problem.action_space}
        kinds = {"reward": np.float32, "terminated": np.bool_, "truncated": np.bool_, "episode": np.int32}
        return {
            "trials": np.array([[0, self._version, self._version, 0]]),
            **{name: np.zeros((rows, *space.shape), space.dtype) for name, space in spaces.items()},
            **{name: np.zeros(rows, kind) for name, kind in kinds.items()},
        }


def pieces(opened: Opened, version: int) -> list[int]:
    """The steps in each piece of the replay, up to a version."""
    return [int(arrays["trials"][0, 1]) for arrays in opened.pieces.read(version)]


def expected_pieces(opened: Opened, version: int) -> list[int]:
    return [] if opened.config.experiment.learns_fresh else [*range(1, version + 1)]


def killed_before_write(number: int, directory: Path, action: Callable[[], Any]) -> bool:
    """Do something in a child that is killed before its write of that number; whether it got so far."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, status
        return os.WIFSIGNALED(status)
    left, own = number, str(directory)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        written = event in WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE)
        if written and own in str(arguments[0]):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    status = 3
    try:
        sys.addaudithook(watch)
        action()
        status = 0
    finally:
        os._exit(status)


def save(opened: Opened, version: int) -> None:
    """A checkpoint of a version, with its piece of replay; the best one is that of BEST."""
    saver = Saver(opened, Exports(opened.config.experiment, version))  # pyright: ignore[reportArgumentType]
    opened.learner.version = version
    opened.counts["env_steps"] = 10 * version
    saver.save(Best(version, 1.0) if version == BEST else None)


def gone_on(run: Path, at_least: int) -> int:
    """Go on with a run as a resume does, and save one more checkpoint; the version that it went on from."""
    with open_saved(run, None, False) as (opened, _):
        opened.begin()
        version = opened.learner.version
        assert version >= at_least
        journal = Journal(run, version)
        journal.close()
        assert pieces(opened, version) == expected_pieces(opened, version)
        assert [line["iteration"] for line in read_lines(run / "metrics.jsonl")] == [*range(1, version + 1)]
        for later in range(version + 1, 7):
            save(opened, later)
    assert newest(run) == 6
    Agent.load(run)
    Agent.load(run, which="best")
    assert int(Checkpoints(locate(run).place).names()[0]) == BEST
    assert not [name for name in tree(run) if name.endswith(".part") or name.endswith(".lock")]
    return version


def begun(out: Path, algorithm: str, versions: int) -> Path:
    """A run with checkpoints of its first versions, each with a piece."""
    with open_new(small(algorithm, keep=2), out, overwrite=False) as (opened, _):
        opened.begin()
        journal = Journal(out, 0)
        for version in range(1, versions + 1):
            journal.write(metrics(version))
            save(opened, version)
        journal.close()
    return out


@pytest.mark.parametrize("algorithm", [name for name in SMALL if name != "promp"])
def test_of_a_checkpoint(algorithm: str, tmp_path: Path) -> None:
    def write(run: Path) -> None:
        with open_saved(run, None, False) as (opened, _):
            journal = Journal(run, 3)
            journal.write(metrics(4))
            save(opened, 4)
            journal.close()

    versions = set()
    for number in range(1, MOST):
        run = begun(tmp_path / str(number), algorithm, 3)
        killed = killed_before_write(number, run, lambda run=run: write(run))
        versions.add(gone_on(run, at_least=3))
        if not killed:
            break
    assert number > 8
    assert not killed
    assert versions == {3, 4}


@pytest.mark.parametrize("algorithm", ["rl2", "pearl"])
def test_of_a_resume(algorithm: str, tmp_path: Path) -> None:
    def resume(run: Path) -> None:
        with open_saved(run, None, False) as (opened, _):
            opened.begin()
            Journal(run, opened.learner.version).close()
            assert pieces(opened, 3) == expected_pieces(opened, 3)

    for number in range(1, MOST):
        run = begun(tmp_path / str(number), algorithm, 3)
        (run / "checkpoints" / f"00000003.json.{'0' * 16}.part").write_bytes(b"half")  # of a kill before
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(metrics(4)) + '\n{"itera')
        killed = killed_before_write(number, run, lambda run=run: resume(run))
        assert gone_on(run, at_least=3) == 3
        if not killed:
            break
    assert number > 3
    assert not killed


@pytest.mark.parametrize("algorithm", ["rl2", "pearl"])
def test_of_a_move_to_another_place(algorithm: str, tmp_path: Path) -> None:
    def move(run: Path, elsewhere: Path) -> None:
        with open_saved(run, small(algorithm, keep=2, checkpoints=str(elsewhere)), False) as (opened, _):
            opened.begin()

    for number in range(1, MOST):
        run, elsewhere = begun(tmp_path / str(number) / "run", algorithm, 3), tmp_path / str(number) / "elsewhere"
        killed = killed_before_write(number, tmp_path / str(number), lambda run=run, to=elsewhere: move(run, to))
        assert Agent.load(run).experiment.algorithm_name == algorithm
        move(run, elsewhere)  # again, to its end
        with open_saved(run, None, False) as (opened, _):
            assert opened.learner.version == 3
            assert opened.checkpoints.place.url == str(elsewhere)
            assert pieces(opened, 3) == expected_pieces(opened, 3)
        if not killed:
            break
    assert number > 5
    assert not killed


def test_of_a_run_that_begins_over_another(tmp_path: Path) -> None:
    """It is one or the other, or can be begun again with the same command."""

    def overwrite(run: Path) -> None:
        with open_new(small("maml"), run, overwrite=True) as (opened, _):
            opened.begin()
            save(opened, 1)

    for number in range(1, MOST):
        run = begun(tmp_path / str(number), "rl2", 3)
        killed = killed_before_write(number, run, lambda run=run: overwrite(run))
        overwrite(run)
        assert Agent.load(run).experiment.algorithm_name == "maml"
        assert newest(run) == 1
        if not killed:
            break
    assert number > 8
    assert not killed

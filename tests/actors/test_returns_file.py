"""The file of evaluation: a line for every task, whole or not there."""

import csv
from pathlib import Path

import numpy as np
import pytest

from innerloop.actors import evaluate as module
from innerloop.actors.baselines.uniform import Random
from innerloop.actors.evaluate import evaluate, play_tasks
from innerloop.envs.api import Tasks
from innerloop.envs.errors import BadInput, EnvironmentRaised
from innerloop.envs.navigation import PointNavigation, Points


def test_every_task_has_its_line_of_parameters_and_returns(tmp_path: Path) -> None:
    family = PointNavigation(horizon=3)
    agent = Random(family.action_space)
    found = evaluate(agent, family, 2, tasks=7, seed=0, file=tmp_path / "returns.csv")
    header, *lines = csv.reader((tmp_path / "returns.csv").read_text().splitlines())
    assert header == ["goal.0", "goal.1", "episode.1", "episode.2"]
    numbers = np.array(lines, np.float64)
    [(_, tasks)] = module.held_out(family, tasks=7, seed=0)
    np.testing.assert_array_equal(numbers[:, :2].astype(np.float32), tasks["goal"])
    assert numbers[:, 2].mean() == pytest.approx(found["by_episode"][0]["mean"])
    np.testing.assert_array_equal(numbers[:, 2:], play_tasks(agent, family, 2, tasks=7, seed=0))


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    family = PointNavigation(horizon=1)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("no/returns.csv", ".", "loop", "x" * 300, "nul\0"):
        with pytest.raises(BadInput, match=r"^csv is '.*'; expected a file that can be written"):
            evaluate(Random(family.action_space), family, 1, tasks=2, seed=0, file=tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["loop"]


class Halfway(PointNavigation):
    """Breaks down in its second part."""

    rows = 5

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Points:
        if getattr(self, "made", False):
            raise RuntimeError("broken")
        object.__setattr__(self, "made", True)
        return super().make(tasks, rng)


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    for before in (None, "what was there"):
        file = tmp_path / "returns.csv"
        if before is not None:
            file.write_text(before)
        family = Halfway(horizon=2)
        with pytest.raises(EnvironmentRaised, match=r"^Halfway's make raised RuntimeError: broken"):
            evaluate(Random(family.action_space), family, 1, tasks=9, seed=0, file=file)
        assert [each.name for each in tmp_path.iterdir()] == ([] if before is None else [file.name])
        assert before is None or file.read_text() == before


def test_a_file_may_be_a_link_or_no_file_at_all(tmp_path: Path) -> None:
    family, file, link = PointNavigation(horizon=1), tmp_path / "returns.csv", tmp_path / "link.csv"
    link.symlink_to(file)
    evaluate(Random(family.action_space), family, 1, tasks=3, seed=0, file=link)
    assert link.is_symlink()
    assert len(file.read_text().splitlines()) == 4
    evaluate(Random(family.action_space), family, 1, tasks=3, seed=0, file=Path("/dev/null"))
    assert not Path("/dev/null").is_file()

"""Time to score: when the score counts as reached, and what the table says of several seeds."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import score

from innerloop.distributed.config import configure
from innerloop.distributed.presets import PRESETS

WANTED = score.Score("first", "a return", "return", 3.0, 4)


def test_the_mean_of_the_newest_trials_counts_and_not_before_there_are_enough() -> None:
    line: dict[str, Any] = {}
    watch = score.watching(WANTED, 2, line)  # two iterations of two trials
    watch({"iteration": 1, "return": 100.0})
    assert "best" not in line
    line.clear()
    watch = score.watching(WANTED, 2, line)
    for iteration, each in enumerate((0.0, 5.0, 0.9), 1):
        watch({"iteration": iteration, "return": each})
    assert (line["best"], line["iteration"]) == (2.95, 3)
    with pytest.raises(score.Reached):
        watch({"iteration": 4, "return": 5.1})
    assert line["best"] == 3.0


def test_a_row_has_the_median_of_the_seeds_that_got_there() -> None:
    found = [
        {"reached": reached, "minutes": minutes, "matrix_gflops": 150.0, "best": best, "env_steps": 2_000_000}
        for reached, minutes, best in ((True, 0.5, 6.5), (True, 0.9, 6.5), (False, 2.0, 6.1))
    ]
    assert score.row("first", found)[2:] == ["6.5", "2 of 3", "0.70 (0.50 to 0.90)", "2.00 M", "150"]
    assert score.row("first", found[2:])[3:5] == ["0 of 1", "not in 2.0 (best 6.1)"]


@pytest.mark.parametrize("name", score.SCORES)
def test_every_score_is_of_a_preset_s_run(name: str) -> None:
    wanted = score.SCORES[name]
    config = configure(wanted.preset)
    assert wanted.preset in PRESETS
    assert config.run.trials * config.run.iterations > wanted.trials

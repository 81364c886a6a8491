"""Golden runs: what counts as a move, and the rate of false alarms."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import regress

from innerloop.envs.errors import BadInput

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_one_more_run_as_often_as_it_says(n: int) -> None:
    inside = [abs(each[-1] - mean) <= half for each, (mean, half) in _drawn(n, 1, 0.0)]
    assert np.mean(inside) == pytest.approx(regress.CONFIDENCE, abs=0.004)


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.0, 0.006), (8.0, 0.85, 1.0), (-8.0, 0.85, 1.0)])
def test_two_seeds_see_a_shift_and_hardly_ever_none(shift: float, low: float, high: float) -> None:
    """A shift in standard deviations between seeds; five are kept."""
    moved = [
        bool(regress.Verdict(*interval, tuple(each[-2:].tolist())).moved) for each, interval in _drawn(5, 2, shift)
    ]
    assert low <= np.mean(moved) <= high


def _drawn(n: int, more: int, shift: float) -> list[tuple[np.ndarray, tuple[float, float]]]:
    """5,000 times n kept values and some more, and the interval of the kept ones."""
    values = RNG.standard_normal((5_000, n + more))
    values[:, n:] += shift
    return [(each, regress.prediction([*each[:n]])) for each in values]


def _run(seed: int, processor: str = "this", **figures: float) -> regress.Played:
    everything = {name: 10.0 + 0.1 * seed for name in (*regress.FIGURES, *regress.SPEEDS)} | figures
    return regress.Played(seed=seed, processor=processor, figures=everything, returns=[1.0, 2.0, 3.0])


KEPT = [_run(seed) for seed in range(5)]


@pytest.mark.parametrize("figure", [*regress.FIGURES, *regress.SPEEDS])
@pytest.mark.parametrize(("values", "moved"), [
    ((10.2,), ""), ((20.0,), "above"), ((0.0,), "below"), ((float("nan"),), "below"),
    ((20.0, 10.1), ""), ((20.0, 21.0), "above"), ((1.0, 2.0), "below"), ((20.0, 1.0), ""),
])  # fmt: skip
def test_what_lies_outside_on_one_side_has_moved(figure: str, values: tuple[float, ...], moved: str) -> None:
    found = regress.compare(KEPT, [_run(seed, **{figure: value}) for seed, value in enumerate(values)])
    assert {name: verdict.moved for name, verdict in found.items()} == dict.fromkeys(KEPT[0]["figures"], "") | {
        figure: moved
    }


def test_speeds_are_compared_on_the_processor_that_kept_them() -> None:
    assert regress.compare(KEPT, [_run(0, "another")]).keys() == {*regress.FIGURES}


def test_bits_are_compared_from_the_first_iteration_on() -> None:
    for returns, same in (([1.0, 2.0, 3.0], 3), ([1.0, 2.0 + 1e-15, 3.0], 1), ([0.0], 0), ([1.0], 1)):
        assert regress.same_iterations(KEPT[0], regress.Played(**{**KEPT[0], "returns": returns})) == same


SMALL: dict[str, Any] = {
    "episodes": 2, "trials": 20, "iterations": 3, "memory": "gru", "hidden": 8, "embedding": 0, "actors": 1,
    "evaluate_every": 2,
}  # fmt: skip


@pytest.mark.usefixtures("own_ray")
def test_a_run_is_kept_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(regress.RUNS, "first", SMALL)
    words = ["--runs", "first", "--golden", str(tmp_path)]
    assert regress.main([*words, "--keep", "--seeds", "3"]) == 0
    file = tmp_path / "first.json"
    kept = json.loads(file.read_text())
    assert [run["seed"] for run in kept["runs"]] == [0, 1, 2]
    assert regress.main(words) == 0
    assert "Nothing has moved" in capsys.readouterr().out

    for run in kept["runs"]:
        run["figures"]["return"] += 50.0  # as if training had been better
    file.write_text(json.dumps(kept))
    assert regress.main(words) == 1
    printed = capsys.readouterr().out
    assert "Moved: first" in printed
    assert "below" in printed


def _without_a_figure(kept: dict[str, Any]) -> None:
    del kept["runs"][1]["figures"]["return"]


def _of_other_options(kept: dict[str, Any]) -> None:
    kept["options"]["preset"] = "w1"


def _of_two_seeds(kept: dict[str, Any]) -> None:
    del kept["runs"][2:]


def _without_runs(kept: dict[str, Any]) -> None:
    del kept["runs"]


def _of_text(kept: dict[str, Any]) -> None:
    kept["runs"][0]["figures"]["return"] = "good"


@pytest.mark.parametrize("harm", [_without_a_figure, _of_other_options, _of_two_seeds, _without_runs, _of_text, None])
def test_what_cannot_be_compared_is_refused_before_anything_is_played(
    harm: Callable[[dict[str, Any]], None] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if harm:
        runs = [dict(run, figures={name: 1.0 for name in regress.FIGURES}) for run in KEPT]
        kept = json.loads(json.dumps({"options": regress.RUNS["first"], "runs": runs}))
        (tmp_path / "first.json").write_text(json.dumps(kept))
        regress.read_kept("first", tmp_path)
        harm(kept)
        (tmp_path / "first.json").write_text(json.dumps(kept))
    with pytest.raises(BadInput, match=r"benchmarks/regress\.py --keep"):
        regress.read_kept("first", tmp_path)
    with pytest.raises(SystemExit) as ended:
        regress.main(["--runs", "first", "--golden", str(tmp_path)])
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err

"""`innerloop compare`: the numbers are those of the aggregates; a table, JSON and a picture of them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from innerloop.actors.aggregate import interval, iqm, optimality_gap, probability_of_improvement
from innerloop.distributed.cli import main
from innerloop.distributed.runs.compare import compare, markdown, picture
from innerloop.distributed.runs.scores import System

RNG = np.random.default_rng(0)
STEPS = np.array([0.0, 100.0, 300.0])


def system(name: str, runs: int = 5, tasks: int = 8, points: int = 3, better: float = 0.0) -> System:
    names = [str(task) for task in range(tasks)]
    scores = 5 + better + RNG.normal(size=(runs, tasks))
    return System(name, names, scores, STEPS[:points], 5 + RNG.normal(size=(runs, points)))


def test_the_numbers_are_those_of_the_aggregates() -> None:
    a, b = system("a", better=1), system("b", runs=3)
    found = compare([a, b], low=2.0, high=10.0, count=200, seed=4)
    scores = [(each.scores - 2) / 8 for each in (a, b)]
    options = {"count": 200, "seed": 4}
    for name, own in zip("ab", scores, strict=True):
        told = found["systems"][name]
        assert told["iqm"] == vars(interval(iqm, own, **options))
        assert told["optimality_gap"] == vars(interval(optimality_gap, own, **options))
        curve = told["profile"]
        assert curve["thresholds"][0] == min(each.min() for each in scores)
        assert curve["share"][-1] == 0
        assert all(low <= share <= high for low, share, high in zip(curve["low"], curve["share"], curve["high"]))  # noqa: B905
    assert found["improvement"]["a"]["b"] == vars(interval(probability_of_improvement, *scores, **options))
    assert found["improvement"]["a"]["b"]["mean"] + found["improvement"]["b"]["a"]["mean"] == pytest.approx(1)
    learning = found["systems"]["a"]["curve"]
    assert learning["steps"] == STEPS.tolist()
    for point, value in enumerate(learning["iqm"]):
        assert value == pytest.approx(float(np.sort((a.curve[:, point] - 2) / 8)[1:4].mean()))
    assert found["tasks"] == 8
    assert (found["low"], found["high"], found["resamples"]) == (2.0, 10.0, 200)


def test_the_table_says_what_is_to_be_known() -> None:
    one, few = system("mine | and $yours$"), system("b", runs=2)._replace(tasks=[])
    text = markdown(compare([one, few], low=0.0, high=None, count=50, seed=0))
    assert "| mine \\| and $yours$ | 5 |" in text
    assert "Fewer than 5 seeds, which say little of others: b." in text
    assert "each is its mean over its own" in text
    assert "optimality gap" not in text
    assert "P(row better than column)" in text
    alone = markdown(compare([one], low=0.0, high=9.0, count=50, seed=0))
    assert "optimality gap" in alone
    assert "over seeds and 8 tasks, 50 resamples. Scores: 0 is 0, 1 is 9." in alone
    assert "P(" not in alone


@pytest.mark.parametrize("systems", [[system("_a$")], [system("a", points=0), system("b", runs=1, tasks=1, points=0)]])
def test_the_picture_can_be_drawn(systems: list[System]) -> None:
    drawn = image.imread(io.BytesIO(picture(compare(systems, low=0.0, high=None, count=20, seed=0))))
    height, width, _ = drawn.shape
    assert height > 400
    assert width > height
    assert drawn.std() > 0.05


def test_files_are_written_and_json_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{s},{seed},{steps},{seed + steps}" for s in "ab" for seed in range(5) for steps in (0, 1)]
    file = tmp_path / "x.csv"
    file.write_text("system,seed,steps,score\n" + "\n".join(lines))
    given = ["compare", str(file), "--resamples", "30"]
    main([*given, "--json"])
    told = json.loads(capsys.readouterr().out)
    main([*given, "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out == (tmp_path / "out" / "compare.md").read_text()
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == told
    assert (tmp_path / "out" / "compare.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "runs is []"),
        (["--resamples", "9"], "resamples is 9"),
        (["--seed", "-1"], "seed is -1"),
        (["--low", "nan"], "low is nan"),
        (["--high", "inf"], "high is inf"),
        (["--low", "2", "--high", "2"], "high is 2.0; expected more than low, 2"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.csv"
    file.write_text("score\n1\n")
    with pytest.raises(SystemExit) as ended:
        main(["compare", *([str(file)] if options else []), *options])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err

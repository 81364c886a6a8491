"""Scores to compare: of runs, and of other systems' files."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from innerloop.distributed.cli import main
from innerloop.distributed.runs.scores import read_systems, together


def written(place: Path, *lines: str) -> Path:
    place.write_text("\n".join(lines) + "\n")
    return place


def run_of(place: Path, seed: int, *, curve: dict[int, float] | None = None, scores: str = "", **config: Any) -> Path:
    """What a run leaves, as far as it is compared."""
    place.mkdir(parents=True)
    saved = {"family": {"name": "f"}, "algorithm": {"name": "a"}, "episodes": 2, "id": place.name}
    run = {"iterations": 5, "mode": "synchronous", "seed": seed, "name": place.name, "actors": seed}
    (place / "config.json").write_text(json.dumps(saved | {"run": run} | config))
    lines = [
        dict.fromkeys(("seconds", "return", "first_episode", "last_episode"), 1.0)
        | {"iteration": at, "env_steps": 10 * at}
        | ({"held_out_return": (curve or {})[at]} if at in (curve or {}) else {})
        for at in range(1, 6)
    ]
    (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if scores:
        (place / "scores.csv").write_text(scores)
    return place


def test_a_file_of_all_columns(tmp_path: Path) -> None:
    lines = [
        f"{system}, {seed},{task},{steps},{(system == 'B') + seed + task / 10 + steps / 100}"
        for system in ("A", "B") for seed in (3, 4) for task in (1, 2) for steps in (200, 0, 100)
    ]  # fmt: skip
    a, b = read_systems([written(tmp_path / "x.csv", "system,seed, task,steps,score", *lines, "")])
    assert (a.name, b.name) == ("A", "B")
    assert a.tasks == b.tasks == ["1", "2"]
    np.testing.assert_allclose(a.scores, [[5.1, 5.2], [6.1, 6.2]])  # the final ones
    np.testing.assert_allclose(b.scores, a.scores + 1)
    np.testing.assert_allclose(a.steps, [0, 100, 200])
    np.testing.assert_allclose(a.curve, [[3.15, 4.15, 5.15], [4.15, 5.15, 6.15]])


def test_what_a_file_may_lack(tmp_path: Path) -> None:
    [found] = read_systems([written(tmp_path / "mine.csv", "score", "1", "3e0")])
    assert (found.name, found.tasks, found.scores.tolist()) == ("mine", [], [[2.0]])
    assert not len(found.steps)
    [found] = read_systems([written(tmp_path / "two.csv", "\ufeffscore,seed", "1,a", "3,b")])
    assert found.scores.tolist() == [[1.0], [3.0]]


def test_several_trials_of_a_task_are_one_score(tmp_path: Path) -> None:
    [found] = read_systems([written(tmp_path / "x.csv", "task,score", "a,1", "b,5", "a,3")])
    assert (found.tasks, found.scores.tolist()) == (["a", "b"], [[2.0, 5.0]])


def test_curves_are_compared_where_all_seeds_have_them(tmp_path: Path) -> None:
    lines = ["0,0,0", "0,10,10", "0,30,30", "1,5,6", "1,20,21"]
    [found] = read_systems([written(tmp_path / "x.csv", "seed,steps,score", *lines)])
    np.testing.assert_allclose(found.steps, [5, 10, 20])
    np.testing.assert_allclose(found.curve, [[5, 10, 20], [6, 11, 21]])
    assert found.scores.tolist() == [[30.0], [21.0]]


def test_runs_that_differ_by_their_seed_alone_are_of_one_system(tmp_path: Path) -> None:
    scores = "task,score\nx,1.0\ny,2.0\n"
    runs = [run_of(tmp_path / f"mine-{seed}", seed, curve={2: 0.5, 4: 1.0}, scores=scores) for seed in (0, 1, 2)]
    others = [run_of(tmp_path / "other" / f"seed-{s}", s, scores=scores, episodes=3) for s in (0, 1)]
    mine, other = read_systems([*runs, tmp_path / "other"])
    assert (mine.name, mine.scores.shape, mine.tasks) == ("mine", (3, 2), ["x", "y"])
    np.testing.assert_allclose(mine.steps, [20, 40, 50])
    np.testing.assert_allclose(mine.curve, [[0.5, 1.0, 1.5]] * 3)  # the last is the evaluation's after training
    assert (other.name, other.scores.shape) == ("other", (2, 2))
    assert [each.name for each in read_systems([others[0], runs[1]])] == ["other", "mine-1"]


def test_without_its_final_evaluation_a_run_has_its_last_held_out_return(tmp_path: Path) -> None:
    [found] = read_systems([run_of(tmp_path / "r", 0, curve={2: 0.5, 4: math.nan, 5: 2.0})])
    assert found.scores.tolist() == [[2.0]]
    np.testing.assert_allclose(found.steps, [20, 50])


def test_other_tasks_are_compared_by_their_means(tmp_path: Path) -> None:
    one = written(tmp_path / "one.csv", "task,score", "a,1", "b,3")
    other = written(tmp_path / "other.csv", "task,score", "b,1", "c,2")
    assert [each.scores.tolist() for each in together(read_systems([one, other]))] == [[[2.0]], [[1.5]]]
    same = written(tmp_path / "same.csv", "task,score", "b,9", "a,8")
    assert [each.scores.tolist() for each in together(read_systems([one, same]))] == [[[1.0, 3.0]], [[8.0, 9.0]]]


FILES: dict[str, Callable[[Path], object]] = {
    "nothing there": lambda place: None,
    "empty": lambda place: place.write_text(""),
    "names alone": lambda place: place.write_text("score\n"),
    "no score": lambda place: place.write_text("seed,task\n1,2\n"),
    "an unknown name": lambda place: place.write_text("score,colour\n1,2\n"),
    "a name twice": lambda place: place.write_text("score,score\n1,2\n"),
    "no names": lambda place: place.write_text("1,2\n3,4\n"),
    "a value too many": lambda place: place.write_text("score\n1,2\n"),
    "a value too few": lambda place: place.write_text("score,seed\n1\n"),
    "a word": lambda place: place.write_text("score\nhigh\n"),
    "no number": lambda place: place.write_text("score\nnan\n"),
    "infinite": lambda place: place.write_text("score\n1e999\n"),
    "negative steps": lambda place: place.write_text("score,steps\n1,-1\n"),
    "no text": lambda place: place.write_bytes(b"score\n\xff\xfe\n"),
    "a null": lambda place: place.write_bytes(b"score\n1\x00\n"),
    "an unclosed quote": lambda place: place.write_text('score\n"1\n2\n'),
    "a huge field": lambda place: place.write_text("score\n" + "1" * 200_000 + "\n"),
    "an empty directory": lambda place: place.mkdir(),
    "a picture": lambda place: place.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_what_is_none_is_refused_in_a_sentence(
    make: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "scores.csv"
    make(place)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(place), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("innerloop: ")
    assert "expected" in said[0]
    assert str(place) in said[0]
    assert not (tmp_path / "out").exists()


RUNS: dict[str, tuple[Callable[[Path], list[Path]], str]] = {
    "the same seed": (lambda at: [run_of(at / name, 1, curve={1: 1.0}) for name in "ab"], "another seed than"),
    "another family": (
        lambda at: [run_of(at / "a", 1, curve={1: 1.0}), run_of(at / "b", 2, curve={1: 1.0}, family={"name": "g"})],
        "of one family",
    ),
    "nothing to compare": (lambda at: [run_of(at / "a", 1)], "evaluate_every"),
    "twice the same": (lambda at: [run_of(at / "a", 1, curve={1: 1.0})] * 2, "each of them once"),
    "scores of several": (
        lambda at: [run_of(at / "a", 1, scores="seed,score\n1,2\n2,3\n")],
        "the number of agents in",
    ),
    "a damaged configuration": (lambda at: [damaged(run_of(at / "a", 1, curve={1: 1.0}))], "config.json"),
}


def damaged(run: Path) -> Path:
    (run / "config.json").write_text("{")
    return run


@pytest.mark.parametrize(("make", "said"), RUNS.values(), ids=RUNS)
def test_runs_that_cannot_be_compared_are_refused_in_a_sentence(
    make: Callable[[Path], list[Path]], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, make(tmp_path))])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert "expected" in line

"""`innerloop train --seeds`: several runs side by side, each what it would be alone."""

import json
import shutil
from pathlib import Path

import pytest
from small_runs import final, same_bits

from innerloop.distributed.cli import main
from innerloop.distributed.config import configure
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.trainer import train

OPTIONS = {
    "arms": 3, "episodes": 4, "iterations": 3, "trials": 16, "hidden": 8, "embedding": 0, "evaluate_every": 2,
    "evaluation_tasks": 50, "learner_threads": 1,
}  # fmt: skip
WORDS = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.usefixtures("own_ray")
def test_seeds_side_by_side_are_what_they_would_be_alone_and_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seeds"
    given = ["train", *WORDS, "--seed=3", "--seeds", "2", "--parallel", "2", "--out", str(out)]
    main(given)
    said = capsys.readouterr()
    assert "| seeds | 2 |" in said.out
    assert said.out == (out / "compare.md").read_text()
    assert {path.name for path in out.iterdir()} == {
        "seed-3", "seed-4", "seed-3.log", "seed-4.log", "compare.md", "compare.json", "compare.png",
    }  # fmt: skip
    train(configure(seed=4, **OPTIONS), tmp_path / "alone")  # pyright: ignore[reportArgumentType]
    assert same_bits(final(out / "seed-4"), final(tmp_path / "alone"))
    assert not same_bits(final(out / "seed-4"), final(out / "seed-3"))
    own, alone = (json.loads((run / "config.json").read_text())["run"] for run in (out / "seed-4", tmp_path / "alone"))
    assert {name for name in own if own[name] != alone[name]} == {"name"}

    # One that is missing begins, one that was stopped goes on, and what is done stays as it is.
    before = (out / "seed-3" / "evaluation.json").stat().st_mtime_ns
    shutil.rmtree(out / "seed-4")
    main(given)
    said = capsys.readouterr()
    assert ("seed-4: done" in said.err, "seed-3" in said.err) == (True, False)
    assert (out / "seed-3" / "evaluation.json").stat().st_mtime_ns == before
    assert same_bits(final(out / "seed-4"), final(tmp_path / "alone"))
    (out / "seed-4" / "evaluation.json").unlink()
    main(given)
    assert "seed-4: done" in capsys.readouterr().err
    assert (out / "seed-4" / "evaluation.json").exists()

    # More than before trains on.
    main(["5" if before == "--iterations" else word for before, word in zip(["", *given], given, strict=False)])
    assert all(len(read_lines(out / name / "metrics.jsonl")) == 5 for name in ("seed-3", "seed-4"))
    train(configure(seed=4, **OPTIONS | {"iterations": 5}), tmp_path / "longer")  # pyright: ignore[reportArgumentType]
    assert final(out / "seed-4").keys() == final(tmp_path / "longer").keys()

    with pytest.raises(SystemExit) as ended:  # other runs than those that are there
        main(["9" if before == "--hidden" else word for before, word in zip(["", *given], given, strict=False)])
    assert ended.value.code == 2
    assert "expected a directory without runs of other options" in capsys.readouterr().err


REFUSED = {
    "negative": (["--seeds", "-1"], "seeds is -1; expected at least 0"),
    "too many": (["--seeds", "1001"], "seeds is 1001; expected at least 0, at most 1,000"),
    "parallel alone": (["--parallel", "2"], "parallel is 2; expected it beside --seeds"),
    "a name": (["--seeds", "2", "--name", "mine"], "name is 'mine'; expected none beside --seeds"),
    "resumed": (["--seeds", "2", "--resume", "x"], "seeds is '2'; expected nothing beside --resume"),
    "never evaluated": (
        ["--seeds", "2", "--evaluation-tasks", "0", "--evaluate-every", "0"],
        "evaluation_tasks is 0; expected evaluations",
    ),
    "the last of them": (["--seeds", "2", "--seed", str(2**63 - 1)], "seed is"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_and_nothing_written(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["train", *options, *([] if "--resume" in options else ["--out", str(out)])])
    assert ended.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("innerloop: ")]
    assert said in line
    assert not out.exists()


def test_a_directory_that_holds_a_run_is_none_for_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Path(__file__).parents[2] / "benchmarks" / "results" / "first"
    shutil.copytree(kept, tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--seeds", "2", "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert "expected a directory for several runs: this one holds a run" in capsys.readouterr().err

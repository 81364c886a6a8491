"""`innerloop plot` on damaged runs: a sentence, nothing written, or a picture that says what it lacks."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import ANY_JSON, CONFIG, METRICS, changed, tree
from logged import ours

from innerloop.distributed.cli import main
from innerloop.distributed.runs.plot import curve, drawable, label, plot
from innerloop.distributed.runs.saved import read_config, read_evaluation
from innerloop.envs.errors import BadInput

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
KEPT = RESULTS / "point-pearl"


EVALUATION = ANY_JSON | {
    "no curve": changed("by_episode", None, drop=True),
    "an empty curve": changed("by_episode", []),
    "a shorter curve": changed("by_episode", [{"mean": 1, "low": 0, "high": 2}]),
    "numbers for a curve": changed("by_episode", [1.0, 2.0, 3.0, 4.0, 5.0]),
    "text for a mean": changed("by_episode.0.mean", "1"),
    "null for a mean": changed("by_episode.0.mean", None),
    "NaN for a mean": changed("by_episode.0.mean", math.nan),
    "an infinite bound": changed("by_episode.4.high", math.inf),
    "beyond 64 bits": changed("by_episode.0.mean", 2**64),
    "no bound": changed("by_episode.0.low", None, drop=True),
    "no baselines": changed("baselines", None, drop=True),
    "a list of baselines": changed("baselines", []),
    "a baseline that is a number": changed("baselines.Random", 1),
    "a baseline's shorter curve": changed("baselines.Random.by_episode", []),
    "no episodes": changed("episodes", 0),
    "other episodes": changed("episodes", 4),
    "negative rollouts": changed("rollouts", -1),
    "text for rollouts": changed("rollouts", "2"),
    "another family's": changed("family", "bernoulli-bandit"),
    "another algorithm's": changed("algorithm", "rl2"),
}
CASES = [
    *(("config.json", name, damage) for name, damage in CONFIG.items()),
    *(("evaluation.json", name, damage) for name, damage in EVALUATION.items()),
    *(("metrics.jsonl", name, damage) for name, damage in METRICS.items()),
]


@pytest.mark.parametrize(
    ("name", "damage"), [(n, d) for n, _, d in CASES], ids=[f"{n}: {kind}" for n, kind, _ in CASES]
)
def test_a_damaged_file_is_refused_in_a_sentence_and_nothing_is_written(
    name: str, damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    damage(run / name)
    before = tree(tmp_path)
    for out in (run, tmp_path / "out"):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(["plot", str(run), "--out", str(out)])
        assert stopped.value.code == 2
        said = [each for each in capsys.readouterr().err.splitlines() if each.startswith("innerloop: ")]
        assert len(said) == 1
        assert str(run) in said[0]
        assert "expected" in said[0]
        assert len(said[0]) < 600
        assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["config.json", "evaluation.json"])
def test_what_only_adds_to_a_picture_may_be_missing(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    (run / name).unlink()
    written = plot([run], tmp_path / "out")
    assert [file.name for file in written] == ["learning.png", "adaptation.png"][
        : 1 if name == "evaluation.json" else 2
    ]


def test_every_kept_run_can_be_drawn_and_leaves_pictures_alone(tmp_path: Path) -> None:
    runs = [file.parent for file in sorted(RESULTS.rglob("metrics.jsonl"))]
    assert len(runs) >= 7
    for run in runs:
        for file in plot([run], tmp_path / run.name):
            assert file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert {file.name for file in (tmp_path / run.name).iterdir()} == {"learning.png", "adaptation.png"}
        config = read_config(run)
        assert config is not None
        assert read_evaluation(run, config)


def lines(*iterations: int) -> list[dict[str, Any]]:
    return [{"iteration": each, "env_steps": 10 * each, "return": float(each)} for each in iterations]


def test_where_iterations_are_missing_the_curve_has_a_gap() -> None:
    steps, values = curve(lines(1, 2, 5, 6), "return")
    assert steps == [10, 20, 50, 50, 60]
    assert [*map(str, values)] == ["1.0", "2.0", "nan", "5.0", "6.0"]
    steps, values = curve(lines(3), "return")
    assert (steps, str(values)) == ([30, 30], "[nan, 3.0]")


def test_what_no_axis_can_show_is_a_gap(tmp_path: Path) -> None:
    for value in (math.nan, math.inf, -math.inf, 1e308, -1e308):
        assert math.isnan(drawable(value))
    assert drawable(-1e99) == -1e99
    run = tmp_path / "$x_{a$"  # half a formula
    shutil.copytree(KEPT, run)
    changed("by_episode.0.mean", 1e308)(run / "evaluation.json")
    changed("by_episode.1.mean", -1e308)(run / "evaluation.json")
    text = (run / "metrics.jsonl").read_text().splitlines()
    broken = [json.dumps(json.loads(each) | {"last_episode": 1e308 * (-1) ** i}) for i, each in enumerate(text)]
    (run / "metrics.jsonl").write_text("\n".join(broken) + "\n")
    assert len(plot([run], tmp_path / "out")) == 2


def test_a_name_is_neither_a_formula_nor_hidden() -> None:
    assert label("$x$") == r"\$x\$"
    assert label("_run") == "\u200b_run"
    assert label("a\x1b[2Jb") == r"a\x1b[2Jb"


def test_metrics_that_are_broken_in_the_middle_are_drawn_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    text = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    text[50] = text[50][:100] + "\n"
    (run / "metrics.jsonl").write_text("".join(text))
    main(["plot", str(run), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.count("\n") == 2
    [said] = ours(caplog)
    assert "1 of its lines left out (line 51 cannot be used" in said


@pytest.mark.parametrize(
    ("out", "sentence"),
    [("file", "expected a directory that can be written (File exists)"), ("file/x", "expected a path that can be used"),
     ("x" * 300, "expected a path that can be used")],
)  # fmt: skip
def test_a_place_for_pictures_that_cannot_be_is_refused(
    out: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        main(["plot", str(KEPT), "--out", str(tmp_path / out)])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert tree(tmp_path) == {"file": b"mine"}


def test_a_run_is_drawn_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(KEPT)
    with pytest.raises(BadInput, match="expected each of them once"):
        plot([KEPT, tmp_path / "link"], tmp_path / "out")

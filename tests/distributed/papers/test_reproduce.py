"""`innerloop reproduce`: a small table end to end, what is done is not done again, and what the papers published."""

import itertools
import json
import os
import shutil
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from processes import until

from innerloop.actors.baselines import BASELINES
from innerloop.distributed.cli import main
from innerloop.distributed.config import configure
from innerloop.distributed.papers import reproduce as module
from innerloop.distributed.papers.comparison import rows
from innerloop.distributed.papers.tables import TABLES, Cell, Table
from innerloop.distributed.run import Run
from innerloop.distributed.runs.directory import saved_config
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.trainer import train
from innerloop.learner.checkpoint import Checkpoints

CELLS = [(table, cell) for table in TABLES for cell in TABLES[table].cells]


def run(out: Path, *arguments: str, columns: str = "rl2") -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "tables:TINY", "--out", str(out), "--tasks", "100", "--columns", columns, *arguments])
    return int(stopped.value.code or 0)


def numbers(out: Path, cell: str = "5-2") -> dict[str, float]:
    return Checkpoints(str(out / cell / "rl2" / "checkpoints")).newest().numbers


@pytest.mark.usefixtures("own_ray")
def test_a_cell_is_trained_for_its_budget_evaluated_and_not_done_again_but_trained_further(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, "--cells", "5,2") == 0
    printed = capsys.readouterr().out
    assert "RL²" in printed
    assert "UCB1" in printed
    first = numbers(tmp_path)
    assert first["seconds"] >= 0.6
    document = json.loads((tmp_path / "table.json").read_text())
    assert document["cells"].keys() == {"5,2"}
    cell = document["cells"]["5,2"]
    assert cell["published"] == {"Random": 2.5, "RL²": 3.2}
    on_bandits = {"Random", "Gittins", "Thompson", "OTS", "UCB1", "e-greedy", "Greedy", "Bayes-optimal"}
    assert cell["measured"].keys() == on_bandits | {"RL²"}
    for found in cell["measured"].values():
        assert 0 < found["low"] < found["mean"] < found["high"] < 5
    assert cell["measured"]["Random"]["low"] < 2.6
    assert cell["measured"]["Random"]["high"] > 2.4
    assert cell["trained"]["RL²"]["iterations"] == first["version"] == len(read_lines(metrics(tmp_path)))
    text = (tmp_path / "table.md").read_text()
    random = cell["measured"]["Random"]
    assert f"| Random | 2.5 | {random['mean']:.2f} ± {(random['high'] - random['low']) / 2:.2f} |" in text
    assert (tmp_path / "table.png").stat().st_size > 5_000

    with monkeypatch.context() as patch:
        for name in ("train", "resume", "evaluate"):
            patch.setattr(module, name, lambda *arguments, **options: pytest.fail("was done again"))
        assert run(tmp_path, "--cells", "5,2") == 0
    assert json.loads((tmp_path / "table.json").read_text()) == document

    assert run(tmp_path, "--cells", "5,2", "--budget", "0.02") == 0
    again = json.loads((tmp_path / "table.json").read_text())["cells"]["5,2"]
    assert again["trained"]["RL²"]["minutes"] >= 0.02
    assert [line["iteration"] for line in read_lines(metrics(tmp_path))] == [
        *range(1, int(numbers(tmp_path)["version"]) + 1)
    ]
    assert {name: found for name, found in again["measured"].items() if name != "RL²"} == {
        name: found for name, found in cell["measured"].items() if name != "RL²"
    }


def metrics(out: Path) -> Path:
    return out / "5-2" / "rl2" / "metrics.jsonl"


@pytest.mark.usefixtures("own_ray")
def test_an_interrupted_cell_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        with suppress(AssertionError):  # what is run is bounded too
            until(lambda: len(read_lines(metrics(tmp_path))) >= 2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert run(tmp_path, "--cells", "5,2", "--budget", "10") == 130
    thread.join()
    assert "the same command goes on" in capsys.readouterr().err
    stopped = numbers(tmp_path)
    assert stopped["version"] >= 2
    assert not (tmp_path / "table.json").exists()
    assert run(tmp_path, "--cells", "5,2", "--budget", str(stopped["seconds"] / 60 + 0.005)) == 0
    assert numbers(tmp_path)["version"] > stopped["version"]
    lines = read_lines(metrics(tmp_path))
    assert [line["iteration"] for line in lines] == [*range(1, len(lines) + 1)]


@pytest.mark.usefixtures("own_ray")
def test_of_the_columns_that_are_trained_some_can_be_chosen(tmp_path: Path) -> None:
    for columns, trained in (("none", set()), ("rl2-deepset", {"RL² deepset"}), ("RL²", {"RL²", "RL² deepset"})):
        assert run(tmp_path, "--cells", "5,2", columns=columns) == 0
        cell = json.loads((tmp_path / "table.json").read_text())["cells"]["5,2"]
        assert cell["trained"].keys() == trained
        assert "Gittins" in cell["measured"]
        assert {column for column in cell["measured"] if column.startswith("RL²")} == trained
        assert (tmp_path / "5-2" / "rl2").exists() == ("RL²" in trained)
        assert (tmp_path / "5-2" / "rl2-deepset").exists() == ("RL² deepset" in trained)


@pytest.mark.usefixtures("own_ray")
def test_baselines_alone_need_no_other_cell(tmp_path: Path) -> None:
    assert run(tmp_path, "--cells", "7,2", columns="none") == 0
    assert {each.name for each in tmp_path.iterdir()} == {"7-2", "table.json", "table.md", "table.png"}


def test_cells_side_by_side_are_processes_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    assert run(tmp_path, "--cells", "5,3", "7,2", "--parallel", "2") == 0  # and 5,2, from which 7,2 starts
    document = json.loads((tmp_path / "table.json").read_text())
    assert document["cells"].keys() == {"5,2", "5,3", "7,2"}
    said = capsys.readouterr().err
    assert said.index("5,3: begun") < said.index(": done")
    assert said.index("5,2: done") < said.index("7,2: begun")
    assert saved_config(tmp_path / "7-2" / "rl2").run.start_from == str(tmp_path / "5-2" / "rl2")
    assert "| 7,2: RL², from that of 5,2 on | " in (tmp_path / "table.md").read_text()
    assert "RL²" in (tmp_path / "5-3.log").read_text()


@pytest.mark.usefixtures("own_ray")
def test_of_several_seeds_each_has_a_directory_as_alone_and_the_table_is_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    out = tmp_path / "out"
    given = ("--cells", "5,2", "--seeds", "3", "--seed", "4", "--parallel", "2")
    assert run(out, *given) == 0
    said = capsys.readouterr()
    assert all(f"seed {seed}: 5,2: done" in said.err for seed in (4, 5, 6))
    assert "Of trained columns, the mean over 3 seeds" in (out / "table.md").read_text()
    found = json.loads((out / "table.json").read_text())["cells"]["5,2"]
    seeds = {seed: json.loads((out / f"seed-{seed}" / "5-2" / "result.json").read_text()) for seed in (4, 5, 6)}
    assert {"Random", "RL²"} <= seeds[4]["measured"].keys()
    assert seeds[5]["measured"].keys() == seeds[6]["measured"].keys() == {"RL²"}
    means = [each["measured"]["RL²"]["return"]["mean"] for each in seeds.values()]
    assert [each["mean"] for each in found["seeds"]["RL²"]] == means
    measured = found["measured"]
    assert measured["RL²"]["mean"] == pytest.approx(sum(means) / 3)
    assert measured["RL²"]["low"] < min(means)
    assert measured["Random"] == seeds[4]["measured"]["Random"]["return"]
    assert [saved_config(out / f"seed-{seed}" / "5-2" / "rl2").run.seed for seed in seeds] == [*seeds]

    # The same tasks for all, so that `compare` can compare them task by task.
    main(["compare", *(str(out / f"seed-{seed}" / "5-2" / "rl2") for seed in seeds)])
    said = capsys.readouterr().out
    assert "100 tasks" in said
    assert "| 3 |" in said

    # What is there is kept, what is missing begins; here in one process.
    before = (out / "seed-4" / "5-2" / "rl2" / "metrics.jsonl").read_bytes()
    shutil.rmtree(out / "seed-5")
    assert run(out, *given[:-1], "1") == 0
    assert (out / "seed-4" / "5-2" / "rl2" / "metrics.jsonl").read_bytes() == before
    again = json.loads((out / "table.json").read_text())["cells"]["5,2"]
    assert again["seeds"]["RL²"][0] == found["seeds"]["RL²"][0]
    assert again["measured"]["Random"] == measured["Random"]

    for place, words in ((out, ()), (out / "seed-4", ("--seeds", "2"))):  # one seed here, several there
        assert run(place, "--cells", "5,2", *words) == 2
        assert "expected a directory" in capsys.readouterr().err


@pytest.mark.usefixtures("own_ray")
def test_minutes_bound_a_run_and_schedules_follow_them(tmp_path: Path) -> None:
    config = configure("first", trials=64, hidden=16, iterations=10**6, minutes=0.05, learner_threads=1)
    train(config, tmp_path / "run")
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert lines[-1]["seconds"] >= 3
    assert all(line["seconds"] < 3 for line in lines[:-1])
    assert lines[0]["learning_rate"] == 7e-3
    for before, line in itertools.pairwise(lines):
        expected = 7e-3 + before["seconds"] / 3 * (1e-4 - 7e-3)
        assert line["learning_rate"] == pytest.approx(expected, rel=1e-6)


def test_progress_is_the_larger_share() -> None:
    run = Run(iterations=100, minutes=2)
    assert run.progress(10, 60) == 0.5
    assert run.progress(75, 60) == 0.75
    assert run.progress(10, 500) == 1
    assert Run(iterations=100).progress(10, 10**9) == 0.1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rl2-bandit"], "table is 'rl2-bandit'; expected one of"),
        (["rl2-bandit"], "Did you mean 'rl2-bandits'?"),
        (["os:path"], "table is 'os:path'; expected a Table."),
        (["rl2-bandits", "--cells", "10,6"], "cells is '10,6'; expected some of 10,5 10,10"),
        (["rl2-bandits", "--columns", "gittins"], "columns is 'gittins'; expected some of rl2 rl2-deepset, or none."),
        (["rl2-bandits", "--budget", "-1"], "budget is -1.0; expected a finite number of minutes"),
        (["rl2-bandits", "--tasks", "1"], "tasks is 1; expected at least 2"),
        (["rl2-mdps", "--parallel", "-1"], "parallel is -1"),
        (["rl2-mdps", "--seeds", "0"], "seeds is 0; expected at least 1"),
        (["rl2-mdps", "--seeds", "2", "--seed", str(2**63 - 1)], "seed is"),
        (["rl2-mdps", "--columns", "none", "--seeds", "2"], "seeds is 2; expected 1 beside --columns none"),
        (["rl2-mdps", "--columns", "none", "--no-baselines"], "baselines is False; expected them"),
        ([], "--help"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", *arguments])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_directory_with_runs_of_other_options_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "5-2" / "rl2"
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(configure("first").to_json()))
    assert run(tmp_path, "--cells", "5,2") == 2
    assert "expected a directory without runs of other options" in capsys.readouterr().err


@pytest.mark.parametrize(("table", "cell"), CELLS)
def test_every_cell_of_every_table_can_be_trained_and_its_figures_are_a_papers(table: str, cell: str) -> None:
    paper = TABLES[table]
    for options in paper.trained(cell).values():
        config = configure(**paper.cells[cell].options | options)
        assert config.experiment.episodes * config.experiment.family.horizon >= 10
    for before in filter(None, (paper.cells[cell].after, paper.cells[cell].agents)):
        assert [*paper.cells].index(before) < [*paper.cells].index(cell)
    published = paper.cells[cell].published
    assert published.keys() <= BASELINES.keys() | paper.learned.keys()
    if paper.measure in ("accuracy", "error"):
        examination = paper.cells[cell].examination
        assert examination is not None
        assert configure(**paper.cells[cell].options | examination.family).experiment.family
        assert published.keys() <= paper.trained(cell).keys() | {"Nearest neighbour"}
        return
    if table == "l2rl-bandits":
        assert not published
        return
    assert published.keys() >= {"Random", "Greedy", "RL²"}
    assert min(published, key=published.__getitem__) == "Random"
    episodes = config.experiment.episodes
    random, best = (10, 21.81) if table == "rl2-mdps" else (0.5, 1)  # expected of an episode; nobody has more
    assert published["Random"] == pytest.approx(random * episodes, rel=0.03)
    assert max(published.values()) < best * episodes


@pytest.mark.usefixtures("own_ray")
def test_agents_are_examined_otherwise_than_they_were_trained(tmp_path: Path) -> None:
    """Among other numbers of classes and shots; a cell may take its agents from another."""
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "tables:FEW", "--out", str(tmp_path), "--tasks", "60", "--parallel", "1"])
    assert not stopped.value.code
    cells = json.loads((tmp_path / "table.json").read_text())["cells"]
    assert {name: {*cell["measured"]} for name, cell in cells.items()} == {
        "3-way": {"Random", "Nearest neighbour", "ProtoNet", "MAML"},
        "6-way": {"Random", "Nearest neighbour", "ProtoNet"},
    }
    for name, chance in (("3-way", 100 / 3), ("6-way", 100 / 6)):
        random = cells[name]["measured"]["Random"]
        assert random["low"] < chance < random["high"]
        assert cells[name]["measured"]["Nearest neighbour"]["low"] > chance
    assert cells["6-way"]["trained"]["ProtoNet"] == cells["3-way"]["trained"]["ProtoNet"]
    assert not (tmp_path / "6-way" / "protonet" / "config.json").exists()
    assert "| ProtoNet |" in (tmp_path / "table.md").read_text()


def test_pictures_are_named_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "omniglot", "--out", str(tmp_path / "out"), "--data", "/nowhere", "--cells", "5-way 1-shot"])
    assert stopped.value.code == 2
    assert "data is '/nowhere'; expected a folder, a .zip or an .npz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def figures(table: str, cell: str) -> dict[str, Any]:
    return TABLES[table].cells[cell].published


def test_a_cell_of_which_nothing_was_published_has_one_column() -> None:
    table = Table("", "return", {}, {"a": Cell({}, 1, {"Random": 2.5}), "b": Cell({}, 1, {})})
    found = {"measured": {name: {"return": {"mean": 2, "low": 1.9, "high": 2.1}} for name in ("Random", "Greedy")}}
    assert rows(table, {"a": found, "b": found}) == [
        ["", "a published", "measured", "b"],
        ["Random", "2.5", "2.00 ± 0.10", "2.00 ± 0.10"],
        ["Greedy", "", "2.00 ± 0.10", "2.00 ± 0.10"],
    ]


def test_some_figures_are_where_the_papers_have_them() -> None:
    assert (len(TABLES["rl2-bandits"].cells), len(TABLES["rl2-mdps"].cells)) == (9, 5)
    assert figures("rl2-bandits", "100,10") == {
        "Random": 49.9, "Gittins": 82.8, "Thompson": 76.7, "OTS": 81.4, "UCB1": 82.4, "e-greedy": 77.4, "Greedy": 77.1,
        "RL²": 83.5,
    }  # fmt: skip
    assert figures("rl2-mdps", "50")["OPSRL"] == 930.7
    assert figures("snail-bandits", "500,50")["SNAIL"] == 442.6

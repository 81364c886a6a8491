"""What `innerloop reproduce` finds in its directory: results of ours, or a sentence and nothing changed."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from damage import ANY_JSON, changed, tree

from innerloop.distributed.cli import main
from innerloop.distributed.config import configure
from innerloop.distributed.launch import side_by_side as module
from innerloop.distributed.launch.side_by_side import last_line, side_by_side
from innerloop.distributed.launch.stopping import Interrupted
from innerloop.distributed.papers.cells import check_table
from innerloop.distributed.papers.comparison import (
    columns,
    document,
    file_name,
    markdown,
    picture,
    read_result,
    rows,
    write,
)
from innerloop.distributed.papers.tables import Cell, Table
from innerloop.distributed.runs.identity import check_run
from innerloop.envs.errors import BadInput

INTERVAL = {"mean": 2.0, "low": 1.9, "high": 2.1}
MEASURED = {"return": INTERVAL, "regret": INTERVAL}
RESULT = {
    "cell": "5,2", "tasks": 100, "seed": 0, "measured": {"Random": MEASURED, "RL²": MEASURED},
    "trained": {"RL²": {"iterations": 3, "env_steps": 960, "minutes": 0.01}},
}  # fmt: skip


def refused(out: Path, capsys: pytest.CaptureFixture[str], *arguments: str, columns: str = "none") -> str:
    """The sentence of a refusal that changes nothing; Ray is not started for it."""
    before = tree(out)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "tables:TINY", "--out", str(out), "--tasks", "100", "--columns", columns, *arguments])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("innerloop: ")
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    assert len(said) < 1_000
    assert tree(out) == before
    return said


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "5-2").mkdir()
    (tmp_path / "5-2" / "result.json").write_text(json.dumps(RESULT))
    return tmp_path


RESULTS: dict[str, Callable[[Path], None]] = ANY_JSON | {
    "no cell": changed("cell", None, drop=True),
    "another cell": changed("cell", "5,3"),
    "a number for the cell": changed("cell", 5),
    "text for tasks": changed("tasks", "100"),
    "negative tasks": changed("tasks", -1),
    "half a task": changed("tasks", 0.5),
    "beyond 64 bits": changed("tasks", 2**64),
    "no measures": changed("measured", None, drop=True),
    "a list of measures": changed("measured", []),
    "a measure that is a number": changed("measured.Random", 1.0),
    "a measure without a return": changed("measured.Random.return", None, drop=True),
    "text for a mean": changed("measured.Random.return.mean", "2"),
    "NaN": changed("measured.Random.return.low", math.nan),
    "infinity": changed("measured.Random.regret.high", math.inf),
    "a list for an interval": changed("measured.Random.return", [1, 2, 3]),
    "no trained": changed("trained", None, drop=True),
    "a trained that is text": changed("trained.RL²", "long"),
    "negative minutes": changed("trained.RL².minutes", -1),
    "no iterations": changed("trained.RL².iterations", None, drop=True),
}


@pytest.mark.parametrize("damage", RESULTS)
def test_a_damaged_result_is_refused_before_anything_is_done(
    damage: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RESULTS[damage](out / "5-2" / "result.json")
    for cell in ("5,2", "7,2"):  # also another cell's: it would be in the table
        assert f"{out}/5-2/result.json" in refused(out, capsys, "--cells", cell)


@pytest.mark.parametrize("damage", [*ANY_JSON, "another table"])
def test_a_damaged_table_is_refused(damage: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "table.json").write_text('{"table": "tables:TINY"}')
    (ANY_JSON | {"another table": changed("table", "rl2-mdps")})[damage](out / "table.json")
    assert f"{out}/table.json" in refused(out, capsys)


@pytest.mark.parametrize("name", ["table.md", "table.png"])
def test_files_of_others_are_not_written_over(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / name).write_text("mine")
    assert f"which holds a {name} and no table.json" in refused(out, capsys)
    (out / name).unlink()
    (out / name).symlink_to("nowhere")
    assert f"which holds a {name} and no table.json" in refused(out, capsys)


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.json", "tensorboard", "checkpoints"])
def test_runs_of_others_are_not_written_over(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = out / "5-2" / "rl2"
    place.mkdir()
    (place / name).mkdir()
    (place / name / "mine").write_text("mine")
    assert f"which holds a {name}" in refused(out, capsys, columns="rl2")


def test_what_lies_beside_is_no_result(out: Path) -> None:
    (out / "other").mkdir()
    (out / "other" / "result.json").write_text("mine")
    table = Table("", "return", {"RL²": {}}, {"5,2": Cell({}, 1, {}), "5,3": Cell({}, 1, {})})
    write(table, "tables:TINY", out)
    assert json.loads((out / "table.json").read_text())["cells"].keys() == {"5,2"}
    assert read_result(out, "5,3") is None


def test_two_cells_cannot_claim_one(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(out / "5-2", out / "5-3")
    said = refused(out, capsys)
    assert f"the cell of '{out}/5-3/result.json' is '5,2'; expected '5,3'" in said


@pytest.mark.parametrize("place", ["5-2", "5-2/rl2", ""])
def test_a_file_where_a_directory_should_be(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    (out / place).parent.mkdir(parents=True, exist_ok=True)
    (out / place).write_text("mine")
    before = tree(tmp_path)
    refused(out, capsys, columns="rl2")
    assert tree(tmp_path) == before


def saved(place: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    place.mkdir(parents=True)
    document = configure("first").to_json()
    change(document)
    (place / "config.json").write_text(json.dumps(document))
    return place


SAME: dict[str, Callable[[dict[str, Any]], Any]] = {
    "as it is": lambda _: None,
    "an option less, of an older version": lambda saved: saved["family"].pop("regret"),
    "how it is carried out": lambda saved: saved["run"].update(minutes=5.0, parts=7, learner_threads=3),
    "an entry more, of a newer version": lambda saved: saved["run"].update(novel=1),
}
OTHERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another option": lambda saved: saved["algorithm"].update(hidden=7),
    "an option more": lambda saved: saved["algorithm"].update(novel=1),
    "another family": lambda saved: saved["family"].update(name="gaussian-bandit"),
    "another algorithm": lambda saved: saved["algorithm"].update(name="os:path"),
    "other episodes": lambda saved: saved.update(episodes=11),
    "another seed": lambda saved: saved["run"].update(seed=1),
    "other trials": lambda saved: saved["run"].update(trials=999),
    "another curriculum": lambda saved: saved["run"].update(episodes_start=2),
    "another type": lambda saved: saved["algorithm"].update(hidden="64"),
}


@pytest.mark.parametrize("change", SAME)
def test_a_run_of_the_same_options_goes_on(change: str, tmp_path: Path) -> None:
    check_run(configure("first"), saved(tmp_path / "run", SAME[change]))


@pytest.mark.parametrize("change", OTHERS)
def test_a_run_of_other_options_is_refused(change: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a directory without runs of other options"):
        check_run(configure("first"), saved(tmp_path / "run", OTHERS[change]))


def test_what_a_saved_run_names_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    place = saved(tmp_path / "run", lambda saved: saved["family"].update(name="evil:family"))
    with pytest.raises(BadInput, match="runs of other options"):
        check_run(configure("first"), place)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("damage", ANY_JSON)
def test_a_damaged_configuration_is_refused(damage: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = saved(out / "5-2" / "rl2")
    ANY_JSON[damage](place / "config.json")
    assert "5-2/rl2/config.json" in refused(out, capsys, columns="rl2")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--budget", "1e30"], "budget is 1e+30; expected a finite number of minutes, at least 0"),
        (["--budget", "nan"], "budget is nan"),
        (["--budget", "inf"], "budget is inf"),
        (["--tasks", str(2**64)], f"tasks is {2**64}; expected at most 10000000"),
        (["--tasks", "1e30"], "tasks"),
        (["--seed", str(2**64)], "seed is"),
        (["--seed", "-1"], "seed is -1"),
        (["--parallel", str(2**64)], "parallel is"),
        (["--learner-threads", str(2**64)], "learner_threads is"),
        (["--cells", "10,5", "10,5"], "cells is '10,5 10,5'; expected each of them once"),
        (["--cells", ""], "cells is ''"),
        (["--columns", "rl2", "rl2"], "columns is 'rl2 rl2'; expected each of them once"),
        (["--columns", "rl2", "RL²"], "columns is 'rl2 RL²'; expected each of them once"),
        (["--columns", "none", "rl2"], "columns is 'none rl2'; expected none alone, or columns"),
        (["--columns", ""], "columns is ''"),
        (["--columns", "none", "--budget", "3"], "budget is 3.0; expected nothing beside --columns none"),
        (["--columns", "none", "--learner-threads", "3"], "learner_threads is 3; expected nothing beside"),
        (["--out", "x" * 300], "out is"),
        (["--out", " "], "out is"),
        (["--out", "~nobody-here/x"], "no such user"),
    ],
)
def test_options_that_cannot_be(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "rl2-bandits", *arguments])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cells", "learned", "sentence"),
    [
        ({"a b": "", "a-b": ""}, {}, "cells of the table"),
        ({"..": ""}, {}, "cells of the table"),
        ({"a": ""}, {"RL²": {}, "rl2": {}}, "columns of the table"),
        ({"a": "b", "b": ""}, {}, "the cell before 'a' is 'b'"),
        ({"a": "a"}, {}, "the cell before 'a' is 'a'"),
    ],
)
def test_a_table_whose_cells_share_a_directory(cells: dict[str, str], learned: dict[str, Any], sentence: str) -> None:
    table = Table("", "return", learned, {name: Cell({}, 1, {}, after) for name, after in cells.items()})
    with pytest.raises(BadInput, match=sentence):
        check_table(table)


def test_a_column_without_the_measure_and_names_of_others_can_be_shown() -> None:
    measured = {"Random": MEASURED, "Greedy": MEASURED | {"regret": None}, "$x_{[/red]\x1b[2J": {"return": INTERVAL}}
    table = Table("", "regret", {}, {"a[/b]": Cell({}, 1, {"Random": 2.5})})
    results: Any = {"a[/b]": RESULT | {"cell": "a[/b]", "measured": measured}}
    assert [line[-1] for line in rows(table, results)[1:]] == ["2.00 ± 0.10", "", ""]
    assert columns(table, results) == [*measured]
    assert document(table, "t", results)["cells"]["a[/b]"]["measured"]["Greedy"] is None
    assert "\x1b" not in markdown(table, "t", results)
    assert picture(table, results)[:8] == b"\x89PNG\r\n\x1a\n"
    assert file_name("RL² 10,5/../x") == "rl2-10-5-..-x"


def sleeper(said: Path, obedient: bool) -> list[str]:
    """A process, with a child of its own, that says both their numbers and then sleeps."""
    ignore = "" if obedient else "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code = (
        f"import os, signal, subprocess, sys, time; {ignore}"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(said)!r} + '.part', 'w').write(f'{{os.getpid()}} {{child.pid}}'); "
        f"os.rename({str(said)!r} + '.part', {str(said)!r}); time.sleep(600)"
    )
    return [sys.executable, "-c", code]


def all_gone(*files: Path) -> bool:
    """A zombie, whose parent has not looked yet, is gone."""
    until = time.monotonic() + 60
    while alive := [number for file in files for number in file.read_text().split() if running(int(number))]:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return not alive


def running(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("signals", "obedient", "patience", "ends"),
    [
        (1, True, 600.0, Interrupted),
        (1, False, 0.2, Interrupted),  # they do not stop
        (2, False, 600.0, KeyboardInterrupt),
    ],
)
def test_nothing_that_was_begun_outlives_an_interrupt(
    signals: int,
    obedient: bool,
    patience: float,
    ends: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", patience)
    files = [tmp_path / "a", tmp_path / "b"]
    asked = threading.Event()
    send = subprocess.Popen.send_signal

    def note(self: Any, number: int) -> None:
        send(self, number)
        asked.set()

    monkeypatch.setattr(subprocess.Popen, "send_signal", note)

    def interrupt() -> None:
        until = time.monotonic() + 120
        while not all(file.exists() for file in files) and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        if signals == 2:
            asked.wait(120)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(ends):
        side_by_side({"a": "", "b": ""}, 2, lambda cell: (sleeper(tmp_path / cell, obedient), tmp_path / f"{cell}.log"))
    thread.join()
    assert all_gone(*files)


def test_nothing_that_was_begun_outlives_an_error_and_a_process_that_dies_leaves_nothing(tmp_path: Path) -> None:
    def command(cell: str) -> tuple[list[str], Path]:
        if cell == "b":
            until = time.monotonic() + 120
            while not (tmp_path / "a").exists() and time.monotonic() < until:
                time.sleep(0.01)
            raise BadInput("no such thing; expected another.")
        return sleeper(tmp_path / cell, True), tmp_path / f"{cell}.log"

    with pytest.raises(BadInput, match="no such thing"):
        side_by_side({"a": "", "b": ""}, 2, command)
    assert all_gone(tmp_path / "a")

    def kill() -> None:
        until = time.monotonic() + 120
        while not (tmp_path / "c").exists() and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(int((tmp_path / "c").read_text().split()[0]), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    assert side_by_side({"c": ""}, 1, command) == ["c"]
    thread.join()
    assert all_gone(tmp_path / "c")


def test_a_cell_waits_for_the_one_before_it_and_what_fails_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(cell: str) -> tuple[list[str], Path]:
        code = {"a": "print('x' * 10**6); print('the \\x1b[2J end')", "b": "raise SystemExit('no')", "c": ""}[cell]
        return [sys.executable, "-c", code], tmp_path / f"{cell}.log"

    assert side_by_side({"a": "", "b": "a", "c": "b"}, 3, command) == ["b"]
    said = capsys.readouterr().err
    assert said.index("a: done") < said.index("b: begun") < said.index("b: failed: no") < said.index("c: begun")
    assert last_line(tmp_path / "a.log") == r"the \x1b[2J end"
    assert last_line(tmp_path / "c.log") == "nothing"


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="the log is"):
        side_by_side({"a": ""}, 1, lambda cell: ([sys.executable], tmp_path / "file" / "a.log"))

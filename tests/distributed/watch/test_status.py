"""`innerloop status`: what a directory and other programs say is shown, or refused in a sentence."""

import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import ANY_JSON, CONFIG, METRICS, changed, tree
from dashboards import Answers, Dashboard, healthy
from logged import ours
from rich.console import Console

from innerloop.distributed.cli import main
from innerloop.distributed.launch import dashboard as asking
from innerloop.distributed.watch import status as module
from innerloop.distributed.watch.status import Status, details, of_cluster, of_directory, overview
from innerloop.envs.errors import BadInput

KEPT = Path(__file__).parents[3] / "benchmarks" / "results" / "point-pearl"
SAVED = json.loads((KEPT / "config.json").read_text())
LINE = json.loads((KEPT / "metrics.jsonl").read_text().splitlines()[-1])


def drawn(table: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["status", *arguments])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("innerloop: ")
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    assert len(said) < 800
    return said


UNREADABLE = ("huge", "a directory", "a pipe", "a device", "a loop of links")


@pytest.mark.parametrize("damage", CONFIG)
def test_a_damaged_configuration_is_refused(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    CONFIG[damage](run / "config.json")
    before = tree(tmp_path)
    for more in ([], ["--json"], ["--watch"]):
        assert f"{run}/config.json" in refused([str(run), *more], capsys)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("damage", UNREADABLE)
def test_metrics_that_are_no_file_are_refused(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    ANY_JSON[damage](run / "metrics.jsonl")
    assert f"{run}/metrics.jsonl" in refused([str(run)], capsys)


@pytest.mark.parametrize("damage", [name for name in METRICS if name not in UNREADABLE])
def test_a_run_whose_metrics_hold_nothing_is_shown_and_that_is_said(damage: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    METRICS[damage](run / "metrics.jsonl")
    found = of_directory(run)
    assert found.line == {}
    assert "0 of 110" in drawn(details(found))
    assert ("3 of its lines left out" in found.warning) == (damage == "no line that can be used")


def test_lines_that_cannot_be_read_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    text = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([*text[:50], "broken\n", *text[50:]]))
    main(["status", str(run)])
    said = " ".join(capsys.readouterr().out.split())
    assert "finished" in said
    assert "1 of its lines left out (line 51 cannot be used" in said
    main(["status", str(run), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["line"] == LINE
    assert "line 51" in told["warning"]


def test_a_plug_in_that_a_run_names_is_shown_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    changed("family.name", "evil:family")(run / "config.json")
    changed("run.iterations", 500)(run / "config.json")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "pearl on evil:family" in drawn(details(of_directory(run)))
    assert not (tmp_path / "imported").exists()


def test_a_run_that_disappears_while_it_is_watched_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    changed("run.iterations", 500)(run / "config.json")
    monkeypatch.setattr(module.time, "sleep", lambda _: shutil.rmtree(run))
    assert "expected the directory of a run" in refused([str(run), "--watch"], capsys)


@pytest.mark.parametrize("entry", [*LINE, None])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, -1, 0, 1e300, 2**62])
def test_whatever_a_last_line_says_can_be_shown(entry: str | None, value: float | None) -> None:
    line: dict[str, Any] = dict(LINE)
    for each in [entry] if entry else LINE:
        if value is None:
            del line[each]
        else:
            line[each] = value
    for minutes in (0, 0.5, 1e9):
        saved = SAVED | {"run": SAVED["run"] | {"minutes": minutes}}
        run = Status("run", saved, line, 0.0)
        assert "pearl on" in drawn(details(run))
        assert "/110" in drawn(overview([run]))


@pytest.mark.parametrize(
    ("run", "line", "finished", "left"),
    [
        ({"iterations": 100}, {}, False, math.nan),
        ({"iterations": 100}, {"iteration": 0, "seconds": 0.0}, False, math.nan),
        ({"iterations": 100}, {"iteration": 25, "seconds": 10.0}, False, 30.0),
        ({"iterations": 100}, {"iteration": 25}, False, math.nan),
        ({"iterations": 100}, {"iteration": math.nan, "seconds": 1.0}, False, math.nan),
        ({"iterations": 100}, {"iteration": 100, "seconds": 10.0}, True, 0.0),
        ({"iterations": 100}, {"iteration": 200, "seconds": 10.0}, True, 0.0),
        ({"iterations": 100, "minutes": 0.5}, {"iteration": 25, "seconds": 10.0}, False, 20.0),
        ({"iterations": 100, "minutes": 0.5}, {"iteration": 25, "seconds": 40.0}, True, 0.0),
        ({"iterations": 100, "minutes": 0.5}, {"iteration": 25, "seconds": math.nan}, False, math.nan),
        ({"iterations": 100, "minutes": 0.5}, {"iteration": 25}, False, 30.0),
        ({"iterations": 100, "minutes": -3.0}, {"iteration": 25, "seconds": 10.0}, False, 30.0),
        ({"iterations": 100, "minutes": math.nan}, {"iteration": 25, "seconds": 10.0}, False, 30.0),
        ({"iterations": 0}, {"iteration": 0, "seconds": 1.0}, True, math.nan),
    ],
)
def test_what_is_left(run: dict[str, Any], line: dict[str, Any], finished: bool, left: float) -> None:
    found = Status("run", {"run": run}, line, 0.0)
    assert found.finished == finished
    assert found.seconds_left == pytest.approx(left, nan_ok=True)


def status_file(name: str = "theirs", **more: Any) -> dict[str, Any]:
    return {"name": name, "config": SAVED, "line": LINE, "time": 1.7e9} | more


ENDPOINTS = ("/api/authentication_mode", "/api/v0/nodes", "/api/v0/logs", "run")
ANSWERS: dict[str, Any] = {
    "empty": b"",
    "text": b"hello",
    "HTML": b"<html></html>",
    "cut": b'{"data": {"result": ',
    "another length": (200, {"Content-Length": "10000"}, b"{}"),
    "a list": [],
    "null": None,
    "a number": 5,
    "deep": b"[" * 100_000,
    "not UTF-8": b'{"\xff": 1}',
    "data is null": {"data": None},
    "data is a list": {"data": []},
    "a result that is text": {"data": {"result": "no"}},
    "nodes that are none": {"data": {"result": {"result": [{}], "x": [1]}}},
    "an error": (500, {}, b"oh\x1b[2J"),
    "forbidden": (403, {}, b""),
    "elsewhere": (302, {"Location": "http://127.0.0.1:1/"}, b""),
    "a mode that is a list": {"authentication_mode": []},
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("kind", ANSWERS)
def test_what_else_answers_is_one_sentence_and_a_run_that_cannot_be_read_hides_no_other(
    endpoint: str,
    kind: str,
    serve: Callable[[Answers], Dashboard],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    at = serve(healthy(run=status_file(), mine=status_file("mine")) | {endpoint: ANSWERS[kind]})
    if endpoint == "run":
        main(["status", "--address", at.address])
        assert "mine" in capsys.readouterr().out
        [said] = ours(caplog)
        assert said.startswith("run of node n1 is left out: ")
        assert said.isprintable()
    else:
        assert at.address in refused(["--address", at.address], capsys)


@pytest.mark.parametrize(
    "change",
    [{"name": 5}, {"config": {}}, {"line": []}, {"line": {"return": "1"}}, {"line": {"return": 2**64}}, {"time": None},
     {"time": math.nan}, {"config": SAVED | {"run": {"iterations": 0, "mode": "synchronous"}}},
     {"config": SAVED | {"family": None}}],
    ids=ascii,
)  # fmt: skip
def test_a_notice_of_another_shape_is_left_out(
    change: dict[str, Any], serve: Callable[[Answers], Dashboard], caplog: pytest.LogCaptureFixture
) -> None:
    at = serve(healthy(run=status_file(**change), mine=status_file("mine")))
    assert [run.name for run in of_cluster(at.address)] == ["mine"]
    assert len(ours(caplog)) == 1


def test_a_notice_of_another_version_is_shown(serve: Callable[[Answers], Dashboard]) -> None:
    line = {"iteration": 3, "novel": 1.0, "return_episode_x": 2.0, "return_episode_" + "9" * 5_000: 1.0}
    at = serve(healthy(run=status_file(line=line, more=1, config=SAVED | {"more": [1]})))
    [run] = of_cluster(at.address)
    assert run.line == line
    assert "3 of 110" in drawn(details(run))
    assert "3/110" in drawn(overview([run]))


def test_another_users_name_can_neither_move_the_cursor_nor_be_markup(
    serve: Callable[[Answers], Dashboard], capsys: pytest.CaptureFixture[str]
) -> None:
    name, family = "[red]a[/red][/x]\x1b[2J\n\u202e", SAVED["family"] | {"name": "\x1b]0;x\x07[/bold]"}
    line = LINE | {"\x1b[2J[/x]": 1.0}
    at = serve(healthy(run=status_file(name, config=SAVED | {"family": family}, line=line)))
    for arguments in ([], [name[:5]]):  # a terminal would not take the whole of it
        main(["status", *arguments, "--address", at.address])
        said = capsys.readouterr().out
        assert r"[red]a[/red][/x]\x1b[2J\n" in said.replace("\n", "")
        assert all(each.isprintable() or each == "\n" for each in said)
    assert r"\x1b[2J\n" in refused(["nobody", "--address", at.address], capsys)
    main(["status", "--address", at.address, "--json"])
    assert json.loads(capsys.readouterr().out)[0]["name"] == name


@pytest.mark.parametrize("token", ["", " \n", "a\nb", "a\0", "é", "x" * 5_000], ids=ascii)
def test_a_token_that_is_none_is_refused_and_not_shown(
    token: str,
    serve: Callable[[Answers], Dashboard],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = serve(healthy() | {"/api/authentication_mode": {"authentication_mode": "token"}})
    (tmp_path / "token").write_bytes(token.encode())
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    said = refused(["--address", at.address], capsys)
    assert "asks for a token" in said
    assert not token.strip() or token[:100] not in said
    for damage in UNREADABLE:
        (tmp_path / damage).write_bytes(b"")
        ANY_JSON[damage](tmp_path / damage)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / damage))
        assert "asks for a token" in refused(["--address", at.address], capsys)


def test_a_token_is_shown_to_nobody_else(
    serve: Callable[[Answers], Dashboard], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = serve(healthy())
    away = (302, {"Location": other.address + "/api/v0/nodes"}, b"")
    at = serve(healthy() | {"/api/authentication_mode": {"authentication_mode": "token"}, "/api/v0/nodes": away})
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(BadInput, match="expected a Ray dashboard there"):
        of_cluster(at.address)
    assert at.asked[-1][1]["Authorization"] == "Bearer " + "0" * 64
    assert not other.asked


def test_an_answer_is_bounded(serve: Callable[[Answers], Dashboard], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LARGEST", 10_000)
    at = serve(healthy(run=status_file(line={f"entry{i}": 1.0 for i in range(1_000)})))
    assert of_cluster(at.address) == []
    monkeypatch.setattr(asking, "LARGEST", 10)
    with pytest.raises(BadInput, match="it answers more than 10 bytes"):
        of_cluster(at.address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:x", "http://127.0.0.1:99999", "http://\x1b[2J:1", "http://[::1"])
def test_an_address_that_is_none(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["--address", address], capsys)

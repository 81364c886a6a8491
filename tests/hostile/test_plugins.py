"""Plug-ins run code: only those that a user names are imported, and nothing is called to find out what it is."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from saved_runs import NOWHERE, Ended, newest, tree

from innerloop.actors.agent import Agent
from innerloop.envs.errors import BadInput

Made = Callable[..., Path]
Command = Callable[..., Ended]

COINS = """
from dataclasses import dataclass
from pathlib import Path

from innerloop.envs.bandit import BernoulliBandit
from innerloop.learner.memory import GRU

Path({trace!r}).touch()


@dataclass(frozen=True, kw_only=True)
class Coins(BernoulliBandit):
    arms: int = 3


class Slow(GRU):
    pass
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory; modules that are imported from it are forgotten."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    known = {*sys.modules}
    yield work
    for name in {*sys.modules} - known:
        if str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", None) or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]


@pytest.fixture
def foreign(made: Made, here: Path) -> tuple[Path, Path]:
    """A run that names plug-ins, and what is there once they have been imported; they lie in the working directory."""
    trace = here / "imported"
    (here / "coins_of_others.py").write_text(COINS.format(trace=str(trace)))
    run = made("run", family="coins_of_others:Coins", memory="coins_of_others:Slow")
    del sys.modules["coins_of_others"]
    trace.unlink()
    return run, trace


def test_a_saved_plug_in_is_not_imported_unasked(foreign: tuple[Path, Path], command: Command, tmp_path: Path) -> None:
    run, trace = foreign
    before = tree(tmp_path)
    for words in (["evaluate", str(run)], ["train", "--resume", str(run)], ["evaluate", str(run / "checkpoints")]):
        ended = command(*words)
        assert (ended.status, ended.err.count("\n")) == (2, 1), ended
        assert "coins_of_others:Coins" in ended.err
        assert "--family coins_of_others:Coins" in ended.err
        assert "--trust-plugins" in ended.err
    for trust in (False, [], ["coins_of_others"], ["other:Coins"]):
        with pytest.raises(BadInput, match="trust_plugins=True"):
            Agent.load(run, trust_plugins=trust)
    for words in (["status", str(run)], ["plot", str(run), "--out", str(tmp_path / "plots")]):
        assert command(*words).status == 0  # they need none of it
    shutil.rmtree(tmp_path / "plots")
    assert not trace.exists()
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "works"),
    [
        (["--trust-plugins"], True),
        (["--family", "coins_of_others:Coins"], False),  # the memory is a plug-in too
        (["--family", "bernoulli-bandit"], False),
        (["--family", "other:Coins"], False),
    ],
    ids=str,
)
def test_a_saved_plug_in_is_imported_where_it_is_trusted(
    words: list[str], works: bool, foreign: tuple[Path, Path], command: Command
) -> None:
    run, trace = foreign
    ended = command("evaluate", str(run), "--tasks", "4", *words)
    assert ended.status == (0 if works else 2), ended
    assert trace.exists() == (works or "coins_of_others:Coins" in words)
    resumed = command("train", "--resume", str(run), *words)
    assert (NOWHERE in resumed.err) == works


def test_a_family_that_is_named_again_is_enough(made: Made, here: Path, command: Command) -> None:
    (here / "coins_of_mine.py").write_text(COINS.format(trace=str(here / "imported")))
    run = made("run", family="coins_of_mine:Coins")
    del sys.modules["coins_of_mine"]
    assert command("evaluate", str(run), "--tasks", "4").status == 2
    assert command("evaluate", str(run), "--tasks", "4", "--family", "coins_of_mine:Coins").status == 0
    assert NOWHERE in command("train", "--resume", str(run), "--family", "coins_of_mine:Coins").err
    assert Agent.load(run, trust_plugins=["coins_of_mine:Coins"]).experiment.family_name == "coins_of_mine:Coins"
    assert newest(run) == 4


@pytest.mark.parametrize("from_inside", [True, False])
def test_nothing_is_imported_from_inside_the_runs_directory(
    from_inside: bool, made: Made, here: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a module of the working directory, nor through namespace packages that lead there."""
    name = "evil" if from_inside else "runs.of_others.evil"
    (here / "evil.py").write_text(COINS.format(trace=str(here / "imported")))
    (here / "runs" / "of_others").mkdir(parents=True)
    shutil.copy(here / "evil.py", here / "runs" / "of_others" / "evil.py")
    made_run = made("run", family=f"{name}:Coins")
    for each in [each for each in sys.modules if each.split(".")[0] in ("evil", "runs")]:
        del sys.modules[each]
    (here / "imported").unlink()
    (here / "evil.py").unlink()
    shutil.copytree(made_run, here / "runs" / "of_others", dirs_exist_ok=True)
    run = "runs/of_others"
    if from_inside:
        monkeypatch.chdir(here / run)
        run = "."
    for words in (["--trust-plugins"], ["--family", f"{name}:Coins"]):
        ended = command("evaluate", run, *words)
        assert (ended.status, ended.err.count("\n")) == (2, 1), ended
    assert not (here / "imported").exists()


@pytest.mark.parametrize("option", ["--family", "--algorithm", "--memory"])
@pytest.mark.parametrize(
    "name",
    [
        *("os:getpid", "os:abort", "subprocess:Popen", "threading:Thread", "builtins:print", "sys:exit"),
        *("builtins:input", "os:path", "os.path:join", "math:pi", "os:no_such_thing", "no_such_module:thing"),
        *("os:", ":os", "a b:c", "..os:path"),
    ],
)  # fmt: skip
def test_what_a_name_stands_for_is_not_called_to_find_out(name: str, option: str, command: Command, here: Path) -> None:
    ended = command("train", option, name, "--address", NOWHERE)
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended
    assert ended.err.startswith(f"innerloop: {option[2:]} is {name!r}"), ended
    assert not tree(here)


METHODS = "class family:\n    sample = make = print\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("1 / 0", 2, "ZeroDivisionError: division by zero, at HERE/broken_plugin.py:2"),
        ("import sys; sys.exit(0)", 2, "SystemExit: 0"),
        ("import sys; sys.exit()", 2, "SystemExit"),
        ("raise KeyboardInterrupt", 130, "interrupted."),
        ("raise SystemExit('bye')", 2, "SystemExit: bye"),
        ("def (", 2, "SyntaxError: invalid syntax, at HERE/broken_plugin.py:2"),
        ("import no_such_module", 2, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise Exception('\\x1b[2J' + 'x' * 5000)", 2, "Exception: "),
        (f"{METHODS}    def __init__(self): raise OSError('no licence')", 2, "no licence"),
        (f"{METHODS}    @property\n    def horizon(self): raise OSError('no horizon')", 2, "no horizon"),
        (f"{METHODS}    horizon = 0\n    observation_space = action_space = 3", 2, "space"),
        ("family = None", 2, "an object with"),
    ],
)  # fmt: skip
def test_a_plug_in_that_is_broken(code: str, status: int, said: str, command: Command, here: Path) -> None:
    (here / "broken_plugin.py").write_text("import os\n" + code)
    sys.modules.pop("broken_plugin", None)
    ended = command("train", "--family", "broken_plugin:family", "--address", NOWHERE)
    assert (ended.status, ended.err.count("\n")) == (status, 1), ended
    assert said.replace("HERE", str(here)) in ended.err, ended
    assert len(ended.err) < 1_500
    assert "\x1b" not in ended.err
    shutil.rmtree(here / "__pycache__", ignore_errors=True)
    assert [*tree(here)] == ["broken_plugin.py"]

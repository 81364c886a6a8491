"""Names to things: the known ones, any package.module:attribute, and sentences for all that is neither."""

import sys
from pathlib import Path

import pytest

from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.errors import BadInput, require
from innerloop.envs.families import FAMILIES
from innerloop.envs.registry import resolve


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of one's own, on no path yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    return tmp_path


def test_a_known_name_is_looked_up() -> None:
    assert resolve("family", "bernoulli-bandit", FAMILIES) is BernoulliBandit


def test_an_unknown_name_lists_the_known_and_the_closest() -> None:
    with pytest.raises(BadInput) as error:
        resolve("family", "bernouli-bandit", FAMILIES)
    sentence = str(error.value)
    assert sentence.startswith("family is 'bernouli-bandit'; expected one of ")
    assert all(name in sentence for name in FAMILIES)
    assert "package.module:attribute" in sentence
    assert sentence.endswith("Did you mean 'bernoulli-bandit'?")


def test_a_name_like_none_of_them_has_no_closest() -> None:
    with pytest.raises(BadInput, match=r"plug-in as package\.module:attribute\.$"):
        resolve("family", "xyz", FAMILIES)


def test_a_module_of_the_working_directory_is_a_plug_in(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "worlds.py").write_text("class Outer:\n    thing = 'found'\n")
    assert resolve("family", "mine.worlds:Outer.thing", FAMILIES) == "found"


def test_a_plug_in_need_not_be_in_the_working_directory() -> None:
    assert resolve("family", "innerloop.envs.bandit:BernoulliBandit", {}) is BernoulliBandit


@pytest.mark.parametrize(
    "name",
    [
        "no_such_module:thing",
        "json:no_such_attribute",
        "json:decoder.no_such_attribute",
        "needs_what_is_missing:thing",
        ":thing",
        "json:",
        ".json:loads",
        "cannot_be_parsed:x",
        "fails:x",
    ],
)
def test_a_broken_plug_in_is_refused_in_one_sentence(name: str, here: Path) -> None:
    (here / "needs_what_is_missing.py").write_text("import no_such_module\n")
    (here / "cannot_be_parsed.py").write_text("def (\n")
    (here / "fails.py").write_text("1 / 0\n")
    with pytest.raises(BadInput) as error:
        resolve("algorithm", name, {})
    assert str(error.value).startswith(f"algorithm is {name!r}; expected an importable package.module:attribute (")
    assert str(error.value).endswith(").")


def test_require_says_the_field_what_was_given_and_what_was_expected() -> None:
    require(True, "arms", 3, "at least 1")
    with pytest.raises(BadInput, match=r"^arms is 'x'; expected at least 1\.$"):
        require(False, "arms", "x", "at least 1")

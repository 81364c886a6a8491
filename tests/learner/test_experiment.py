"""Experiments: to JSON and back; what a saved or written configuration gets wrong is said in one sentence."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small import PAIRS

from innerloop.envs.bandit import CorrelatedBandit, GaussianBandit
from innerloop.envs.errors import BadInput, EnvironmentRaised
from innerloop.envs.families import FAMILIES
from innerloop.envs.navigation import SparsePointNavigation
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.algorithms.pearl import PEARL
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.api import Recall
from innerloop.learner.experiment import Experiment
from innerloop.learner.options import construct, options_of

GOOD: dict[str, Any] = {"family": {"name": "tabular-mdp"}, "algorithm": {"name": "rl2", "hidden": 8}, "episodes": 4}


@pytest.mark.parametrize(("family", "algorithm"), PAIRS)
def test_every_family_and_algorithm_returns_from_json_as_it_was(family: str, algorithm: str) -> None:
    one = Experiment(
        family_name=family,
        family=FAMILIES[family](),
        algorithm_name=algorithm,
        algorithm=ALGORITHMS[algorithm](),
        episodes=7,
    )
    assert Experiment.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gaussian-bandit", GaussianBandit(arms=3, noise=0.25)),
        ("correlated-bandit", CorrelatedBandit(level="hard")),
        ("tabular-mdp", TabularMDP(states=3, actions=2, horizon=5)),
    ],
)
def test_options_that_are_not_the_defaults_return_too(name: str, family: Any) -> None:
    algorithm = RL2(memory="gru", hidden=9, discount=0.5, precision="bfloat16", compile=True)
    one = Experiment(family_name=name, family=family, algorithm_name="rl2", algorithm=algorithm, episodes=3)
    again = Experiment.from_json(json.loads(json.dumps(one.to_json())))
    assert again == one
    assert (again.family, again.algorithm, again.episodes) == (family, algorithm, 3)


def test_the_problem_is_the_familys() -> None:
    one = Experiment.from_json(GOOD)
    assert one.problem == (one.family.observation_space, one.family.action_space, 4, one.family.horizon, 0)


def test_keys_beside_its_own_are_left_alone() -> None:
    assert Experiment.from_json(GOOD | {"run": {"seed": 1}}) == Experiment.from_json(GOOD)


def test_a_whole_number_will_do_for_a_real_one() -> None:
    made = Experiment.from_json(GOOD | {"family": {"name": "gaussian-bandit", "noise": 2}}).family
    assert made == GaussianBandit(noise=2.0)


WRONG_TYPE = r"; expected a value of type "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"family": {"name": "tabular-mdp", "stats": 3}},
            r"^'stats' is not an option of family 'tabular-mdp'; .*'states'\?$",
        ),
        (
            {"algorithm": {"name": "rl2", "xyz": 1}},
            r"^'xyz' is not an option of algorithm 'rl2'; expected one of memory.*\.$",
        ),
        ({"family": {"name": "tabular-mdp", "states": 2.5}}, rf"^states is 2\.5{WRONG_TYPE}int\.$"),
        ({"family": {"name": "tabular-mdp", "states": "3"}}, rf"^states is '3'{WRONG_TYPE}int\.$"),
        ({"family": {"name": "tabular-mdp", "states": True}}, rf"^states is True{WRONG_TYPE}int\.$"),
        ({"family": {"name": "gaussian-bandit", "noise": None}}, rf"^noise is None{WRONG_TYPE}float\.$"),
        ({"algorithm": {"name": "rl2", "compile": 1}}, rf"^compile is 1{WRONG_TYPE}bool\.$"),
        ({"algorithm": {"name": "rl2", "memory": ["gru"]}}, rf"^memory is \['gru'\]{WRONG_TYPE}str\.$"),
        ({"family": {"name": "tabular-mdp", "states": 0}}, r"^states is 0; expected at least 1\.$"),
        ({"family": {"name": "tabular"}}, r"^family is 'tabular'; expected one of .* Did you mean 'tabular-mdp'\?$"),
        (
            {"algorithm": {"name": "rl3"}},
            r"^algorithm is 'rl3'; expected one of maml, matching, pearl, promp, .*rl2.* Did you mean 'rl2'\?$",
        ),
        ({"episodes": 0}, r"^episodes is 0; expected at least 1\.$"),
        ({"family": {"states": 3}}, r"^the saved configuration lacks 'name'; expected .*\.$"),
        ({"algorithm": 3}, r"^the saved configuration lacks .*; expected family, algorithm and episodes\.$"),
        ({"family": "tabular-mdp"}, r"^the saved configuration lacks .*; expected family, algorithm and episodes\.$"),
        ({"episodes": "4"}, "episodes"),
        ({"episodes": 2.5}, "episodes"),
        ({"episodes": None}, "episodes"),
        ({"family": {"name": 3}}, "3"),
        ({"family": {"name": ["tabular-mdp"]}}, "tabular-mdp"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_in_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Experiment.from_json(GOOD | change)


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(BadInput, match=rf"^the saved configuration lacks '{key}'; expected family, algorithm and"):
        Experiment.from_json({name: value for name, value in GOOD.items() if name != key})


PLUG_IN = """
import dataclasses
from typing import Literal
from innerloop.envs.bandit import BernoulliBandit

@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(BernoulliBandit):
    luck: float = 0.5
    sizes: tuple[int, ...] = (8, 8)
    pair: tuple[str, float] = ("a", 0.5)
    limit: int | None = None
    kind: Literal["x", "y"] | None = "x"

class Plain(BernoulliBandit):
    pass

@dataclasses.dataclass(frozen=True, kw_only=True)
class Unresolved(BernoulliBandit):
    shape: "NoSuchName" = (1,)

finished = BernoulliBandit(arms=2)

class NeedsMore:
    def __init__(self, more):
        pass

@dataclasses.dataclass
class WithoutDefault:
    size: int

def no_family():
    return 3
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "plugged", raising=False)
    (tmp_path / "plugged.py").write_text(PLUG_IN)


@pytest.mark.usefixtures("plug_in")
def test_a_plug_in_is_a_dataclass_with_options_or_a_finished_object() -> None:
    for name, options, arms in (("Options", {"luck": 0.25, "arms": 3}, 3), ("finished", {}, 2)):
        one = Experiment.from_json(GOOD | {"family": {"name": f"plugged:{name}"} | options})
        assert one.problem.action_space.n == arms
        for option, given in options.items():
            assert one.to_json()["family"][option] == given


TYPED = [
    ("sizes", (16,), (16,)),
    ("sizes", [], ()),
    ("pair", ["b", 1], ("b", 1.0)),
    ("limit", 3, 3),
    ("limit", None, None),
    ("kind", "y", "y"),
    ("kind", None, None),
]


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize(("option", "given", "value"), TYPED)
def test_tuples_and_optional_values_survive_the_way_through_json(option: str, given: Any, value: Any) -> None:
    one = Experiment.from_json(GOOD | {"family": {"name": "plugged:Options", option: given}})
    assert getattr(one.family, option) == value
    again = Experiment.from_json(json.loads(json.dumps(one.to_json())))
    assert again == one
    assert again.to_json() == one.to_json()


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("sizes", 3),
        ("sizes", [1.5]),
        ("sizes", ["1"]),
        ("sizes", [True]),
        ("sizes", {"a": 1}),
        ("pair", ["a"]),
        ("pair", ["a", math.nan]),
        ("limit", "3"),
        ("limit", 2.5),
        ("kind", "z"),
        ("kind", object()),
    ],
)
def test_a_value_of_another_type_is_refused_also_where_the_default_does_not_tell(option: str, given: Any) -> None:
    with pytest.raises(BadInput, match=rf"^{option} is .*; expected a value of type .*\.$"):
        Experiment.from_json(GOOD | {"family": {"name": "plugged:Options", option: given}})


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize(
    ("family", "message"),
    [
        ({"name": "plugged:absent"}, r"^family is 'plugged:absent'; expected an importable package\.module:attribute"),
        (
            {"name": "plugged:finished", "depth": 3},
            r"^'depth' is not an option of family 'plugged:finished'; .*none\.$",
        ),
        ({"name": "plugged:Options", "lack": 3.0}, r"^'lack' is not an option of .* Did you mean 'luck'\?$"),
        ({"name": "plugged:no_family"}, r"^family is 'plugged:no_family'; expected "),
        ({"name": "plugged:NeedsMore"}, "NeedsMore"),
        ({"name": "plugged:WithoutDefault"}, "WithoutDefault"),
        ({"name": "plugged:Unresolved", "shape": [2]}, r"^the type of shape is 'NoSuchName'; expected one that can be"),
        ({"name": "plugged:WithoutDefault", "size": 3}, "WithoutDefault"),
    ],
    ids=str,
)
def test_a_broken_plug_in_is_refused_in_one_sentence(family: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Experiment.from_json(GOOD | {"family": family})


def test_options_are_the_fields_of_a_dataclass_and_of_nothing_else() -> None:
    @dataclass(frozen=True)
    class Sized:
        size: int = 3

    assert options_of(Sized(size=4)) == {"size": 4}
    assert options_of(Sized) == {}
    assert options_of(object()) == {}
    assert construct("thing", "sized", {"sized": Sized}, {"size": 5}) == Sized(5)


@pytest.mark.parametrize(
    ("recall", "message"),
    [
        (3, r"^.*recall raised TypeError: .*"),
        (lambda self, problem: 1 / 0, r"^.*recall raised ZeroDivisionError: .*"),
        (lambda self, problem: 0.5, r"^what recall of it returns is 0\.5; expected a Recall\.$"),
        (lambda self, problem: Recall(1.5, 3), r"^the share of trials that begin from a context is 1\.5; expected "),
        (
            lambda self, problem: Recall(math.nan, 3),
            r"^the share of trials that begin from a context is nan; expected ",
        ),
        (
            lambda self, problem: Recall("some", 3),
            r"^the share of trials that begin from a context is 'some'; expected ",
        ),
        (lambda self, problem: Recall(0.5, 0), r"^the steps of a context is 0; expected at least 1\.$"),
        (lambda self, problem: Recall(0.5, 2.5), r"^the steps of a context is 2\.5; expected a value of type int\.$"),
    ],
    ids=["no method", "raises", "no recall", "too many", "nan", "text", "no steps", "half a step"],
)
def test_what_an_algorithm_says_of_contexts_is_checked_with_the_experiment(recall: Any, message: str) -> None:
    algorithm = type("Own", (PEARL,), {"recall": recall})()
    family = SparsePointNavigation(horizon=3)
    with pytest.raises((BadInput, EnvironmentRaised), match=message):
        Experiment(family_name="its", family=family, algorithm_name="it", algorithm=algorithm, episodes=2)

"""A memory is named with its options; one that cannot be is refused in one sentence."""

import functools
import sys

import pytest
import torch
from gymnasium import spaces

from innerloop.actors.contract.memory import HIDDEN, INPUT
from innerloop.envs.errors import BadInput
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.api import Problem
from innerloop.learner.memory import MEMORIES, MakeMemory, Memoryless, constructor, observation_only
from innerloop.learner.memory.api import Chain
from innerloop.learner.policy import RecurrentPolicy


def test_a_memory_is_named_with_its_options() -> None:
    memory = constructor("memory", "transformer,layers=3,window=7")(INPUT, HIDDEN, 100)
    assert isinstance(memory, Chain)
    assert len(memory.parts) == 3
    assert memory.parts[0].part.window == 7
    assert constructor("memory", "none") is Memoryless
    assert RL2(memory="snail,filters=8").memory == "snail,filters=8"


class Odd(Memoryless):
    """A memory with an option of each plain type, and one of none."""

    def __init__(
        self,
        input_size: int,
        hidden: int,
        steps: int = 0,
        *,
        skip: bool = False,
        rate: float = 0.5,
        kind: str = "a",
        layers: int = 1,
        sizes: tuple[int, ...] = (1,),
    ) -> None:
        super().__init__(input_size, hidden, steps)
        self.chosen = skip, rate, kind, layers, sizes  # fmt: skip


@pytest.mark.parametrize(
    ("make", "alone"),
    [(Memoryless, True), (Odd, True), (functools.partial(Odd, skip=True), True)]
    + [(make, False) for name, make in MEMORIES.items() if name != "none"],
)
def test_a_memory_says_whether_it_is_shown_the_observation_alone(make: MakeMemory, alone: bool) -> None:
    assert observation_only(make) == alone
    policy = RecurrentPolicy(Problem(spaces.Discrete(3), spaces.Discrete(2), 2, 5), make, HIDDEN, 0)
    shown = policy.inputs(torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 2 + 2))
    assert shown.shape[-1] == (3 if alone else 3 + 2 + 2)


def odd(options: str) -> Odd:
    memory = constructor("memory", f"test_memory:Odd{options}")(INPUT, HIDDEN, 3)
    assert isinstance(memory, Odd)
    return memory


def test_options_of_a_memory_are_of_any_plain_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_memory", sys.modules[__name__])
    assert odd("").chosen == (False, 0.5, "a", 1, (1,))
    assert odd(",skip=true,rate=-2.5e-3,kind=b c,layers=7").chosen == (True, -2.5e-3, "b c", 7, (1,))
    assert odd(",skip=false,rate=3,kind=").chosen == (False, 3.0, "", 1, (1,))
    for text, expected in {
        "skip=1": "true or false", "skip=": "true or false", "rate=nan": "a finite number", "rate=1e999": "a finite",
        "rate=": "a finite number", "rate=0x1": "a finite", "rate=١": "a finite", "layers=true": "a whole number",
        "layers=-1": "a whole number", "sizes=1": "an option whose default is a bool, int, float or str",
    }.items():  # fmt: skip
        with pytest.raises(BadInput, match=rf"^{text.partition('=')[0]} of memory 'test_memory:Odd' is .*{expected}"):
            odd(f",{text}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("snale", r"^memory is 'snale'; expected one of deepset, gru, .*Did you mean 'snail'\?$"),
        ("snail,filter=3", r"^'filter' is not an option of memory 'snail'; expected .*Did you mean 'filters'\?$"),
        ("gru,layers=2", r"^'layers' is not an option of memory 'gru'; expected one of none\.$"),
        ("snail,steps=2", r"^'steps' is not an option of memory 'snail'"),
        (
            "snail,filters=0",
            r"^filters of memory 'snail' is '0'; expected a whole number of at least 1, at most 1,048,576\.$",
        ),
        ("snail,filters=1.5", r"^filters of memory 'snail' is '1\.5'; expected a whole number"),
        ("transformer,heads", r"^heads of memory 'transformer' is ''; expected a whole number"),
        ("transformer,", r"^'' is not an option of memory 'transformer'; expected one of layers, heads, window\.$"),
        ("math:pi", r"^memory is 'math:pi'; expected a constructor \(input size, hidden, steps\) of an nn.Module\.$"),
    ],
)
def test_a_memory_that_cannot_be_is_refused_in_one_sentence(given: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        RL2(memory=given)

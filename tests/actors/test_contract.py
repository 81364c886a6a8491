"""The contracts: everything of ours keeps them, and a fault of each kind is told in a sentence."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from small import SMALL
from torch import Tensor, nn

from innerloop.actors.contract import CONTRACTS, check, kind_of
from innerloop.envs.adapter import GymnasiumFamily
from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.errors import BadInput
from innerloop.envs.seeding import in_rounds
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.api import Metrics
from innerloop.learner.encoders import ENCODERS
from innerloop.learner.memory import MEMORIES, constructor
from innerloop.learner.memory.gated import GRU
from innerloop.learner.policy import RecurrentAgent
from innerloop.learner.problem import Problem
from innerloop.testing import laws

OTHERWISE = ["deepset,layers=2,features=5", "mingru,layers=1", "snail,window=4", "transformer,window=4,heads=3"]


@pytest.mark.parametrize("law", laws("memory"))
@pytest.mark.parametrize("name", [*MEMORIES, *OTHERWISE])
def test_every_memory(name: str, law: Any) -> None:
    law(constructor("memory", name))


@pytest.mark.parametrize("law", laws("encoder"))
@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder(name: str, law: Any) -> None:
    law(ENCODERS[name])


@pytest.mark.parametrize("law", laws("algorithm"))
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm(name: str, law: Any) -> None:
    few = {"warm_up": 2_000, "updates_per_step": 0.02} if "warm_up" in SMALL[name] else {}
    law(ALGORITHMS[name](**SMALL[name] | few))


class Walk:
    """Right in every respect: walk along a line of nine places to a hidden goal."""

    observation_space: gymnasium.Space = spaces.Discrete(9)
    action_space: gymnasium.Space = spaces.Discrete(2)
    horizon: Any = 6

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"goal": in_rounds(rng, np.arange(4) + 4 * (split == "test"), n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Any:
        return Walkers(tasks["goal"], self.horizon, rng)


class Walkers:
    def __init__(self, goal: np.ndarray, horizon: int, rng: np.random.Generator) -> None:
        self.goal, self.horizon, self.rng = goal, horizon, rng
        self.place, self.time = np.full(len(goal), 4), np.zeros(len(goal), np.int64)

    def reset(self, rows: Bools) -> Any:
        self.place[rows], self.time[rows] = 4, 0
        return self.place.copy()

    def step(self, action: np.ndarray) -> Any:
        slips = self.rng.random(len(action)) < 0.2
        self.place = np.clip(self.place + 2 * (action ^ slips) - 1, 0, 8)
        self.time += 1
        there = self.place == self.goal
        late = (self.time >= self.horizon) & ~there
        return Step(self.place.copy(), there.astype(np.float32), there, late)


def walking(**methods: Any) -> Walk:
    """With other methods of its batches."""

    class Other(Walkers):
        locals().update(methods)

    class OtherWalk(Walk):
        def make(self, tasks: Tasks, rng: np.random.Generator) -> Any:
            return Other(tasks["goal"], self.horizon, rng)

    return OtherWalk()


def with_parts(**parts: Any) -> Walk:
    return type("OtherWalk", (Walk,), parts)()


SHARED = np.random.default_rng(0)


def _with(batch: Walkers, rng: np.random.Generator) -> Walkers:
    batch.rng = rng
    return batch


def replaced(**fields: Any) -> Any:
    """A step with other fields."""
    return lambda self, action: Walkers.step(self, action)._replace(**fields)


def no_end(self: Any, action: np.ndarray) -> Step:
    step = Walkers.step(self, action)
    return step._replace(terminated=np.zeros_like(step.terminated), truncated=np.zeros_like(step.truncated))


def reset_all(self: Any, rows: Bools) -> np.ndarray:
    return Walkers.reset(self, np.ones_like(rows))


def global_slips(self: Any, action: np.ndarray) -> Step:
    self.rng = np.random
    return Walkers.step(self, action)


def fragile(self: Any, action: np.ndarray) -> Step:
    if (self.time >= self.horizon).any():
        raise RuntimeError("it is over")
    return Walkers.step(self, action)


def clock_of_all(self: Any, rows: Bools) -> np.ndarray:
    self.time[:] = 0
    self.place[rows] = 4
    return self.place.copy()


class Slippery(Walkers):
    """Slips of rows that depend on how many there are."""

    def step(self, action: np.ndarray) -> Step:
        return super().step(action + (len(action) > 3) * (self.time[0] == 2))


class Lock:
    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot pickle 'Lock' object")


FAULTS: dict[str, tuple[Any, str, str]] = {
    "text": (with_parts(observation_space=spaces.Text(3)), "it has its parts", "the observation space is Text"),
    "no horizon": (with_parts(horizon=0), "it has its parts", "the horizon is 0; expected at least 1"),
    "measures": (with_parts(measures={"Won": "ever"}), "it has its parts", "a measure of the family is called 'Won'"),
    "ragged tasks": (
        with_parts(sample=lambda self, rng, n, split: {"goal": np.zeros(n + 1)}),
        "tasks are arrays with one row each", "the shape of 'goal' of the tasks of OtherWalk is (2,); expected 1 rows",
    ),
    "global tasks": (
        with_parts(sample=lambda self, rng, n, split: {"goal": np.random.rand(n)}),  # noqa: NPY002
        "tasks come from the generator alone", "'goal' of 50 tasks differs though they came from",
    ),
    "seedless tasks": (
        with_parts(sample=lambda self, rng, n, split: {"goal": np.arange(n) % 9}),
        "tasks come from the generator alone", "generators of two seeds drew the same 50 tasks",
    ),
    "shared tasks": (
        with_parts(sample=lambda self, rng, n, split: {"goal": rng.integers(9, size=n)}),
        "training and test tasks are disjoint", "9 of 9 different test tasks are training tasks too",
    ),
    "another count": (
        with_parts(task_count=lambda self, split: 5), "a finite test set is as large as it says",
        "task_count('test') is 5, and twice as many test tasks are 4 different ones; expected each of all twice",
    ),
    "a count that raises": (
        with_parts(task_count=lambda self, split: 1 // 0),
        "a finite test set is as large as it says", "OtherWalk's task_count raised ZeroDivisionError: ",
    ),
    "no count": (
        with_parts(task_count="many"), "a finite test set is as large as it says",
        "OtherWalk's task_count raised TypeError: ",
    ),
    "a count of text": (
        with_parts(task_count=lambda self, split: "many"),
        "a finite test set is as large as it says", "the task_count of OtherWalk is 'many'; expected ",
    ),
    "outside": (
        walking(reset=lambda self, rows: Walkers.reset(self, rows) + 5),
        "what a step gives is in the spaces", "an observation of reset is [9 9 9 9 9 9 9]; expected integers in [0, 9)",
    ),
    "nan": (
        walking(step=replaced(reward=np.full(7, np.nan))),
        "what a step gives is in the spaces", "the environment's reward is nan; expected a finite number",
    ),
    "no step": (
        walking(step=lambda self, action: None),
        "what a step gives is in the spaces", "what step of the environment returned is None; expected a Step",
    ),
    "endless": (
        walking(step=no_end),
        "an episode ends by the horizon whatever happens to other rows", "goes on after 6 steps, its horizon, in step",
    ),
    "one clock": (
        walking(reset=clock_of_all),
        "an episode ends by the horizon whatever happens to other rows", "goes on after 6 steps, its horizon",
    ),
    "reset of all": (
        walking(reset=reset_all),
        "a reset leaves the other rows where they are", "a reset of other rows after step 0 changed a row's",
    ),
    "fragile": (
        walking(step=fragile),
        "a row whose episode has ended can be stepped", "OtherWalk's step raised RuntimeError: it is over, at ",
    ),
    "global noise": (
        walking(step=global_slips),
        "the same generator gives the same bits", "two batches of one seed and the same actions differ",
    ),
    "noise of all batches": (
        walking(step=lambda self, action: Walkers.step(_with(self, SHARED), action)),
        "batches do not see each other", "a batch differs when another one is played beside it",
    ),
    "not side by side": (
        with_parts(side_by_side=True, make=lambda self, tasks, rng: Slippery(tasks["goal"], self.horizon, rng)),
        "batches are the same side by side as alone", "a batch differs when others are made with it as one",
    ),
    "does not travel": (with_parts(lock=None, __init__=lambda self: setattr(self, "lock", Lock())), "it travels",
                        "it raised TypeError: cannot pickle 'Lock' object"),
}  # fmt: skip


@pytest.mark.parametrize("law", laws("family"))
def test_a_family_that_is_right(law: Any) -> None:
    law(Walk())


@pytest.mark.parametrize("law", laws("family"))
def test_names_of_a_familys_own_mean_nothing_else(law: Any) -> None:
    """Such as options have."""
    names = ("size", "count", "test_set", "recall", "remembers", "inform", "contexts", "finite")
    law(with_parts(**dict.fromkeys(names, 3)))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_family_is_told(fault: str) -> None:
    family, law, sentence = FAULTS[fault]
    found = dict(check("family", family))
    assert sentence in found[law], found
    assert found[law].endswith(".")
    assert "\n" not in found[law]


class Leaky(GRU):
    """Its unroll forgets a row's place."""

    def unroll(self, x: Tensor) -> Tensor:
        return super().unroll(x.roll(1, 1))


class Ahead(GRU):
    def unroll(self, x: Tensor) -> Tensor:
        return super().unroll(x) + x.mean(0, keepdim=True).mean(-1, keepdim=True)


class Forgetful(GRU):
    def unroll(self, x: Tensor) -> Tensor:
        return torch.stack([super(Forgetful, self).unroll(each[None])[0] for each in x])

    def step(self, x: Tensor, state: Any) -> Any:
        return super().step(x, self.initial(len(x)))


class Wide(GRU):
    def initial(self, rows: int) -> Any:
        return (torch.zeros(1, rows, self.gru.hidden_size),)


class Cut(GRU):
    def unroll(self, x: Tensor) -> Tensor:
        return super().unroll(x).detach() + 1e-3 * x.sum()


class Listed(GRU):
    def __init__(self, input_size: int, hidden: int, steps: int = 0, *, sizes: tuple[int, ...] = (1,)) -> None:
        super().__init__(input_size, hidden, steps)


BROKEN_MEMORIES = {
    Leaky: ("step by step equals unroll", "step by step and unroll differ (made for 1 steps) (by "),
    Ahead: ("an output does not depend on the future", "an input changes outputs before it (by "),
    Forgetful: ("it remembers", "an input changes no output after it"),
    Wide: ("its state has a row for each trial", "tensor 0 of its state has shape (1, 5, 8); expected (5, n)."),
    Cut: ("gradients reach every parameter", "no gradient reaches gru.weight_ih_l0."),
    Listed: ("its options have plain types", "the option 'sizes' has the default (1,); expected a bool, int, float or"),
}


@pytest.mark.parametrize("make", BROKEN_MEMORIES)
def test_a_fault_of_a_memory_is_told(make: Any) -> None:
    law, sentence = BROKEN_MEMORIES[make]
    assert sentence in dict(check("memory", make))[law]


class Narrow(nn.Module):
    """An encoder that says that it is wider than it is, and looks at what stands beside."""

    def __init__(self, space: gymnasium.Space) -> None:
        super().__init__()
        if not isinstance(space, spaces.Box) or space.dtype == np.uint8:
            raise BadInput("the observation space is no Box; expected one.")
        self.width = 5

    def forward(self, observation: Tensor) -> Tensor:
        return observation - observation.mean()


def test_a_fault_of_an_encoder_is_told() -> None:
    found = dict(check("encoder", Narrow))
    assert found["features are float32 rows of its width"].startswith("of 6 members of Box(-1.0, 1.0, (3,), float32)")
    assert "one by one are not read as all at once" in found["an observation is read alone as among others"]


@dataclass(frozen=True, kw_only=True)
class Lazy(RL2):
    """Makes no step, says NaN, and draws from nobody's generator."""

    hidden: int = 8

    def update(self, *_: Any) -> Metrics:
        return {"loss": float("nan")}

    def acts_with(self, name: str) -> bool:
        return "memory" not in name


def test_faults_of_an_algorithm_are_told() -> None:
    found = dict(check("algorithm", Lazy()))
    assert found["an update gives finite numbers"] == (
        "the metric 'loss' on BernoulliBandit is nan; expected a finite number."
    )
    assert found["an update changes parameters"] == "3 updates on BernoulliBandit changed no parameter."
    assert found["an actor plays the same with the weights that it is sent"].startswith(
        "with the weights that acts_with names, an actor acts differently on "
    )


class Absent(RecurrentAgent):
    def begin_trial(self, n: int, rng: Any = None, contexts: Any = None) -> None:
        super().begin_trial(n, rng)


class Unable(RecurrentAgent):
    def begin_trial(self, n: int, rng: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().begin_trial(n, rng)


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (Absent, "an agent that was handed what another had seen on BernoulliBandit acts differently"),
        (Unable, "it raised TypeError: "),
    ],
)
def test_an_agent_that_says_it_returns_and_does_not_is_told(agent: type[RecurrentAgent], said: str) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Its(RL2):
        hidden: int = 8

        def inner_loop(self, model: Any, problem: Problem, greedy: bool = False) -> Any:
            return agent(model, greedy)

    found = dict(check("algorithm", Its()))
    assert found["an agent that returns to a task goes on as if it had never stopped"].startswith(said)


@pytest.mark.parametrize(
    ("thing", "kind"), [(Walk(), "family"), (Lazy, "algorithm"), (GRU, "memory"), (Narrow, "encoder"), (3, "")]
)
def test_what_a_thing_is(thing: Any, kind: str) -> None:
    if kind:
        assert kind_of("it", thing) == kind
    else:
        with pytest.raises(BadInput, match=r"^what is checked is 'it'; expected a family, .* or the class of a memory"):
            kind_of("it", thing)


def pendulum() -> GymnasiumFamily:
    """As the README has it."""

    def set_gravity(env: gymnasium.Env, task: Any) -> None:
        env.unwrapped.g = float(task["g"])  # pyright: ignore[reportAttributeAccessIssue]

    return GymnasiumFamily(
        lambda: gymnasium.make("Pendulum-v1"), set_gravity, lambda rng: {"g": rng.uniform(5, 15)}, horizon=30
    )


@pytest.mark.parametrize("law", laws("family"))
def test_an_adapted_environment_keeps_it_too(law: Any) -> None:
    law(pendulum())


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("lstm", 0, f"lstm keeps all {len(CONTRACTS['memory'])} laws of its kind, memory."),
        ("test_contract:Leaky", 1, "broken step by step equals unroll: step by step and unroll differ"),
        ("test_contract:Nobody", 2, "expected an importable package.module:attribute"),
        ("test_contract:SHARED", 2, "what is checked is 'test_contract:SHARED'; expected a family, an algorithm, or"),
        ("lstn", 2, "Did you mean 'lstm'?"),
    ],
)
def test_the_command(name: str, status: int, said: str) -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join(map(str, (here, here.parent, here.parent / "learner")))
    done = subprocess.run(
        [sys.executable, "-m", "innerloop", "check", name],
        capture_output=True, text=True, cwd=here, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [paths, os.environ.get("PYTHONPATH", "")]))},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr

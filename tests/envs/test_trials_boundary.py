"""What an environment gives in a trial is right, or refused in one sentence."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from corridors import Corridor, Corridors, stay
from gymnasium import spaces

from innerloop.envs.api import Bools, Split, Step, Tasks
from innerloop.envs.errors import BadInput, EnvironmentRaised
from innerloop.envs.trials import Trials, sample_tasks

N = 3


@dataclass
class Faulty:
    """N rows of one-step episodes; `fault` replaces fields of every step, `resets` what the first resets return."""

    fault: dict[str, Any] = field(default_factory=dict)
    resets: list[np.ndarray] = field(default_factory=list)
    observation_space: spaces.Space = field(default_factory=lambda: spaces.Box(-1, 1, (2,), np.float32))
    action_space = spaces.Discrete(2)
    horizon = 1

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"nothing": np.zeros(n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> "Faulty":
        return self

    def _usual(self) -> np.ndarray:
        return np.zeros((N, *(self.observation_space.shape or ())), self.observation_space.dtype)

    def reset(self, rows: Bools) -> np.ndarray:
        return self.resets.pop(0) if self.resets else self._usual()

    def step(self, action: np.ndarray) -> Step:
        ended = np.ones(N, np.bool_)
        usual = Step(self._usual(), np.zeros(N, np.float32), ended, ~ended)
        return self.fault["step"] if "step" in self.fault else usual._replace(**self.fault)


def begun(faulty: Faulty) -> Trials:
    trials = Trials(faulty, {"nothing": np.zeros(N)}, 2, np.random.default_rng(0))
    trials.begin()
    return trials


def one_nan(*shape: int) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    array.flat[1] = np.nan
    return array


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"reward": one_nan(N)}, r"reward is nan; expected a finite number\.$"),
        ({"reward": np.full(N, -np.inf)}, r"reward is -inf; expected a finite number\.$"),
        (
            {"reward": np.zeros((N, 1))},
            r"shape of .*reward is \(3, 1\); expected \(3,\), one .*\.$",
        ),
        ({"reward": np.float32(0)}, r"shape of .*reward is \(\); expected \(3,\), one .*\.$"),
        ({"terminated": np.ones(2, np.bool_)}, r"shape of .*terminated is \(2,\); expected .*\.$"),
        ({"truncated": np.bool_(False)}, r"shape of .*truncated is \(\); expected \(3,\).*\.$"),
        ({"observation": one_nan(N, 2)}, r"observation.* is nan; expected finite numbers\.$"),
        (
            {"observation": np.zeros((N, 3))},
            r"shape of .*observation.* is \(3, 3\); expected \(3, 2\): 3 rows.*\.$",
        ),
        (
            {"observation": np.zeros((2, 2))},
            r"shape of .*observation.* is \(2, 2\); expected \(3, 2\): 3 rows.*\.$",
        ),
        (
            {"observation": np.full((N, 2), 1e300)},
            r"^the environment's observation is 1e\+300; expected numbers within .*float32\.$",
        ),
        ({"observation": np.zeros((N, 2), complex)}, r"^the environment's observation is .*; expected numbers\.$"),
        (
            {"observation": [[0.0, 0.0], [0.0], [0.0]]},
            r"^the environment's observation is .*; expected an array of numbers\.$",
        ),
        ({"observation": None}, r"^the environment's observation is None; expected numbers\.$"),
        ({"reward": np.full(N, 1e39)}, r"^the environment's reward is 1e\+39; expected a finite number\.$"),
        ({"reward": np.array([None] * N)}, r"^the environment's reward is .*; expected numbers\.$"),
        ({"reward": ["1"] * N}, r"^the environment's reward is .*; expected numbers\.$"),
        ({"terminated": np.full(N, 2)}, r"^the environment's terminated is 2; expected True or False\.$"),
        ({"terminated": np.full(N, -1)}, r"^the environment's terminated is -1; expected True or False\.$"),
        ({"truncated": np.full(N, np.nan)}, r"^the environment's truncated is nan; expected True or False\.$"),
        ({"truncated": np.array(["False"] * N)}, r"^the environment's truncated is .*; expected numbers\.$"),
        (
            {"diverged": np.ones(2, np.bool_)},
            r"^the shape of the environment's diverged is \(2,\); expected \(3,\).*\.$",
        ),
        ({"diverged": "no"}, r"^the environment's diverged is 'no'; expected numbers\.$"),
        ({"diverged": np.full(N, 3)}, r"^the environment's diverged is 3; expected True or False\.$"),
        (
            {"privileged": {"reward": np.float32(0)}},
            r"^the shape of 'reward' of the environment's privileged is \(\); expected \(3,\).*\.$",
        ),
        (
            {"privileged": {"reward": one_nan(N)}},
            r"^'reward' of the environment's privileged is nan; expected a finite number\.$",
        ),
        ({"privileged": {"answer": [0, 1]}}, r"^the shape of 'answer' of .* privileged is \(2,\); expected 3 rows\.$"),
        ({"privileged": {"answer": one_nan(N, 2)}}, r"^'answer' of .* privileged is nan; expected finite numbers\.$"),
        ({"privileged": {"answer": ["a"] * N}}, r"^'answer' of .* privileged is .*; expected numbers\.$"),
        ({"privileged": np.ones(N)}, r"^the environment's privileged is .*; expected a mapping of names .*\.$"),
        (
            {"privileged": {"a.b": np.ones(N)}},
            r"^the environment's privileged is .*; expected a mapping of names .*\.$",
        ),
        ({"measures": {"won": np.ones(N)}}, r"^the measures of a step of .* are won; expected none, as .*\.$"),
        ({"step": None}, r"^what step of the environment returned is None; expected a Step .*\.$"),
        (
            {"step": tuple(Step(*[np.zeros(N)] * 4))},
            r"^what step of the environment returned is \(.*; expected a Step .*\.$",
        ),
    ],
)
def test_what_an_environment_gets_wrong_is_refused_in_one_sentence(fault: dict[str, Any], message: str) -> None:
    trials = begun(Faulty(fault))
    with pytest.raises(BadInput, match=message):
        trials.step(stay(N))


@pytest.mark.parametrize("state", [4, -1])
def test_a_state_out_of_range_is_refused_in_one_sentence(state: int) -> None:
    faulty = Faulty({"observation": np.array([0, state, 1])}, observation_space=spaces.Discrete(4))
    trials = begun(faulty)
    with pytest.raises(
        BadInput,
        match=rf"observation.* is \[ *0 +{state} +1\]; expected integers in \[0, 4\)\.$",
    ):
        trials.step(stay(N))


def test_a_state_that_is_no_integer_is_refused() -> None:
    trials = begun(Faulty({"observation": np.zeros(N)}, observation_space=spaces.Discrete(4)))
    with pytest.raises(BadInput, match="expected integers in"):
        trials.step(stay(N))


def test_states_may_begin_elsewhere_than_at_zero() -> None:
    every = np.array([5, 6, 7])
    trials = begun(Faulty({"observation": every}, [every, every], spaces.Discrete(3, start=5)))
    np.testing.assert_array_equal(trials.step(stay(N))[1].observation, every)


@pytest.mark.parametrize("state", [4, 8, 0])
def test_states_out_of_a_range_that_begins_elsewhere_are_refused(state: int) -> None:
    with pytest.raises(BadInput, match=r"observation.*; expected integers in \[5, 8\)\.$"):
        begun(Faulty(resets=[np.full(N, state)], observation_space=spaces.Discrete(3, start=5)))


def test_a_bad_first_observation_is_refused() -> None:
    with pytest.raises(BadInput, match=r"observation.* is nan; expected finite numbers\.$"):
        begun(Faulty(resets=[one_nan(N, 2)]))


def test_a_bad_first_observation_of_a_later_episode_is_refused() -> None:
    trials = begun(Faulty(resets=[np.zeros((N, 2), np.float32), one_nan(N, 2)]))
    with pytest.raises(BadInput, match=r"observation.* is nan; expected finite numbers\.$"):
        trials.step(stay(N))


@pytest.mark.parametrize(
    ("fault", "field", "expected"),
    [
        ({"reward": np.arange(N)}, "reward", np.float32([0, 1, 2])),
        ({"reward": np.float64([0.1, 0.2, 0.3])}, "reward", np.float32([0.1, 0.2, 0.3])),
        ({"reward": [True, False, True]}, "reward", np.float32([1, 0, 1])),
        ({"terminated": np.int64([1, 1, 1])}, "terminated", np.ones(N, np.bool_)),
        ({"terminated": np.float32([1, 1, 1])}, "terminated", np.ones(N, np.bool_)),
        ({"truncated": np.uint8([0, 1, 0])}, "truncated", np.array([False, True, False])),
        ({"observation": np.full((N, 2), 1 / 3)}, "observation", np.full((N, 2), 1 / 3, np.float32)),
        ({"observation": np.full((N, 2), 5)}, "observation", np.full((N, 2), 5, np.float32)),  # out of its bounds
        ({"diverged": np.int8([0, 1, 0])}, "diverged", np.array([False, True, False])),
        ({"diverged": True}, "diverged", np.True_),
        ({"diverged": False}, "diverged", np.False_),
    ],
)
def test_what_another_type_holds_without_loss_is_right(fault: dict[str, Any], field: str, expected: np.ndarray) -> None:
    _, step = begun(Faulty(fault)).step(stay(N))
    found = getattr(step, field)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_whole_numbers_as_flags_play_as_many_steps_as_booleans() -> None:
    class Numbers(Corridors):
        def step(self, action: np.ndarray) -> Step:
            step = super().step(action)
            return step._replace(terminated=step.terminated.astype(int), truncated=step.truncated.astype(np.int8))

    @dataclass(frozen=True, kw_only=True)
    class Numbered(Corridor):
        def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
            return Numbers(tasks["length"], self.horizon)

    tasks = {"length": np.array([1, 2, 3, 9])}
    steps = []
    for family in (Corridor(), Numbered()):
        trials = Trials(family, tasks, 5, np.random.default_rng(0))
        trials.begin()
        steps.append([trials.playing])
        while trials.playing.any():
            trials.step(stay(4))
            steps[-1].append(trials.playing)
    np.testing.assert_array_equal(steps[0], steps[1])


def play_on(trials: Trials, n: int) -> None:
    trials.begin()
    for _ in range(trials.steps):
        trials.step(stay(n))


@pytest.mark.parametrize("lengths", [[5], [1, 5], [4, 1, 6]])
@pytest.mark.parametrize("width", [1, 2])
def test_an_episode_that_goes_on_after_the_horizon_is_refused_in_one_sentence(lengths: list[int], width: int) -> None:
    class Endless(Corridor):
        def make(self, tasks: Tasks, rng: np.random.Generator) -> Corridors:
            return Corridors(tasks["length"], limit=100)

    trials = Trials(Endless(), {"length": np.array(lengths)}, 3, np.random.default_rng(0), width)
    with pytest.raises(BadInput, match=r"^an episode of Endless goes on after 4 steps, its horizon; expected .*\.$"):
        play_on(trials, width * len(lengths))


@pytest.mark.parametrize("horizon", [0, -1, 2.5, True, None, "3"])
def test_a_horizon_that_is_no_number_of_steps_is_refused(horizon: Any) -> None:
    with pytest.raises(BadInput, match=r"^the horizon of Corridor is .*; expected at least 1, a whole number\.$"):
        Trials(Corridor(horizon=horizon), {"length": np.ones(2)}, 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (None, "what Drawn sampled is None; expected a dict of arrays"),
        ([1, 2], r"what Drawn sampled is \[1, 2\]; expected a dict of arrays"),
        ({}, "what Drawn sampled is {}; expected a dict of arrays"),
        ({"length": np.ones(2)}, r"the shape of 'length' of the tasks of Drawn is \(2,\); expected 3 rows"),
        ({"length": np.float64(1)}, r"the shape of 'length' of the tasks of Drawn is \(\); expected 3 rows"),
        (
            {"length": np.ones(3), "colour": np.ones(4)},
            r"the shape of 'colour' of the tasks of Drawn is \(4,\); expected 3",
        ),
        ({"length": np.array([None] * 3)}, "'length' of the tasks of Drawn is .*; expected numbers or text"),
        ({"length": [[1], [1, 2], [3]]}, "'length' of the tasks of Drawn is .*; expected numbers or text"),
    ],
)
def test_a_sample_that_is_none_is_refused_in_one_sentence(tasks: Any, message: str) -> None:
    class Drawn(Corridor):
        def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
            return tasks

    with pytest.raises(BadInput, match=rf"^{message}[^\n]*\.$"):
        sample_tasks(Drawn(), np.random.default_rng(0), 3, "train")


@pytest.mark.parametrize("method", ["make", "reset", "step"])
def test_what_an_environment_raises_is_one_sentence_with_its_line(method: str) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("no mass")

    family, env = Corridor(), Corridors(np.ones(2), 4)
    setattr(env, method, broken)
    object.__setattr__(family, "make", broken if method == "make" else lambda tasks, rng: env)
    message = rf"^Corridor's {method} raised ZeroDivisionError: no mass, at .*test_trials_boundary\.py:\d+ in broken\.$"
    with pytest.raises(EnvironmentRaised, match=message):
        play_on(
            Trials(family, sample_tasks(family, np.random.default_rng(0), 2, "train"), 1, np.random.default_rng(0)), 2
        )

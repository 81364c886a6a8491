"""The learner: parameters, optimiser state and version change together, repeatably, or not at all."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import ExperimentOn, Made, Played
from gymnasium import spaces
from torch import Tensor, nn

from innerloop.envs.api import Split, Step, Tasks
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.api import Metrics, Optimise, Problem
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Diverged, Learner, choose_device, load_weights
from innerloop.learner.memory import MEMORIES
from innerloop.learner.policy import RecurrentPolicy
from innerloop.learner.trajectory import Arrays, Trajectory, concatenate


@pytest.fixture
def experiment(experiment_on: ExperimentOn) -> Experiment:
    return experiment_on(BernoulliBandit(), episodes=6, memory="lstm")


def fresh(experiment: Experiment, seed: int = 0, threads: int = 1) -> Learner:
    return Learner(experiment.algorithm, experiment.problem, seed=seed, device="cpu", threads=threads)


def same_bits(one: tuple[Arrays, Mapping[str, float]], other: tuple[Arrays, Mapping[str, float]]) -> None:
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    for name, array in one[0].items():
        assert array.dtype == other[0][name].dtype
        np.testing.assert_array_equal(array, other[0][name], err_msg=name)


@dataclass(frozen=True, kw_only=True)
class ThirdStepFails(RL2):
    """Takes two good steps, and a third whose loss has no finite gradient."""

    failure: float = math.nan

    def update(
        self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        def loss(factor: float) -> tuple[Tensor, dict[str, Tensor]]:
            return factor * sum((p.square().sum() for p in model.parameters()), start=torch.zeros(())), {}

        for factor in (1.0, 1.0, self.failure):
            optimise(lambda _, factor=factor: loss(factor), np.arange(1), learning_rate=0.1, max_norm=1.0)
        return {}


@dataclass(frozen=True, kw_only=True)
class Two(RL2):
    """Two optimisers, of the memory and of all else, each with a loss of all parameters."""

    fails: bool = False

    def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        memory = [each for name, each in model.named_parameters() if "memory" in name]
        rest = [each for name, each in model.named_parameters() if "memory" not in name]
        return {"memory": torch.optim.Adam(memory, lr=0.1), "rest": torch.optim.RMSprop(rest, lr=0.1)}

    def update(
        self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        def loss(_: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
            return sum((p.square().sum() for p in model.parameters()), start=torch.zeros(())), {}

        names = ("memory", "rest") if progress == 0 else ("memory",)
        for name in names:
            optimise(loss, np.arange(1), learning_rate=0.1, max_norm=1.0, optimiser=name)
        if self.fails:
            raise Diverged("asked to")
        return {}


def test_each_of_several_optimisers_moves_its_own_parameters_and_is_saved_and_restored(experiment: Experiment) -> None:
    experiment = replace(experiment, algorithm=Two())
    learner, resumed = fresh(experiment), fresh(experiment)
    before = learner.weights()
    learner.update(None, 1.0)  # pyright: ignore[reportArgumentType]
    moved = {name for name, array in learner.weights().items() if not np.array_equal(array, before[name])}
    assert moved
    assert all("memory" in name for name in moved)
    learner.update(None, 0.0)  # pyright: ignore[reportArgumentType]
    arrays, numbers = learner.state()
    assert {name.split("/")[1] for name in arrays if name.startswith("optimiser/")} == {"memory", "rest"}
    resumed.load(arrays, numbers)
    same_bits(resumed.state(), learner.state())
    learner.algorithm = Two(fails=True)
    with pytest.raises(Diverged, match="asked to"):
        learner.update(None, 0.0)  # pyright: ignore[reportArgumentType]
    same_bits(resumed.state(), learner.state())  # both, and both optimisers, as they were
    learner.algorithm = Two()
    for each in (learner, resumed):
        each.update(None, 0.0)  # pyright: ignore[reportArgumentType]
    same_bits(resumed.state(), learner.state())


@pytest.mark.parametrize("failure", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(failure: float, experiment: Experiment, played: Played) -> None:
    """Not even what the steps before it in the same update had changed; the next update is as if it had not been."""
    batches = [played(experiment, fresh(experiment), seed=seed) for seed in (1, 2)]
    learner, untouched = fresh(experiment), fresh(experiment)
    for each in (learner, untouched):
        each.update(batches[0], 0.0)
    learner.algorithm = ThirdStepFails(failure=failure)
    with pytest.raises(
        Diverged, match=r"^the gradient's norm is (nan|inf) .* at update 1\. The weights are still those of "
    ):
        learner.update(batches[0], 0.0)
    same_bits(learner.state(), untouched.state())
    learner.algorithm = experiment.algorithm
    for each in (learner, untouched):
        each.update(batches[1], 0.5)
    same_bits(learner.state(), untouched.state())


def test_a_first_update_that_diverges_changes_nothing(experiment: Experiment, played: Played) -> None:
    learner, untouched = fresh(experiment), fresh(experiment)
    batch = played(experiment, learner)
    rewards = batch.reward.copy()
    rewards[0, 0] = np.nan
    with pytest.raises(Diverged, match="at update 0"):
        learner.update(replace(batch, reward=rewards), 0.0)
    same_bits(learner.state(), untouched.state())
    assert learner.version == 0


def test_an_update_that_is_interrupted_changes_nothing(experiment: Experiment, played: Played) -> None:
    class Interrupted(ThirdStepFails):
        def update(self, *args: object, **options: Any) -> Metrics:
            try:
                return super().update(*args, **options)
            except Diverged:
                raise KeyboardInterrupt from None

    learner, untouched = fresh(experiment), fresh(experiment)
    learner.algorithm = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        learner.update(played(experiment, untouched), 0.0)
    same_bits(learner.state(), untouched.state())


def test_an_update_moves_every_parameter_and_the_version(experiment: Experiment, played: Played) -> None:
    learner = fresh(experiment)
    before = learner.weights()
    learner.update(played(experiment, learner), 0.0)
    assert learner.version == 1
    for name, array in learner.weights().items():
        assert np.array_equal(array, before[name]) == (name == "reward_size"), (
            name
        )  # which is 1 where rewards are 0 or 1


@pytest.mark.parametrize("threads", [1, 2])
def test_two_runs_of_one_seed_are_the_same_bits_and_another_seed_others(
    threads: int, experiment: Experiment, played: Played
) -> None:
    def run(seed: int) -> Learner:
        learner = fresh(experiment, seed, threads)
        for update in range(3):
            learner.update(played(experiment, learner, seed=update), update / 3)
        return learner

    first, second, other = run(0), run(0), run(1)
    same_bits(first.state(), second.state())
    assert any(not np.array_equal(array, other.weights()[name]) for name, array in first.weights().items())


class Loop(nn.Module):
    """A memory that uses its weights at every step, as a plug-in may."""

    def __init__(self, input_size: int, hidden: int, steps: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(input_size + hidden, hidden)
        self.hidden = hidden

    def initial(self, rows: int) -> tuple[Tensor, ...]:
        return (self.layer.weight.new_zeros(rows, self.hidden),)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h = self.layer(torch.cat([x, state[0].to(x.dtype)], -1)).tanh()
        return h, (h,)

    def unroll(self, x: Tensor) -> Tensor:
        state, seen = self.initial(x.shape[1]), []
        for each in x:
            y, state = self.step(each, state)
            seen.append(y)
        return torch.stack(seen)


@dataclass(frozen=True, kw_only=True)
class Looping(RL2):
    def build(self, problem: Problem) -> RecurrentPolicy:
        return RecurrentPolicy(problem, Loop, self.hidden, self.embedding)


@pytest.mark.parametrize("memory", ["loop", *MEMORIES])
def test_threads_do_not_race_in_bfloat16(memory: str, experiment_on: ExperimentOn, played: Played) -> None:
    experiment = experiment_on(BernoulliBandit(), episodes=12, memory="gru" if memory == "loop" else memory)
    options = dataclasses.asdict(experiment.algorithm) | {"precision": "bfloat16"}
    experiment = replace(experiment, algorithm=(Looping if memory == "loop" else RL2)(**options))
    learners = [fresh(experiment, threads=2) for _ in range(4)]
    batch = played(experiment, learners[0], n=16)
    for learner in learners:
        learner.update(batch, 0.0)
    for learner in learners[1:]:
        same_bits(learner.state(), learners[0].state())


def test_each_update_has_random_numbers_of_its_own_that_a_resumed_run_has_too(experiment: Experiment) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Draws(RL2):
        def update(
            self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
        ) -> Metrics:
            return {"drawn": rng.random()}

    def drawn(learner: Learner) -> float:
        learner.algorithm = Draws()
        return learner.update(None, 0.0)["drawn"]

    learner, resumed = fresh(experiment), fresh(experiment)
    numbers = [drawn(learner) for _ in range(3)]
    assert len({*numbers, drawn(fresh(experiment, seed=1))}) == 4
    resumed.load(resumed.state()[0], {"version": 2, "optimiser_arrays": 0})
    assert drawn(resumed) == numbers[2]


def test_first_weights_depend_on_the_seed_alone_and_the_global_generator_is_left_alone(
    experiment: Experiment,
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = fresh(experiment).weights()
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    for name, array in fresh(experiment).weights().items():
        np.testing.assert_array_equal(array, first[name])


def test_a_run_that_is_saved_and_loaded_goes_on_bit_for_bit(experiment: Experiment, played: Played) -> None:
    batches = [played(experiment, fresh(experiment), seed=seed) for seed in range(4)]
    whole = fresh(experiment)
    for progress, batch in enumerate(batches):
        whole.update(batch, progress / 4)
    first = fresh(experiment)
    for progress in (0, 1):
        first.update(batches[progress], progress / 4)
    second = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    second.load(*first.state())
    assert second.version == 2
    for progress in (2, 3):
        second.update(batches[progress], progress / 4)
    same_bits(second.state(), whole.state())


def test_a_state_is_a_copy(experiment: Experiment, played: Played) -> None:
    learner = fresh(experiment)
    learner.update(played(experiment, learner), 0.0)
    (arrays, numbers), weights = learner.state(), learner.weights()
    copies = {name: array.copy() for name, array in arrays.items()}, dict(numbers)
    kept = {name: array.copy() for name, array in weights.items()}
    learner.update(played(experiment, learner), 0.0)
    same_bits((arrays, numbers), copies)
    same_bits((weights, {}), (kept, {}))


def test_threads_share_the_work_and_not_the_result(experiment_on: ExperimentOn, shaken: Made, played: Played) -> None:
    """The sum is taken in another order, so the results agree to rounding: 1e-5 after an update of four steps."""
    experiment = experiment_on(TabularMDP(), memory="lstm")
    found = []
    for threads in (1, 2, 3):
        learner = shaken(experiment, threads=threads)
        metrics = learner.update(played(experiment, learner, n=9), 0.0)
        found.append((metrics, learner.weights()))
    for metrics, weights in found[1:]:
        assert metrics == pytest.approx(found[0][0], rel=1e-4, abs=1e-5)
        for name, array in found[0][1].items():
            np.testing.assert_allclose(weights[name], array, atol=1e-5, err_msg=name)


def test_gradients_longer_than_the_limit_are_shortened_to_it() -> None:
    """A plain step of size 1: the parameters move by the limit, and the norm reported is the one before."""

    @dataclass(frozen=True, kw_only=True)
    class Descent(RL2):
        def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
            return {"sgd": torch.optim.SGD(model.parameters(), lr=1.0)}

        def update(
            self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
        ) -> Metrics:
            def loss(part: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
                total = sum((p.sum() for p in model.parameters()), start=torch.zeros(()))
                return len(part) * total, {"parts": torch.tensor(float(len(part)))}

            return optimise(loss, np.arange(3), learning_rate=1.0, max_norm=progress, optimiser="sgd")

    problem = Problem(BernoulliBandit().observation_space, BernoulliBandit().action_space, 2, 1)
    for limit, moved in ((0.25, 0.25), (1e9, None)):
        learner = Learner(Descent(hidden=4, embedding=0), problem, seed=0, device="cpu", threads=2)
        before = learner.weights()
        metrics = learner.update(None, limit)
        size = sum(parameter.numel() for parameter in learner.model.parameters())
        assert metrics["gradient_norm"] == pytest.approx(3 * math.sqrt(size), rel=1e-5)
        assert metrics["parts"] == 3
        change = math.sqrt(sum(float(np.square(a - before[n]).sum()) for n, a in learner.weights().items()))
        assert change == pytest.approx(moved or 3 * math.sqrt(size), rel=1e-4)


@pytest.mark.parametrize("other", [{"hidden": 8}, {"memory": "gru"}, {"embedding": 4}], ids=str)
def test_weights_of_another_model_are_refused_and_nothing_changes(
    other: dict[str, Any], experiment_on: ExperimentOn, played: Played
) -> None:
    experiment = experiment_on(BernoulliBandit(), memory="lstm", hidden=16)
    learner, untouched = fresh(experiment), fresh(experiment)
    stranger = fresh(experiment_on(BernoulliBandit(), **({"memory": "lstm", "hidden": 16} | other)), seed=1)
    message = r"^the weights of \S+ have shape .*; expected .*: these weights are of another family, memory or width\.$"
    with pytest.raises(BadInput, match=message):
        load_weights(learner.model, stranger.weights())
    with pytest.raises(BadInput, match=message):
        learner.load(*stranger.state())
    same_bits(learner.state(), untouched.state())


@pytest.mark.parametrize("change", ["missing", "added", "transposed"])
def test_weights_that_are_not_complete_are_refused_and_nothing_changes(change: str, experiment: Experiment) -> None:
    learner, weights = fresh(experiment), fresh(experiment, seed=1).weights()
    before, name = learner.weights(), "output.weight"
    if change == "missing":
        del weights[name]
    elif change == "added":
        weights["more"] = np.zeros(3, np.float32)
    else:
        weights[name] = weights[name].T
    with pytest.raises(BadInput, match="more" if change == "added" else name):
        load_weights(learner.model, weights)
    same_bits((learner.weights(), {}), (before, {}))


@pytest.mark.parametrize("change", ["missing", "of another shape"])
def test_an_optimiser_state_of_another_model_is_refused_and_nothing_changes(
    change: str, experiment: Experiment, played: Played
) -> None:
    donor, learner, untouched = fresh(experiment, seed=1), fresh(experiment), fresh(experiment)
    donor.update(played(experiment, donor), 0.0)
    arrays, numbers = donor.state()
    if change == "missing":
        del arrays["optimiser/adam/0/exp_avg"]
    else:
        arrays["optimiser/adam/0/exp_avg"] = np.zeros((1, 1), np.float32)
    with pytest.raises(BadInput):
        learner.load(arrays, numbers)
    same_bits(learner.state(), untouched.state())


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused_in_one_sentence(device: str, experiment: Experiment) -> None:
    with pytest.raises(BadInput, match=rf"^device is '{device}'; expected auto, or a device that this machine has"):
        Learner(experiment.algorithm, experiment.problem, seed=0, device=device)


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu").type == "cpu"


class Stairs:
    """Climb from state 5 to a landing at state 7, within 5 steps, or fall off with probability 0.3 a step."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self._state, self._time, self._rng = np.full(n, 5), np.zeros(n), rng

    def reset(self, rows: np.ndarray) -> np.ndarray:
        self._state, self._time = np.where(rows, 5, self._state), np.where(rows, 0, self._time)
        return self._state

    def step(self, action: np.ndarray) -> Step:
        self._state, self._time = np.minimum(self._state + action - 2, 7), self._time + 1  # actions are 2 and 3
        arrives = self._state == 7
        over = arrives | (self._rng.random(len(action)) < 0.3)
        return Step(self._state, arrives.astype(np.float32), over, ~over & (self._time >= 5))


@dataclass(frozen=True)
class Staircase:
    horizon = 5
    observation_space = spaces.Discrete(3, start=5)
    action_space = spaces.Discrete(2, start=2)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"nothing": np.zeros(n)}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Stairs:
        return Stairs(len(tasks["nothing"]), rng)


@pytest.mark.parametrize("kind", ["experiment_on", "adapting_on"], ids=["by-memory", "by-gradient"])
def test_states_and_actions_may_begin_elsewhere_than_at_zero_in_trials_of_different_lengths(
    kind: str, request: pytest.FixtureRequest, played: Played
) -> None:
    """What lies behind the end of a shorter trial is no state."""
    experiment = request.getfixturevalue(kind)(Staircase())
    learner = fresh(experiment)
    parts = [played(experiment, learner, n=1, seed=seed) for seed in range(6)]
    assert np.ptp([len(part.reward) for part in parts]) > 1
    before = learner.weights()
    learner.update(concatenate(parts), 0.0)
    assert any(not np.array_equal(array, before[name]) for name, array in learner.weights().items())

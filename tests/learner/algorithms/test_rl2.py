"""RL²: the update sees exactly what the rollout saw, its terms are PPO's, and it does what it should."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import ExperimentOn, Made, Played
from gymnasium import spaces

from innerloop.envs.api import Split, TaskFamily, Tasks
from innerloop.envs.bandit import Arms, BernoulliBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.tabular import TabularMDP
from innerloop.learner.algorithms.rl2 import RL2, ppo_terms, prepare
from innerloop.learner.learner import Learner
from innerloop.learner.memory import MEMORIES
from innerloop.learner.policy import RecurrentPolicy
from innerloop.learner.trajectory import concatenate


def policy_of(learner: Learner) -> RecurrentPolicy:
    assert isinstance(learner.model, RecurrentPolicy)
    return learner.model


@dataclass(frozen=True)
class OneArmPays:
    """Three arms, of which the second always pays 1 and the others never anything."""

    horizon = 1
    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(3)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"mean": np.tile([0.0, 1.0, 0.0], (n, 1))}

    def make(self, tasks: Tasks, rng: np.random.Generator) -> Arms:
        return Arms(tasks["mean"], lambda _, mean: mean, rng)


@pytest.mark.parametrize(("embedding", "transitions"), [(0, False), (12, True)])
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(
    "family",
    [BernoulliBandit, TabularMDP, "pendulum", "cartpole"],
    indirect=True,
    ids=["bandit", "tabular", "pendulum", "cartpole"],
)
def test_reading_a_trajectory_again_with_the_weights_that_played_gives_what_the_rollout_noted(
    family: TaskFamily,
    memory: str,
    embedding: int,
    transitions: bool,
    experiment_on: ExperimentOn,
    shaken: Made,
    played: Played,
) -> None:
    experiment = experiment_on(family, memory=memory, embedding=embedding, transitions=transitions)
    learner = shaken(experiment)
    model, trajectory = policy_of(learner), played(experiment, learner)
    assert trajectory.done[:-1].any()  # the boundary of an episode is part of what is compared
    with torch.no_grad():
        batch, _ = prepare(model, trajectory, 1, 1)
        parameters, value = model.unroll(batch.observation, batch.outcome)
        log_prob, _ = model.head.measure(parameters, torch.from_numpy(trajectory.note["draw"][:-1]))
    valid = trajectory.valid
    found = (log_prob, trajectory.note["log_prob"]), (value, trajectory.note["value"])
    for unrolled, noted in found:
        np.testing.assert_allclose(unrolled.numpy()[valid], noted[:-1][valid], atol=1e-5, rtol=1e-5)
    # Not all alike, so the comparison says something; but a bandit shows nothing to whom does not remember.
    assert np.ptp(trajectory.note["value"]) > 0.1 or (memory == "none" and isinstance(family, BernoulliBandit))


@pytest.mark.parametrize("transitions", [False, True])
def test_policy_inputs_are_the_observation_and_the_step_before(
    transitions: bool, experiment_on: ExperimentOn, shaken: Made, played: Played
) -> None:
    experiment = experiment_on(TabularMDP(states=3, actions=2, horizon=2), transitions=transitions)
    learner = shaken(experiment)
    model, trajectory = policy_of(learner), played(experiment, learner)
    batch, _ = prepare(model, trajectory, 1, 1)
    given: list[torch.Tensor] = []
    model.embedding.register_forward_pre_hook(lambda module, x: given.append(x[0]))
    model.unroll(batch.observation, batch.outcome)
    x = given[0].numpy()
    for t in range(len(trajectory.reward)):
        for row in range(trajectory.reward.shape[1]):
            now, before, action, rest = -np.ones(3), np.zeros(3), np.zeros(2), np.zeros(2)
            now[trajectory.observation[t, row]] = 1
            if t > 0:
                before[:] = -1
                before[trajectory.observation[t - 1, row]] = 1
                action[trajectory.action[t - 1, row]] = 1
                rest[:] = trajectory.reward[t - 1, row], trajectory.done[t - 1, row]
            expected = [now, *([before] if transitions else []), action, rest]
            np.testing.assert_allclose(x[t, row], np.concatenate(expected), rtol=1e-6)


def test_terms_are_those_of_the_paper() -> None:
    """Schulman et al. 2017, eq. 7, one step at a time; kl is the estimator r - 1 - log r."""
    rng, clip = np.random.default_rng(0), 0.2
    log_prob, entropy, value, old, advantage, target = (
        torch.from_numpy(rng.normal(size=(7, 5), scale=0.5)) for _ in range(6)
    )
    found = ppo_terms(log_prob, entropy, value, old, advantage, target, clip)
    outside = 0
    for t in range(7):
        for b in range(5):
            ratio = math.exp(float(log_prob[t, b] - old[t, b]))
            bounded = min(max(ratio, 1 - clip), 1 + clip)
            outside += bounded != ratio
            gain = min(ratio * float(advantage[t, b]), bounded * float(advantage[t, b]))
            expected = {
                "policy_loss": -gain,
                "value_loss": float(value[t, b] - target[t, b]) ** 2,
                "entropy": float(entropy[t, b]),
                "kl": ratio - 1 - np.log(ratio),
                "clipped": float(bounded != ratio),
            }
            assert {name: float(term[t, b]) for name, term in found.items()} == pytest.approx(expected, rel=1e-6)
    assert 0 < outside < 35


def test_advantages_are_normalised_over_valid_steps_and_targets_are_not(
    experiment_on: ExperimentOn, shaken: Made, played: Played, cartpole: TaskFamily
) -> None:
    experiment = experiment_on(cartpole)
    learner = shaken(experiment)
    trajectory = played(experiment, learner, n=20)
    assert not trajectory.valid.all()
    policy_of(learner).value_updates += 1  # before, what the critic says counts as 0
    batch, explained = prepare(policy_of(learner), trajectory, 0.9, 0.8)
    valid = torch.from_numpy(trajectory.valid)
    assert float(batch.advantage[valid].mean()) == pytest.approx(0, abs=1e-5)
    assert float(batch.advantage[valid].std(correction=0)) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(batch.valid, valid.float())
    value = torch.from_numpy(trajectory.note["value"][:-1]) * batch.left
    raw = (batch.target - value)[valid]
    torch.testing.assert_close(batch.advantage[valid], (raw - raw.mean()) / raw.std(correction=0), atol=1e-3, rtol=1e-3)
    unexplained = float(raw.var(correction=0) / batch.target[valid].var(correction=0))
    assert explained == pytest.approx(1 - unexplained, abs=1e-4)


def test_an_update_makes_a_rewarded_action_more_probable(experiment_on: ExperimentOn, played: Played) -> None:
    experiment = experiment_on(OneArmPays(), entropy=0.0, minibatches=1, learning_rate=1e-2)
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    shares = []
    for seed in range(6):
        trajectory = played(experiment, learner, n=100, seed=seed)
        model = policy_of(learner)
        with torch.no_grad():
            batch, _ = prepare(model, trajectory, 1, 1)
            parameters, _ = model.unroll(batch.observation, batch.outcome)
        shares.append(float(parameters.softmax(-1)[..., 1].mean()))
        learner.update(trajectory, 0.0)
    assert shares[0] == pytest.approx(1 / 3, abs=0.02)
    assert all(after > before for before, after in pairwise(shares))
    assert shares[-1] > 0.45


def test_padding_changes_nothing(experiment_on: ExperimentOn, shaken: Made, played: Played) -> None:
    """Rubbish behind the trials' ends, and more of it."""
    experiment = experiment_on(TabularMDP(states=3, actions=2, horizon=2))
    trajectory = played(experiment, shaken(experiment))
    longer = played(experiment_on(TabularMDP(states=3, actions=2, horizon=4)), shaken(experiment))
    padded = concatenate([trajectory, longer])
    n = trajectory.reward.shape[1]

    def columns(array: np.ndarray) -> np.ndarray:
        return array[:, :n].copy()

    padded = replace(
        padded,
        **{
            name: columns(getattr(padded, name))
            for name in ("observation", "action", "reward", "terminated", "truncated", "valid")
        },
        note={name: columns(array) for name, array in padded.note.items()},
    )
    padded.reward[~padded.valid] = 50
    padded.note["value"][len(trajectory.reward) + 1 :] = 50
    weights = []
    for each in (trajectory, padded):
        learner = shaken(experiment)
        learner.update(each, 0.0)
        weights.append(learner.weights())
    for name, array in weights[0].items():
        np.testing.assert_allclose(weights[1][name], array, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.08), (0.25, 0.07), (1.0, 0.04)])
def test_the_entropy_bonus_falls_linearly_to_its_end(
    progress: float, expected: float, experiment_on: ExperimentOn, shaken: Made, played: Played
) -> None:
    """The weight is what is missing between the loss and its other parts."""
    experiment = experiment_on(BernoulliBandit(), entropy=0.08, entropy_end=0.04, value_weight=0.5)
    learner = shaken(experiment)
    found = learner.update(played(experiment, learner), progress)
    missing = found["policy_loss"] + 0.5 * found["value_loss"] - found["loss"]
    assert missing / found["entropy"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 1e-2), (0.25, 7.5e-3), (1.0, 0.0)])
def test_the_learning_rate_falls_linearly_to_its_end(
    progress: float, expected: float, experiment_on: ExperimentOn, shaken: Made, played: Played
) -> None:
    """Adam's first step is as long as the learning rate, whatever the gradient."""
    experiment = experiment_on(
        BernoulliBandit(), learning_rate=1e-2, learning_rate_end=0.0, epochs=1, minibatches=1, max_gradient_norm=1e9
    )
    learner = shaken(experiment)
    before = learner.weights()
    found = learner.update(played(experiment, learner), progress)
    moved = max(
        float(np.abs(array - before[name]).max()) for name, array in learner.weights().items() if "memory" in name
    )
    assert found["learning_rate"] == pytest.approx(expected, abs=1e-12)
    assert moved == pytest.approx(expected, rel=1e-2, abs=1e-12)


@pytest.mark.parametrize(("end", "constant"), [(1.0, 0.95), (0.0, 0.9)])
def test_the_discount_moves_linearly_to_its_end_where_one_is_given(
    end: float, constant: float, experiment_on: ExperimentOn, shaken: Made, played: Played
) -> None:
    found = []
    for options in ({"discount": 0.9, "discount_end": end}, {"discount": constant}):
        experiment = experiment_on(BernoulliBandit(), **options)
        learner = shaken(experiment)
        found.append(learner.update(played(experiment, learner), 0.5))
    assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-7)


def test_an_update_says_what_happened(experiment_on: ExperimentOn, shaken: Made, played: Played) -> None:
    experiment = experiment_on(BernoulliBandit())
    learner = shaken(experiment)
    found = learner.update(played(experiment, learner), 0.0)
    for name in ("policy_loss", "value_loss", "entropy", "kl", "clipped", "gradient_norm", "explained_variance"):
        assert np.isfinite(found[name]), name
    assert 0 <= found["clipped"] <= 1
    assert 0 <= found["entropy"] <= np.log(5) + 1e-6
    assert found["kl"] >= 0


def test_trajectories_may_be_read_only(experiment_on: ExperimentOn, shaken: Made, played: Played) -> None:
    experiment = experiment_on(BernoulliBandit())
    learner = shaken(experiment)
    trajectory = played(experiment, learner)
    for array in (*vars(trajectory).values(), *trajectory.note.values()):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.update(trajectory, 0.0)


@pytest.mark.parametrize("trials", [1, 3])
def test_there_may_be_fewer_trials_than_minibatches(
    trials: int, experiment_on: ExperimentOn, shaken: Made, played: Played
) -> None:
    experiment = experiment_on(BernoulliBandit(), minibatches=5)
    learner = shaken(experiment, threads=2)
    assert np.isfinite(learner.update(played(experiment, learner, n=trials), 0.0)["loss"])


@pytest.mark.parametrize("memory", MEMORIES)
def test_bfloat16_is_close_and_leaves_the_parameters_float32(
    memory: str, experiment_on: ExperimentOn, shaken: Made, played: Played
) -> None:
    found = {}
    for precision in ("float32", "bfloat16"):
        experiment = experiment_on(TabularMDP(), memory=memory, precision=precision)
        learner = shaken(experiment)
        with torch.no_grad():
            policy_of(learner).output.weight.mul_(0.1)  # no critic errs by whole returns for long
        found[precision] = learner.update(played(experiment, learner), 0.0)
        assert {array.dtype for array in learner.weights().values()} == {np.dtype(np.float32)}
    for name in ("policy_loss", "value_loss", "entropy", "gradient_norm"):
        assert found["bfloat16"][name] == pytest.approx(found["float32"][name], rel=0.05, abs=0.02), name
    assert found["bfloat16"] != found["float32"]


@pytest.mark.filterwarnings("default")  # the compiler asks tensors for gradients that they do not have
def test_a_compiled_loss_has_the_same_terms(
    experiment_on: ExperimentOn, shaken: Made, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and run without generating machine code, which takes half a minute."""
    real, compiled = torch.compile, []

    def trace_only(function: Callable) -> Callable:
        compiled.append(function)
        return real(function, backend="aot_eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", trace_only)
    found = []
    for on in (False, True):
        experiment = experiment_on(BernoulliBandit(), compile=on)
        learner = shaken(experiment)
        found.append(learner.update(played(experiment, learner), 0.0))
    assert compiled == [ppo_terms]
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("memory", "gruu", r"^memory is 'gruu'; expected one of deepset, gru, lstm.*Did you mean 'gru'\?$"),
        ("hidden", 0, r"^hidden is 0; expected at least 1\.$"),
        ("epochs", 0, r"^epochs is 0; expected at least 1\.$"),
        ("minibatches", -2, r"^minibatches is -2; expected at least 1\.$"),
        ("embedding", -1, r"^embedding is -1; expected a finite number of at least 0\.$"),
        ("learning_rate", 0.0, r"^learning_rate is 0\.0; expected a finite number above 0\.$"),
        ("learning_rate", float("nan"), r"^learning_rate is nan; expected a finite number above 0\.$"),
        ("learning_rate_end", -1e-4, r"^learning_rate_end is -0\.0001; expected a finite number of at least 0\.$"),
        ("clip", 0.0, r"^clip is 0\.0; expected a finite number above 0\.$"),
        ("discount", 1.01, r"^discount is 1\.01; expected a number in \[0, 1\]\.$"),
        ("discount_end", -0.1, r"^discount_end is -0\.1; expected a number in \[0, 1\]\.$"),
        ("trace", -0.1, r"^trace is -0\.1; expected a number in \[0, 1\]\.$"),
        ("entropy", float("inf"), r"^entropy is inf; expected a finite number of at least 0\.$"),
        ("entropy_end", -1.0, r"^entropy_end is -1\.0; expected a finite number of at least 0\.$"),
        ("value_weight", -1.0, r"^value_weight is -1\.0; expected a finite number of at least 0\.$"),
        ("max_gradient_norm", 0.0, r"^max_gradient_norm is 0\.0; expected a finite number above 0\.$"),
        ("precision", "float16", r"^precision is 'float16'; expected float32 or bfloat16\.$"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_sentence(option: str, value: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        RL2(**{option: value})

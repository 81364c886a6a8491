"""Recurrent soft actor-critic's update: its losses are those of a slow recursion."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import Made
from off_policy import Constant, Drift, Watched, trials_of
from small_recurrent import RecurrentOn, every_memory, parts_of, stored
from torch import Tensor, nn

from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import SparsePointNavigation
from innerloop.learner.algorithms.recurrent_sac import RecurrentSAC
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay
from innerloop.learner.returns import most_steps
from innerloop.learner.sampling import Request, Sample
from innerloop.learner.trajectory import Trajectory, concatenate


class Given:
    """A sampler that has one batch of trials."""

    played = 10**6

    def __init__(self, trials: Trajectory) -> None:
        self.given = trials

    def batches(self, request: Request, count: int, rng: np.random.Generator) -> Iterator[Sample]:
        raise AssertionError("whole trials are learned from")

    def trials(self, tasks: int, count: int, rng: np.random.Generator) -> Iterator[Trajectory]:
        yield self.given


def watched(learner: Learner, trials: Trajectory, noise: float = 0.7) -> Watched:
    """The loss on these trials; slow critics stay where they are."""
    model, algorithm = parts_of(learner)
    found, before = Watched(), [parameter.clone() for parameter in model.critics.target.parameters()]
    algorithm.update(model, Given(trials), found, 0.0, Constant(noise))
    for parameter, value in zip(model.critics.target.parameters(), before, strict=True):
        parameter.data.copy_(value)
    return found


def slowly(learner: Learner, trials: Trajectory, noise: float) -> tuple[dict[str, float], float]:
    """The metrics and the loss, one trial and one step at a time; every memory goes step by step."""
    model, algorithm = parts_of(learner)
    alpha = float(model.log_temperature.detach().exp())
    sums = dict.fromkeys(("critic_loss", "policy_loss", "q", "entropy", "temperature_loss"), 0.0)

    def unrolled(reader: Any, row: int) -> list[Tensor]:
        state, found = reader.memory.initial(1), []
        for t in range(int(trials.valid[:, row].sum())):
            before = np.zeros(model.head.width), 0.0, 0.0
            if t > 0:
                taken = model.head.encode(torch.from_numpy(trials.action[t - 1, row])[None])[0].numpy()
                before = taken, trials.reward[t - 1, row], trials.done[t - 1, row]
            parts = trials.observation[t, row], before[0], [before[1]], [before[2]]
            x = torch.tensor(np.concatenate(parts), dtype=torch.float32)
            y, state = reader.memory.step(x[None], state)
            found.append(y[0])
        return found

    def left(row: int, t: int) -> float:
        """Discounted steps that the trial can still have: its episodes are of at most as many as the problem allows."""
        episodes = int((trials.done & trials.valid)[:, row].sum())
        return sum(algorithm.discount**k for k in range(model.problem.horizon * episodes - t))

    most = sum(algorithm.discount**k for k in range(model.problem.steps))

    def judged(reader: Any, y: Tensor, action: Tensor) -> float:
        return float(reader.network(y, action))

    with torch.no_grad():
        for row in range(trials.valid.shape[1]):
            actor = unrolled(model.actor, row)
            now, slow = (
                [unrolled(critic, row) for critic in each] for each in (model.critics.online, model.critics.target)
            )
            acts: list[tuple[Tensor, float]] = []
            for y in actor:
                mean, log_std = model.actor.network(y).double().split(model.head.width)
                normal = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp())
                raw = mean + normal.stddev * noise
                log_prob = normal.log_prob(raw) - (1 - raw.tanh().square()).log()
                acts.append((raw.tanh().float(), float(log_prob.sum())))
            length = len(actor)
            for t in range(length):
                target = algorithm.reward_scale * float(trials.outer_reward[t, row])
                if t < length - 1:  # nothing follows a trial; an episode's end is not the trial's
                    following, log_prob = acts[t + 1]
                    critics = zip(model.critics.target, slow, strict=True)
                    least = left(row, t + 1) * min(judged(critic, y[t + 1], following) for critic, y in critics)
                    target += algorithm.discount * (least - alpha * log_prob)
                taken = model.head.encode(torch.from_numpy(trials.action[t, row])[None])[0]
                critics = [*zip(model.critics.online, now, strict=True)]
                q = [left(row, t) * judged(critic, y[t], taken) for critic, y in critics]
                action, log_prob = acts[t]
                sums["critic_loss"] += sum((each - target) ** 2 for each in q) / most**2
                gain = left(row, t) * min(judged(critic, y[t], action) for critic, y in critics)
                sums["policy_loss"] += alpha * log_prob - gain
                sums["q"] += sum(q) / 2
                sums["entropy"] -= log_prob
                if not algorithm.temperature:
                    sums["temperature_loss"] -= np.log(alpha) * (log_prob - model.head.width)
    found = {name: value / trials.steps for name, value in sums.items()}
    return found, sum(found[name] for name in ("critic_loss", "policy_loss", "temperature_loss"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory": "lstm", "temperature": 0.3, "discount": 0.8, "reward_scale": 5.0},
        {"memory": "none"},
        {"family": SparsePointNavigation(horizon=4, radius=2.0, dense=True)},
    ],
    ids=["default", "lstm", "none", "dense"],
)
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_losses_are_those_of_a_slow_recursion(
    options: dict[str, Any], noise: float, recurrent_on: RecurrentOn, shaken: Made
) -> None:
    """An episode's end inside a trial goes on into the next one; nothing follows a trial, whatever ended it. Every
    normal number is `noise`."""
    experiment = recurrent_on(**({"family": Drift()} | options))
    learner = shaken(experiment)
    trials = stored(trials_of(experiment, learner), np.array([3, 1, 6, 0, 4, 7]))
    if "family" not in options:
        ends = trials.terminated[trials.trial_end]
        assert ends.any()
        assert not ends.all()
        assert (trials.terminated & ~trials.trial_end).any()
        assert (trials.truncated & ~trials.trial_end).any()
    found = watched(learner, trials, noise)
    expected, total = slowly(learner, trials, noise)
    alpha = parts_of(learner)[0].log_temperature.exp().item()
    for name, tensor in found.metrics.items():
        assert tensor.item() == pytest.approx(expected.get(name, alpha), rel=1e-4, abs=1e-5), name
    assert found.total.item() == pytest.approx(total, rel=1e-4)


def gradient(loss: Tensor, module: nn.Module) -> list[Tensor | None]:
    """None of a parameter that the loss does not depend on."""
    return [*torch.autograd.grad(loss, [*module.parameters()], allow_unused=True, retain_graph=True)]


@every_memory
def test_each_loss_reaches_its_own_parameters_alone(memory: str, recurrent_on: RecurrentOn, shaken: Made) -> None:
    experiment = recurrent_on(Drift(), memory=memory)
    learner = shaken(experiment)
    (model, _), found = parts_of(learner), watched(learner, trials_of(experiment, learner))
    policy, critics = found.metrics["policy_loss"], found.metrics["critic_loss"]
    for loss, other in ((policy, model.critics.online), (critics, model.actor)):
        assert all(each is None or not each.any() for each in gradient(loss, other))
    for loss, own in ((policy, model.actor), (critics, model.critics.online)):
        assert all(each is not None and each.any() for each in gradient(loss, own))
    assert not any(parameter.requires_grad for parameter in model.critics.target.parameters())
    (temperature,) = torch.autograd.grad(found.total, model.log_temperature, retain_graph=True)
    assert temperature.item() == pytest.approx(found.metrics["entropy"].item() + 1, rel=1e-4)


def test_the_critics_target_is_a_constant(recurrent_on: RecurrentOn, shaken: Made) -> None:
    """(q - t)² - (q - t - 2)² = 4 (q - t) - 4: of two critics together, 8 times the gradient of their mean; in units of
    a step's value."""
    experiment = recurrent_on(Drift())
    learner = shaken(experiment)
    (model, algorithm), trials = parts_of(learner), trials_of(experiment, learner)
    found, other = watched(learner, trials), watched(learner, replace(trials, privileged={"reward": trials.reward + 2}))
    difference = found.metrics["critic_loss"] - other.metrics["critic_loss"]
    own, of_step = model.critics.online, most_steps(model.problem, algorithm.discount) ** -2
    for mine, expected in zip(gradient(difference, own), gradient(8 * of_step * found.metrics["q"], own), strict=True):
        assert mine is not None
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


def test_padding_changes_nothing(recurrent_on: RecurrentOn, shaken: Made) -> None:
    """Rubbish behind the trials' ends, and more of it."""
    experiment = recurrent_on(Drift())
    learner = shaken(experiment)
    trials = trials_of(experiment, learner)
    longer = trials_of(recurrent_on(Drift(), episodes=9), learner)
    padded = concatenate([trials, longer]).columns(np.arange(8))
    assert len(padded.reward) > len(trials.reward)
    behind = ~padded.valid
    for name, rubbish in (("reward", 50), ("action", -1.7), ("terminated", True), ("truncated", True)):
        array = getattr(padded, name).copy()
        array[behind] = rubbish
        padded = replace(padded, **{name: array})
    observation = padded.observation.copy()
    observation[1:][behind] = 50  # the input behind a trial's last step is its own
    padded = replace(padded, observation=observation)
    mine, yours = (watched(learner, each) for each in (trials, padded))
    torch.testing.assert_close(mine.total, yours.total, atol=1e-5, rtol=1e-5)
    for name, metric in mine.metrics.items():
        torch.testing.assert_close(yours.metrics[name], metric, atol=1e-5, rtol=1e-5)
    everything = nn.ModuleList([learner.model.actor, learner.model.critics.online])
    for one, other in zip(gradient(mine.total, everything), gradient(yours.total, everything), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_shares_of_the_trials_add_up_to_the_loss(recurrent_on: RecurrentOn, shaken: Made) -> None:
    experiment = recurrent_on(Drift())
    learner = shaken(experiment)
    found = watched(learner, trials_of(experiment, learner))
    parts = [found.loss(part) for part in (np.array([2]), np.array([0, 1, 3, 7]), np.array([4, 5, 6]))]
    torch.testing.assert_close(sum(total for total, _ in parts), found.total)
    for name, whole in found.metrics.items():
        torch.testing.assert_close(sum(metrics[name] for _, metrics in parts), whole)


def filled(experiment: Experiment, learner: Learner) -> Replay:
    replay = Replay(10**6)
    replay.append(range(8), trials_of(experiment, learner))
    return replay


@pytest.mark.parametrize("options", [{}, {"memory": "lstm", "temperature": 0.2}], ids=["gru", "lstm"])
def test_an_update_repeats_bit_for_bit_and_moves_all_that_is_learned(
    options: dict[str, Any], recurrent_on: RecurrentOn, shaken: Made
) -> None:
    experiment = recurrent_on(Drift(), updates_per_step=0.05, learning_rate=1e-2, **options)
    learners = [shaken(experiment) for _ in range(2)]
    before = learners[0].weights()
    replay = filled(experiment, learners[0])
    for learner in learners:
        assert learner.update(replay, 0.0)["gradient_steps"] == int(0.05 * replay.steps) > 2
    for name, array in learners[0].weights().items():
        np.testing.assert_array_equal(learners[1].weights()[name], array, err_msg=name)
        fixed = name == "log_temperature" and "temperature" in options
        assert np.array_equal(array, before[name]) == fixed, name


def test_threads_share_the_work_and_not_the_result(recurrent_on: RecurrentOn, shaken: Made) -> None:
    experiment = recurrent_on(Drift(), updates_per_step=0.1, learning_rate=1e-3)
    found: list[dict[str, np.ndarray]] = []
    for threads in (1, 2, 2):
        learner = shaken(experiment, threads=threads)
        learner.update(filled(experiment, learner), 0.0)
        found.append(learner.weights())
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(found[1][name], found[2][name], err_msg=name)


def test_no_gradient_step_is_taken_before_the_warm_up_and_then_those_that_are_due(
    recurrent_on: RecurrentOn, shaken: Made
) -> None:
    experiment = recurrent_on(Drift(), updates_per_step=0.03, warm_up=100)
    learner, replay = shaken(experiment), Replay(10**6)
    before, taken = learner.weights(), 0
    for iteration in range(5):
        replay.append(range(8), trials_of(experiment, learner, seed=iteration))
        found = learner.update(replay, 0.0)
        taken += int(found["gradient_steps"])
        assert taken == int(0.03 * max(0, replay.played - 100))
        same = all(np.array_equal(array, before[name]) for name, array in learner.weights().items())
        assert same == (taken == 0)
        assert same or iteration > 0
    assert taken > 3


def test_gradients_are_shortened(recurrent_on: RecurrentOn, shaken: Made) -> None:
    """The norm is that before."""
    experiment = recurrent_on(Drift(), updates_per_step=0.015, max_gradient_norm=1e-12)
    learner = shaken(experiment)
    before = learner.weights()
    metrics = learner.update(filled(experiment, learner), 0.0)
    assert metrics["gradient_steps"] == 1
    assert metrics["gradient_norm"] > 0.1
    moved = [np.abs(array - before[name]).max() for name, array in learner.weights().items() if "actor" in name]
    assert 0 < max(moved) < 1e-6  # Adam divides by at least 1e-8


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("trials_per_batch", 0, "at least 1"),
        ("max_gradient_norm", 0.0, "a finite number above 0"),
        ("max_gradient_norm", float("inf"), "a finite number above 0"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_sentence(option: str, value: Any, expected: str) -> None:
    with pytest.raises(BadInput) as refused:
        RecurrentSAC(**{option: value})
    assert str(refused.value) == f"{option} is {value!r}; expected {expected}."


def test_a_memory_that_is_not_known_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(
        BadInput, match=r"^memory is 'perceiver'; expected one of deepset, gru, lstm, mann, mingru, none, snail, "
    ):
        RecurrentSAC(memory="perceiver")

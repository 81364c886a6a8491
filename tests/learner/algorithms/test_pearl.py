"""PEARL's outer update: each loss reaches its own parameters."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fixture_types import Made, Played
from off_policy import Constant, Watched
from small_pearl import PearlOn, parts_of
from torch import Tensor, nn

from innerloop.envs.api import TaskFamily
from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation, SparsePointNavigation
from innerloop.learner.algorithms.latent import LatentPolicy
from innerloop.learner.algorithms.pearl import PEARL
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay
from innerloop.learner.sampling import Request, Sample
from innerloop.learner.trajectory import Trajectory


class Given:
    """A sampler that has one sample, whatever it is asked for."""

    def __init__(self, sample: Sample, count: int = 1) -> None:
        self.sample, self.count, self.played = sample, count, 10**6
        self.requests: list[Request] = []

    def batches(self, request: Request, count: int, rng: np.random.Generator) -> Iterator[Sample]:
        self.requests.append(request)
        yield from [self.sample] * self.count

    def trials(self, tasks: int, count: int, rng: np.random.Generator) -> Iterator[Trajectory]:
        raise AssertionError("PEARL learns from transitions")


def sampled(learner: Learner, trajectory: Trajectory, tasks: int = 4) -> Sample:
    replay = Replay(10**6)
    replay.append(range(trajectory.reward.shape[1]), trajectory)
    request = Request(tasks=tasks, steps=6, context=(5,), successors=parts_of(learner)[1].next_observation)
    return next(replay.batches(request, 1, np.random.default_rng(0)))


def watched(learner: Learner, sample: Sample, noise: float = 0.7) -> Watched:
    """The loss on a sample; slow critics stay where they are."""
    model, algorithm = parts_of(learner)
    found, before = Watched(), [parameter.clone() for parameter in model.critics.target.parameters()]
    algorithm.update(model, Given(sample), found, 0.0, Constant(noise))
    for parameter, value in zip(model.critics.target.parameters(), before, strict=True):
        parameter.data.copy_(value)
    return found


def gradient(loss: Tensor, module: nn.Module) -> list[Tensor | None]:
    """None of a parameter that the loss does not depend on."""
    return [*torch.autograd.grad(loss, [*module.parameters()], allow_unused=True, retain_graph=True)]


def encoder_of(model: LatentPolicy) -> nn.Module:
    return nn.ModuleList([model.context_encoder, *([model.memory] if model.memory else [])])


@pytest.fixture
def prepared(pearl_on: PearlOn, shaken: Made, played: Played) -> Callable[..., tuple[Learner, Sample]]:
    """A learner and a sample of what it played."""

    def make(family: TaskFamily | None = None, **options: Any) -> tuple[Learner, Sample]:
        experiment = pearl_on(family, **options)
        learner = shaken(experiment)
        return learner, sampled(learner, played(experiment, learner))

    return make


Prepared = Callable[..., tuple[Learner, Sample]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.3, "discount": 0.9, "reward_scale": 5.0, "bottleneck": 0.5},
        {"next_observation": True, "context_encoder": "gru"},
        {"family": SparsePointNavigation(horizon=5, radius=2.0, dense=True), "latent": 1},
    ],
    ids=["default", "weighted", "gru", "dense"],
)
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_losses_are_those_of_the_paper(options: dict[str, Any], noise: float, prepared: Prepared) -> None:
    """Algorithm 1 with soft actor-critic (Haarnoja et al. 2018), one task and one transition at a time; every normal
    number is `noise`."""
    learner, sample = prepared(**options)
    sample.steps.terminated[1, 2:4] = True
    (model, algorithm), found = parts_of(learner), watched(learner, sample, noise)
    assert sample.context is not None
    alpha = float(model.log_temperature.detach().exp())
    sums = dict.fromkeys(("critic_loss", "policy_loss", "q", "entropy", "divergence", "temperature_loss"), 0.0)

    def act(x: Tensor, z: Tensor) -> tuple[Tensor, float]:
        mean, log_std = model.policy(torch.cat([x, z])).split(2)
        raw = (mean + log_std.clamp(-20, 2).exp() * noise).double()
        normal = torch.distributions.Normal(mean.double(), log_std.double().clamp(-20, 2).exp())
        return raw.tanh().float(), float((normal.log_prob(raw) - (1 - raw.tanh().square()).log()).sum())

    def critics(twins: nn.ModuleList, *inputs: Tensor) -> list[float]:
        return [float(critic(*inputs)) for critic in twins]

    with torch.no_grad():
        for task in range(4):
            mean, variance = (each[task] for each in model.posterior(model.context(model.put(sample.context))))
            z = mean + variance.sqrt() * noise
            prior = torch.distributions.Normal(torch.zeros_like(mean), 1)
            posterior = torch.distributions.Normal(mean, variance.sqrt())
            sums["divergence"] += float(torch.distributions.kl_divergence(posterior, prior).sum()) / 4
            for step in range(6):
                at = [torch.as_tensor(array[task, step]) for array in sample.steps]
                x, taken, _, reward, following, terminated = at
                next_action, next_log_prob = act(following, z)
                value = min(critics(model.critics.target, following, next_action, z)) - alpha * next_log_prob
                target = algorithm.reward_scale * float(reward) + algorithm.discount * (not terminated) * value
                q = critics(model.critics.online, x, taken / 0.1, z)
                action, log_prob = act(x, z)
                sums["critic_loss"] += sum((each - target) ** 2 for each in q) / 24
                sums["policy_loss"] += (alpha * log_prob - min(critics(model.critics.online, x, action, z))) / 24
                sums["q"] += sum(q) / 2 / 24
                sums["entropy"] -= log_prob / 24
                if not algorithm.temperature:
                    sums["temperature_loss"] -= np.log(alpha) * (log_prob - 2) / 24
    for name, tensor in found.metrics.items():
        assert tensor.item() == pytest.approx(sums.get(name, alpha), rel=1e-4, abs=1e-5), name  # pyright: ignore
    total = sum(sums[name] for name in ("critic_loss", "policy_loss", "temperature_loss"))
    assert found.total.item() == pytest.approx(total + algorithm.bottleneck * sums["divergence"], rel=1e-4)


@pytest.mark.parametrize("encoder", ["product", "gru"])
def test_the_encoder_learns_from_the_critics_loss_and_the_divergence_alone(encoder: str, prepared: Prepared) -> None:
    learner, sample = prepared(context_encoder=encoder, bottleneck=0.3)
    (model, _), found = parts_of(learner), watched(learner, sample)
    own = encoder_of(model)
    assert gradient(found.metrics["policy_loss"], own) == [None] * len([*own.parameters()])
    shares = gradient(found.metrics["critic_loss"], own), gradient(found.metrics["divergence"], own)
    for whole, critics, divergence in zip(gradient(found.total, own), *shares, strict=True):
        assert whole is not None
        assert critics is not None
        assert divergence is not None
        assert critics.abs().max() > 0
        torch.testing.assert_close(whole, critics + 0.3 * divergence, atol=1e-5, rtol=1e-4)


def test_without_bottleneck_and_with_critics_that_do_not_look_at_z_the_encoder_learns_nothing(
    prepared: Prepared,
) -> None:
    learner, sample = prepared(bottleneck=0.0)
    model, _ = parts_of(learner)
    with torch.no_grad():
        for critic in (*model.critics.online, *model.critics.target):
            next(critic.parameters())[:, -model.latent :] = 0
    found = watched(learner, sample)
    for each in gradient(found.total, model.context_encoder):
        assert each is not None
        np.testing.assert_array_equal(each, 0)
    with torch.no_grad():
        next(model.critics.online[0].parameters())[:, -model.latent :] = 0.1
    assert any(
        each is not None and each.any() for each in gradient(watched(learner, sample).total, model.context_encoder)
    )


def test_each_loss_reaches_its_own_parameters_alone(prepared: Prepared) -> None:
    learner, sample = prepared()
    (model, _), found = parts_of(learner), watched(learner, sample)
    policy, critics = found.metrics["policy_loss"], found.metrics["critic_loss"]
    nothing = {
        "critics, from the policy's loss": gradient(policy, model.critics.online),
        "policy, from the critics' loss": gradient(critics, model.policy),
        "critics, from the divergence": gradient(found.metrics["divergence"], model.critics.online),
    }
    for where, each in nothing.items():
        assert all(part is None or not part.any() for part in each), where
    for loss, module in ((policy, model.policy), (critics, model.critics.online)):
        assert all(each is not None and each.any() for each in gradient(loss, module))
    assert not any(parameter.requires_grad for parameter in model.critics.target.parameters())
    own = torch.autograd.grad(policy + critics, model.log_temperature, allow_unused=True, retain_graph=True)
    assert own == (None,)


def test_the_critics_target_is_a_constant(prepared: Prepared) -> None:
    learner, sample = prepared()
    (model, _), found = parts_of(learner), watched(learner, sample)
    other = watched(learner, sample._replace(steps=sample.steps._replace(outer_reward=sample.steps.outer_reward + 2)))
    # (q - t)² - (q - t - 2)² = 4 (q - t) - 4: of two critics together, 8 times the gradient of their mean
    difference = found.metrics["critic_loss"] - other.metrics["critic_loss"]
    everything = nn.ModuleList([model.critics.online, model.context_encoder, model.policy])
    q = found.metrics["q"]
    for mine, expected in zip(gradient(difference, everything), gradient(8 * q, everything), strict=True):
        if mine is None or expected is None:
            assert mine is expected
        else:
            torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


def test_a_share_of_the_tasks_has_its_share_of_the_loss(prepared: Prepared) -> None:
    learner, sample = prepared()
    found = watched(learner, sample)
    parts = [found.loss(part) for part in (np.array([2]), np.array([0, 1, 3]))]
    torch.testing.assert_close(sum(total for total, _ in parts), found.total)
    for name, whole in found.metrics.items():
        torch.testing.assert_close(sum(metrics[name] for _, metrics in parts), whole)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        (
            {"next_observation": True, "context_window": 3, "context_encoder": "gru"},
            {"successors": True, "window": 3},
        ),
    ],
    ids=["default", "other"],
)
def test_replay_is_asked_for_what_the_options_say(
    options: dict[str, Any], expected: dict[str, Any], prepared: Prepared
) -> None:
    learner, sample = prepared(**options)
    model, algorithm = parts_of(learner)
    given = Given(sample)
    algorithm.update(model, given, Watched(), 0.0, np.random.default_rng(0))
    assert given.requests == [Request(**({"tasks": 4, "steps": 6, "context": (5,)} | expected))]


@pytest.mark.parametrize(
    ("episodes", "options", "expected"),
    [
        (3, {}, (5, 10)),
        (1, {}, (5,)),
        (4, {"context": 12}, (5, 10, 12)),
        (3, {"context": 2}, (2,)),
        (2, {"resample": 3}, (3, 6, 9)),
    ],
)
def test_contexts_are_as_long_as_what_an_agent_has_seen_where_it_draws_z(
    episodes: int, options: dict[str, int], expected: tuple[int, ...], pearl_on: PearlOn, shaken: Made
) -> None:
    model, _ = parts_of(shaken(pearl_on(PointNavigation(horizon=5), episodes, **({"context": 0} | options))))
    assert model.lengths == expected


def test_a_dense_reward_is_the_critics_and_never_the_encoders(prepared: Prepared) -> None:
    family = SparsePointNavigation(horizon=5, radius=2.0, dense=True)
    learner, sample = prepared(family)
    assert sample.context is not None
    assert (sample.context.reward != sample.context.outer_reward).any()
    found = watched(learner, sample).metrics

    def with_more(which: str) -> dict[str, Tensor]:
        steps, context = (each._replace(**{which: getattr(each, which) + 1}) for each in (sample.steps, sample.context))
        return watched(learner, sample._replace(steps=steps, context=context)).metrics

    dense, sparse = with_more("outer_reward"), with_more("reward")
    assert abs((dense["critic_loss"] - found["critic_loss"]).item()) > 0.1
    for name in ("divergence", "policy_loss", "q"):
        torch.testing.assert_close(dense[name], found[name], atol=0, rtol=0)
    assert abs((sparse["divergence"] - found["divergence"]).item()) > 1e-3


def filled(experiment: Experiment, learner: Learner, played: Played) -> Replay:
    replay = Replay(10**6)
    replay.append(range(8), played(experiment, learner))
    return replay


@pytest.mark.parametrize("options", [{}, {"context_encoder": "gru", "temperature": 0.2}], ids=["product", "gru"])
def test_an_update_repeats_bit_for_bit_and_moves_all_that_is_learned(
    options: dict[str, Any], pearl_on: PearlOn, shaken: Made, played: Played
) -> None:
    experiment = pearl_on(updates_per_step=0.1, learning_rate=1e-2, **options)
    learners = [shaken(experiment) for _ in range(2)]
    before = learners[0].weights()
    replay = filled(experiment, learners[0], played)
    for learner in learners:
        assert learner.update(replay, 0.0)["gradient_steps"] == replay.steps // 10 > 5
    for name, array in learners[0].weights().items():
        np.testing.assert_array_equal(learners[1].weights()[name], array, err_msg=name)
        fixed = name == "log_temperature" and "temperature" in options
        assert np.array_equal(array, before[name]) == fixed, name


def test_threads_share_the_work_and_not_the_result(pearl_on: PearlOn, shaken: Made, played: Played) -> None:
    experiment = pearl_on(updates_per_step=0.15, learning_rate=1e-3)
    found: list[dict[str, np.ndarray]] = []
    for threads in (1, 2, 2):
        learner = shaken(experiment, threads=threads)
        learner.update(filled(experiment, learner, played), 0.0)
        found.append(learner.weights())
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(found[1][name], found[2][name], err_msg=name)


@pytest.mark.parametrize(("log_std", "moves"), [(-6.0, 1), (0.0, -1)])
def test_a_learned_temperature_moves_the_entropy_towards_its_target(
    log_std: float, moves: int, pearl_on: PearlOn, played: Played
) -> None:
    """Up where the policy is narrow, down where it is wide."""
    experiment = pearl_on(updates_per_step=0.02)
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    model, _ = parts_of(learner)
    last = model.policy[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight[2:] = 0
        last.bias[2:] = log_std
    metrics = learner.update(filled(experiment, learner, played), 0.0)
    assert metrics["gradient_steps"] == 2
    assert np.sign(-2 - metrics["entropy"]) == moves
    assert np.sign(model.log_temperature.item()) == moves


def test_no_gradient_step_is_taken_before_the_warm_up_and_then_those_that_are_due(
    pearl_on: PearlOn, shaken: Made, played: Played
) -> None:
    experiment = pearl_on(PointNavigation(horizon=5), updates_per_step=0.05, warm_up=200)
    learner, replay = shaken(experiment), Replay(10**6)
    before, taken = learner.weights(), 0
    for iteration in range(4):  # 120 steps each, unless a point arrives
        trajectory = played(experiment, learner, seed=iteration)
        replay.append(range(8), trajectory)
        found = learner.update(replay, 0.0)
        taken += int(found["gradient_steps"])
        assert taken == int(0.05 * max(0, replay.played - 200))
        same = all(np.array_equal(array, before[name]) for name, array in learner.weights().items())
        assert same == (iteration == 0)
        assert ("critic_loss" in found) == (iteration > 0)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        *((name, 0, "at least 1") for name in ("latent", "context_hidden", "layers", "context_window")),
        *((name, 0, "at least 1") for name in ("tasks_per_batch", "steps_per_task")),
        ("context", -1, "at least 0"),
        ("resample", -1, "at least 0"),
        ("persistence", 1.0, "a number in [0, 1)"),
        ("bottleneck", -0.1, "a finite number of at least 0"),
        ("bottleneck", float("inf"), "a finite number of at least 0"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_sentence(option: str, value: Any, expected: str) -> None:
    with pytest.raises(BadInput) as refused:
        PEARL(**{option: value})
    assert str(refused.value) == f"{option} is {value!r}; expected {expected}."


def test_an_encoder_that_is_not_known_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(
        BadInput,
        match=r"^context_encoder is 'perceiver'; expected one of deepset, gru, lstm, mann, mingru, none, product, ",
    ):
        PEARL(context_encoder="perceiver")

"""Supervised MAML: its inner steps one task after the other, its gradient by finite differences, and that it learns."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from innerloop.actors.actor import Actor, Assignment
from innerloop.actors.rollout import play
from innerloop.distributed.config import configure
from innerloop.envs.api import TaskFamily
from innerloop.envs.errors import BadInput
from innerloop.envs.fewshot.sinusoid import Sinusoid
from innerloop.envs.fewshot.strokes import Strokes
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.algorithms.supervised_maml import SupervisedMAML
from innerloop.learner.experiment import Experiment
from innerloop.learner.gradient.adaptation import adapted
from innerloop.learner.gradient.answering import answers, support
from innerloop.learner.gradient.network import AnswerNetwork
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

FAMILIES: dict[str, TaskFamily] = {"numbers": Sinusoid(shots=2), "classes": Strokes(ways=3, shots=1)}
by_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
CONV: dict[str, Any] = {"encoder": "conv4,channels=8", "layers": 0}


def experiment_on(family: TaskFamily, episodes: int = 4, **options: Any) -> Experiment:
    small = CONV if isinstance(family, Strokes) else {"hidden": 8}
    algorithm = SupervisedMAML(**small | options)
    return Experiment(
        family_name="given", family=family, algorithm_name="supervised-maml", algorithm=algorithm, episodes=episodes
    )


def learner_of(experiment: Experiment) -> Learner:
    return Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)


def network(learner: Learner) -> AnswerNetwork:
    assert isinstance(learner.model, AnswerNetwork)
    return learner.model


def played(experiment: Experiment, iteration: int = 0, trials: int = 5) -> Trajectory:
    return Actor(experiment, seed=0).collect(Assignment(iteration, 0, trials))


def error(family: TaskFamily, out: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Of one task's answers, the mean, as papers have it."""
    if isinstance(family, Sinusoid):
        return (out[:, :1] - answer).square().mean()
    return functional.cross_entropy(out, answer)


def by_hand(
    family: TaskFamily, model: AnswerNetwork, x: torch.Tensor, answer: torch.Tensor, steps: int
) -> dict[str, torch.Tensor]:
    """One task's weights after inner steps, each as the paper prints it."""
    weights: dict[str, torch.Tensor] = dict(model.weights)
    for step in range(steps):
        loss = error(family, model.distribution(weights, model.body(x)), answer)
        gradient = torch.autograd.grad(loss, [*weights.values()])
        rates = [model.rate(name, step) for name in weights]
        weights = {n: w - r * g for (n, w), r, g in zip(weights.items(), rates, gradient, strict=True)}
    return weights


@by_family
@pytest.mark.parametrize(
    "options", [{}, {"inner_steps": 3}, {"adapts": "output"}, {"learned_rates": True, "inner_steps": 2}]
)
def test_what_an_update_says_is_what_its_agent_earns_and_what_the_paper_computes(
    family: TaskFamily, options: dict[str, Any]
) -> None:
    experiment = experiment_on(family, inner_rate=0.3, **options)
    learner, rng = learner_of(experiment), streams(3, "train")
    model, steps = network(learner), options.get("inner_steps", 1)
    agent = experiment.algorithm.inner_loop(model, experiment.problem)
    tasks = family.sample(rng.tasks, 5, "train")
    found = play(agent, Trials(family, tasks, 4, np.random.default_rng(5)), rng.agent)
    returns = found.episode_returns(4)

    [shown] = [model.stream(torch.from_numpy(found.observation))]
    answer, ways = torch.from_numpy(found.privileged["answer"]), family.horizon
    for trial in range(5):
        for episode in range(4):
            told = ways * min(episode, 1 if isinstance(family, Strokes) else 2)
            weights = by_hand(family, model, shown.example[:told, trial], answer[:told, trial], steps if told else 0)
            own = slice(ways * episode, ways * (episode + 1))
            out = model.distribution(weights, model.body(shown.example[own, trial])).detach().numpy()
            given = out[:, :1] if isinstance(family, Sinusoid) else out.argmax(-1)
            np.testing.assert_allclose(found.action[own, trial], given, rtol=1e-4, atol=1e-4)

    metrics = learner.update(found, 0.0)
    for episode in range(1, 4):
        mean = returns[:, episode].mean()
        assert metrics[f"return_episode_{episode + 1}"] == pytest.approx(mean, rel=1e-4, abs=1e-4)
    assert "return_episode_1" not in metrics
    assert metrics["return"] == pytest.approx(returns[:, 1:].sum(1).mean(), rel=1e-4, abs=1e-4)


def double_of(family: TaskFamily, **options: Any) -> tuple[AnswerNetwork, list[torch.Tensor]]:
    """A model in float64, and of some trials the examples and answers [tasks, N, *] of their first episodes and of the
    others."""
    experiment = experiment_on(family, inner_rate=0.3, **options)
    model, batch = network(learner_of(experiment)).double(), played(experiment, trials=3)
    if isinstance(family, Sinusoid):  # the encoder of plain numbers gives float32
        (model.body if options.get("adapts") == "output" else model.adaptive)[0] = nn.Identity()
    shown = model.stream(torch.from_numpy(batch.observation[:-1]))
    answer = torch.from_numpy(batch.privileged["answer"])
    x = shown.example.double() if shown.example.is_floating_point() else shown.example
    first = family.horizon * (2 if isinstance(family, Sinusoid) else 1)
    halves = [(each[:first], each[first:]) for each in (x, answer)]
    return model, [each.transpose(0, 1) for pair in zip(*halves, strict=True) for each in pair]


def outer_loss(
    family: TaskFamily, model: AnswerNetwork, data: list[torch.Tensor], steps: int, **options: Any
) -> torch.Tensor:
    x, answer, asked, right = data
    own = support(model, x, answer, torch.ones(x.shape[:2], dtype=torch.bool))
    out = answers(model, adapted(model, [own] * steps, **options)[-1], asked)
    return torch.stack([error(family, each, given) for each, given in zip(out, right, strict=True)]).mean()


@by_family
@pytest.mark.parametrize("options", [{}, {"adapts": "output"}, {"learned_rates": True}])
def test_the_gradient_through_the_gradient_is_that_of_finite_differences(
    family: TaskFamily, options: dict[str, Any]
) -> None:
    """In float64, through convolutions, maxima, norms and two inner steps; in a random direction of all parameters."""
    model, data = double_of(family, **options)
    parameters = [*model.parameters()]
    gradient = torch.autograd.grad(outer_loss(family, model, data, 2), parameters)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in parameters]
        along = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
        sides, size = [], 1e-7
        for sign in (1, -1):
            with torch.no_grad():
                for parameter, d in zip(parameters, direction, strict=True):
                    parameter.add_(d, alpha=sign * size)
                sides.append(float(outer_loss(family, model, data, 2)))
                for parameter, d in zip(parameters, direction, strict=True):
                    parameter.sub_(d, alpha=sign * size)
        assert (sides[0] - sides[1]) / (2 * size) == pytest.approx(along, rel=1e-4)


@by_family
def test_the_first_order_gradient_is_that_at_the_adapted_weights(family: TaskFamily) -> None:
    model, data = double_of(family)
    found = torch.autograd.grad(outer_loss(family, model, data, 2, first_order=True), [*model.adaptive.parameters()])
    whole = torch.autograd.grad(outer_loss(family, model, data, 2), [*model.adaptive.parameters()])
    expected = [torch.zeros_like(each) for each in found]
    for x, answer, asked, right in zip(*data, strict=True):
        weights = {n: w.detach().requires_grad_() for n, w in by_hand(family, model, x, answer, 2).items()}
        own = torch.autograd.grad(error(family, model.distribution(weights, asked), right), [*weights.values()])
        expected = [total + each / len(data[0]) for total, each in zip(expected, own, strict=True)]
    torch.testing.assert_close([*found], expected)
    assert any(not torch.allclose(one, other) for one, other in zip(found, whole, strict=True))


@by_family
def test_the_order_of_what_was_told_makes_no_difference(family: TaskFamily) -> None:
    model, (x, answer, asked, _) = double_of(family)
    found = []
    for order in (torch.arange(x.shape[1]), torch.arange(x.shape[1]).flip(0)):
        own = support(model, x[:, order], answer[:, order], torch.ones(x.shape[:2], dtype=torch.bool))
        found.append(answers(model, adapted(model, [own] * 2)[-1], asked))
    torch.testing.assert_close(*found)


def test_inner_steps_change_what_they_should() -> None:
    whole, output = (network(learner_of(experiment_on(FAMILIES["classes"], adapts=each))) for each in ("all", "output"))
    assert {*output.weights} == {"weight", "bias"}
    assert {id(each) for each in whole.weights.values()} == {id(each) for each in whole.parameters()}


def test_the_trained_agent_may_take_more_steps_than_in_training() -> None:
    experiment = experiment_on(FAMILIES["numbers"])
    learner = learner_of(experiment)
    longer = replace(experiment, algorithm=SupervisedMAML(hidden=8, evaluation_steps=5))
    one, other = (each.algorithm.inner_loop(learner.model, each.problem) for each in (experiment, longer))
    found = []
    for agent in (one, other):
        tasks = experiment.family.sample(np.random.default_rng(0), 4, "test")
        trials = Trials(experiment.family, tasks, 4, np.random.default_rng(1))
        found.append(play(agent, trials, np.random.default_rng(2)).action)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert (found[0][1:] != found[1][1:]).all()


@by_family
def test_threads_share_the_tasks(family: TaskFamily) -> None:
    experiment = experiment_on(family)
    found = []
    for threads in (1, 2, 2):
        learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=threads)
        for iteration in range(5):
            learner.update(played(experiment, iteration), 0.0)
        found.append(learner.weights())
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(found[1][name], found[2][name])


def test_rates_are_learned() -> None:
    experiment = experiment_on(FAMILIES["numbers"], learned_rates=True)
    learner = learner_of(experiment)
    before = {name: each.clone() for name, each in network(learner).rates.items()}
    learner.update(played(experiment), 0.0)
    assert all((each != before[name]).any() for name, each in network(learner).rates.items())


def test_it_learns_curves_from_ten_points() -> None:
    experiment = experiment_on(
        Sinusoid(shots=10), episodes=20, hidden=40, inner_rate=0.01, loss_from=10, learning_rate=5e-3
    )
    learner = learner_of(experiment)
    errors = []
    for iteration in range(400):
        errors.append(-learner.update(played(experiment, iteration, trials=25), iteration / 400)["return"] / 10)
    assert np.mean(errors[:10]) > 3
    assert np.mean(errors[-40:]) < 2.5


def test_it_learns_to_tell_characters_better_than_their_pixels_do() -> None:
    """The nearest of five pixel by pixel is right in 54 % of the cases."""
    family = Strokes(ways=5, shots=1)
    experiment = experiment_on(
        family, encoder="conv4,channels=32,strided=true", episodes=3, inner_rate=0.4, inner_steps=1, learning_rate=3e-3
    )
    learner, right = learner_of(experiment), []
    for iteration in range(150):
        metrics = learner.update(played(experiment, iteration, trials=24), iteration / 150)
        right.append(metrics["last_episode"] / 5)
    assert np.mean(right[-15:]) > 0.57


@pytest.mark.parametrize("name", ["bernoulli-bandit", "point-navigation"])
def test_a_family_without_answers_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"family is '{name}'; expected one that gives the right answers"):
        configure(family=name, algorithm="supervised-maml")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden", 0), ("layers", -1), ("inner_rate", 0.0), ("inner_steps", 0), ("evaluation_steps", -1),
        ("adapts", "head"), ("activation", "gelu"), ("loss_from", -1), ("encoder", "cn"), ("learning_rate", 0.0),
    ],
)  # fmt: skip
def test_options_that_cannot_be(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"^{field} is {value!r}; expected "):
        SupervisedMAML(**{field: value})


def test_something_must_be_learned_from() -> None:
    experiment = experiment_on(FAMILIES["numbers"], episodes=2, loss_from=2)
    with pytest.raises(BadInput, match=r"^loss_from is 2; expected less than 2, the episodes of a trial"):
        learner_of(experiment)

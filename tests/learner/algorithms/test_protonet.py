"""Prototypical networks against the paper's formula, and on characters that nobody has seen."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from innerloop.distributed.config import configure
from innerloop.envs.errors import BadInput
from innerloop.envs.fewshot.strokes import Strokes, draw
from innerloop.learner.algorithms.protonet import Labelled, ProtoNet, Prototypes, check_classes
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.problem import Problem

WAYS, WIDTH = 3, 4


def stream(rng: np.random.Generator, steps: int, told: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Labels [T], embeddings [T, width], and the inputs [T, 1, ...] of a memory that is told the first answers."""
    label, embedded = rng.integers(WAYS, size=steps), rng.standard_normal((steps, WIDTH)).astype(np.float32)
    shown = np.full(steps, WAYS)
    shown[1 : told + 1] = label[:told]
    answer = np.where(np.arange(WAYS + 1) == shown[:, None], 1.0, -1.0)
    seen = torch.from_numpy(np.concatenate([answer, embedded], 1).astype(np.float32))
    before = torch.cat([torch.zeros_like(seen[:1]), seen[:-1]])
    return label, embedded, torch.cat([seen, before], -1).unsqueeze(1)


def test_probabilities_are_those_of_the_paper() -> None:
    """Equation 2, with equation 1's prototypes: of the examples whose answers have been told before."""
    label, embedded, inputs = stream(np.random.default_rng(0), steps=12, told=9)
    found = Prototypes(WAYS, WIDTH).unroll(inputs)[:, 0].double().softmax(-1).numpy()
    for t in range(12):
        known = [i for i in range(min(t, 9))]
        prototypes = [
            np.mean([embedded[i] for i in known if label[i] == k] or [np.zeros(WIDTH)], axis=0) for k in range(WAYS)
        ]
        near = np.exp([-np.sum((embedded[t] - prototype) ** 2.0) for prototype in prototypes])
        np.testing.assert_allclose(found[t], near / near.sum(), rtol=1e-5)


def test_the_order_of_examples_makes_no_difference() -> None:
    rng = np.random.default_rng(1)
    label, embedded, inputs = stream(rng, steps=7, told=6)
    expected = Prototypes(WAYS, WIDTH).unroll(inputs)[-1, 0]
    order = [*rng.permutation(6), 6]
    answer = torch.full((7, WAYS + 1), -1.0)
    answer[0, WAYS] = 1
    for t in range(1, 7):
        answer[t, label[order[t - 1]]] = 1
    seen = torch.cat([answer, torch.from_numpy(embedded[order])], -1)
    before = torch.cat([torch.zeros_like(seen[:1]), seen[:-1]])
    found = Prototypes(WAYS, WIDTH).unroll(torch.cat([seen, before], -1).unsqueeze(1))[-1, 0]
    torch.testing.assert_close(found, expected)


def test_differences_of_logits_are_linear_in_the_embedding() -> None:
    """Snell et al. 2017, equation 8: the squared terms of a query are the same for all classes."""
    memory = Prototypes(WAYS, WIDTH)
    _, _, inputs = stream(np.random.default_rng(2), steps=10, told=9)
    own = slice(WAYS + 1, WAYS + 1 + WIDTH)

    def differences(embedded: torch.Tensor) -> torch.Tensor:
        changed = inputs.clone()
        changed[-1, 0, own] = embedded
        logits = memory.unroll(changed)[-1, 0]
        return logits - logits[0]

    a, b = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    middle = differences((a + b) / 2)
    torch.testing.assert_close(middle, (differences(a) + differences(b)) / 2, rtol=1e-4, atol=1e-4)


def test_step_by_step_it_is_the_same() -> None:
    memory = Prototypes(WAYS, WIDTH)
    _, _, inputs = stream(np.random.default_rng(3), steps=9, told=6)
    state, found = memory.initial(1), []
    for x in inputs:
        out, state = memory.step(x, state)
        found.append(out)
    torch.testing.assert_close(torch.stack(found), memory.unroll(inputs))


def nearest_pixels(ways: int, trials: int) -> float:
    """The share of right answers of nearest neighbour on pixels, one example of each class."""
    rng, right = np.random.default_rng(0), 0
    for _ in range(trials):
        classes = 2 * rng.integers(2**60, size=ways) + 1
        shown, asked = (draw(classes, rng.random(ways)).reshape(ways, -1).astype(float) for _ in range(2))
        distance = ((asked[:, None] - shown[None]) ** 2).sum(-1)
        right += int((distance.argmin(1) == np.arange(ways)).sum())
    return right / (trials * ways)


def test_a_short_run_beats_nearest_neighbour_on_pixels() -> None:
    from innerloop.actors.actor import Actor, Assignment

    ways, trials = 5, 100
    family = Strokes(ways=ways, shots=1)
    algorithm = ProtoNet(encoder="cnn,width=32,channels=8")
    experiment = Experiment(
        family_name="strokes", family=family, algorithm_name="protonet", algorithm=algorithm, episodes=3
    )
    learner = Learner(algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    actor = Actor(experiment, seed=0, held_out=trials)
    for iteration in range(60):
        learner.update(actor.collect(Assignment(iteration, 0, 16)), iteration / 60)
    actor.load(learner.acting_weights(), 60)
    found = actor.collect(Assignment(60, 0, trials, (*range(trials),), held_out=True)).episode_returns(3)
    assert found[:, 1:].mean() / ways > nearest_pixels(ways, 400) + 0.05


OTHERS: dict[str, gymnasium.Space] = {
    "a box": spaces.Box(0, 255, (8, 8, 1), np.uint8),
    "other names": spaces.Dict({"answer": spaces.Discrete(4), "picture": spaces.Box(0, 1, (2,))}),
    "one entry more": spaces.Dict(
        {"answer": spaces.Discrete(4), "example": spaces.Box(0, 1, (2,)), "more": spaces.Discrete(2)}
    ),
    "no answer that is not told": spaces.Dict({"answer": spaces.Discrete(3), "example": spaces.Box(0, 1, (2,))}),
}


@pytest.mark.parametrize("space", OTHERS.values(), ids=OTHERS)
def test_what_are_no_examples_of_classes_is_refused(space: gymnasium.Space) -> None:
    with pytest.raises(BadInput, match="expected a Dict of an example and of the answer to the one before"):
        check_classes(Problem(space, spaces.Discrete(3), 2, 3))


def test_numbers_are_no_classes() -> None:
    config = configure(family="sinusoid", algorithm="protonet")
    with pytest.raises(BadInput, match="expected a Dict of an example"):
        config.experiment.algorithm.build(config.experiment.problem)


@pytest.mark.parametrize(("field", "value"), [("encoder", "cn"), ("minibatches", 0), ("learning_rate", float("inf"))])
def test_options_that_cannot_be(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"^{field} is {value!r}; expected "):
        ProtoNet(**{field: value})


def test_an_encoder_that_learns_nothing_is_refused() -> None:
    problem = configure(family="strokes", algorithm="protonet").experiment.problem
    with pytest.raises(BadInput, match=r"^encoder is 'flat'; expected one that learns\."):
        ProtoNet(encoder="flat").build(problem)
    assert isinstance(Labelled(problem.observation_space, "cnn"), nn.Module)

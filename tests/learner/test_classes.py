"""Agents that compare an example with those of each class: against the papers' formulas, and on characters that nobody
has seen."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import configure
from innerloop.envs.errors import BadInput
from innerloop.envs.fewshot.strokes import Strokes, draw
from innerloop.learner.algorithms.matching import FullContext, Matches, Matching
from innerloop.learner.algorithms.protonet import ProtoNet, Prototypes
from innerloop.learner.classes import Labelled, check_classes
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.problem import Problem

WAYS, WIDTH, STEPS = 3, 4, 12
MEMORIES: dict[str, Any] = {"protonet": Prototypes(WAYS, WIDTH), "matching": Matches(WAYS, WIDTH, STEPS)}
by_memory = pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
ALGORITHMS: dict[str, Any] = {"protonet": ProtoNet, "matching": Matching}
by_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)


def shown(label: np.ndarray, embedded: np.ndarray, told: int) -> torch.Tensor:
    """A memory's inputs [T, 1, ...] where the first answers are told, each at the step after."""
    before = np.full(len(label), WAYS)
    before[1 : told + 1] = label[:told]
    answer = np.where(np.arange(WAYS + 1) == before[:, None], 1.0, -1.0)
    seen = torch.from_numpy(np.concatenate([answer, embedded], 1).astype(np.float32))
    return torch.cat([seen, torch.cat([torch.zeros_like(seen[:1]), seen[:-1]])], -1).unsqueeze(1)


def stream(seed: int, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """Labels [T], embeddings [T, width]."""
    rng = np.random.default_rng(seed)
    return rng.integers(WAYS, size=steps), rng.standard_normal((steps, WIDTH)).astype(np.float32)


def near(memory: object, x: np.ndarray, of_class: list[np.ndarray]) -> float:
    """What a class's probability is proportional to."""
    if isinstance(memory, Prototypes):  # Snell et al. 2017, equations 1 and 2
        prototype = np.mean(of_class or [np.zeros(WIDTH)], axis=0)
        return float(np.exp(-np.sum((x - prototype) ** 2.0)))
    cosines = [x @ each / np.linalg.norm(x) / np.linalg.norm(each) for each in of_class] or [-1.0]
    return float(np.sum(np.exp(cosines)))  # Vinyals et al. 2016, equation 1


@by_memory
def test_probabilities_are_those_of_the_paper(memory: Any) -> None:
    told, (label, embedded) = 9, stream(0)
    found = memory.unroll(shown(label, embedded, told))[:, 0].double().softmax(-1).numpy()
    for t in range(STEPS):
        known = range(min(t, told))
        expected = [near(memory, embedded[t], [embedded[i] for i in known if label[i] == k]) for k in range(WAYS)]
        np.testing.assert_allclose(found[t], np.array(expected) / sum(expected), rtol=1e-5)


@by_memory
def test_the_order_of_examples_makes_no_difference(memory: Any) -> None:
    label, embedded = stream(1, steps=7)
    order = [4, 2, 0, 5, 1, 3, 6]
    one, other = (memory.unroll(shown(label[index], embedded[index], 6))[-1, 0] for index in ([*range(7)], order))
    torch.testing.assert_close(one, other)


IN_CONTEXT = Matches(WAYS, WIDTH, STEPS, FullContext(WIDTH, 3))


@pytest.mark.parametrize("memory", [*MEMORIES.values(), IN_CONTEXT], ids=[*MEMORIES, "matching-in-context"])
def test_step_by_step_it_is_the_same(memory: Any) -> None:
    inputs = torch.cat([shown(*stream(seed), told) for seed, told in ((3, 6), (4, 11), (5, 0))], 1)
    state, found = memory.initial(3), []
    for x in inputs:
        out, state = memory.step(x, state)
        found.append(out)
    torch.testing.assert_close(torch.stack(found), memory.unroll(inputs))


@torch.no_grad()
def test_full_context_embeddings_are_the_papers() -> None:
    """Appendix A, one example after the other, at every step of a stream."""
    told, (label, embedded) = 5, stream(6)
    context = IN_CONTEXT.context
    assert context is not None
    found = IN_CONTEXT.unroll(shown(label, embedded, told))[:, 0]
    for t in range(STEPS):
        known = [torch.from_numpy(embedded[i]) for i in range(min(t, told))]
        ahead = context.forwards(torch.stack(known))[0] if known else []
        behind = context.backwards(torch.stack(known[::-1]))[0].flip(0) if known else []
        support = [x + a + b for x, a, b in zip(known, ahead, behind, strict=True)]
        own = torch.from_numpy(embedded[t])
        h, c, read = (torch.zeros(WIDTH) for _ in range(3))
        for _ in range(3):
            gates = context.attending.weight @ torch.cat([own, h, read]) + context.attending.bias
            add, forget, new, out = gates.reshape(4, WIDTH)
            c = forget.sigmoid() * c + add.sigmoid() * new.tanh()
            h = out.sigmoid() * c.tanh() + own
            if support:
                weights = torch.stack([h @ each for each in support]).softmax(0)
                read = sum((w * each for w, each in zip(weights, support, strict=True)), torch.zeros(WIDTH))
        sums = torch.zeros(WAYS)
        for each, answer in zip(support, label, strict=False):
            sums[answer] += torch.cosine_similarity(h, each, dim=0).exp()
        expected = torch.where(sums > 0, sums, torch.tensor(-1.0).exp()).log()
        torch.testing.assert_close(found[t], expected, rtol=1e-4, atol=1e-5)


def test_what_is_not_told_takes_no_room() -> None:
    """Queries do not push out the examples that they are compared with."""
    small, large = (Matches(WAYS, WIDTH, steps) for steps in (4, 100))
    label, embedded = stream(7, steps=20)
    found = []
    for memory in (small, large):
        state, outputs = memory.initial(1), []
        for x in shown(label, embedded, 4):
            out, state = memory.step(x, state)
            outputs.append(out)
        found.append(torch.stack(outputs))
    torch.testing.assert_close(*found)


def test_differences_of_a_prototypical_network_s_logits_are_linear_in_the_embedding() -> None:
    """Snell et al. 2017, equation 8: the square of a query is the same for all classes."""
    label, embedded = stream(2)

    def differences(x: np.ndarray) -> torch.Tensor:
        logits = MEMORIES["protonet"].unroll(shown(label, np.concatenate([embedded[:-1], x[None]]), 11))[-1, 0]
        return logits - logits[0]

    a, b = np.random.default_rng(0).standard_normal((2, WIDTH))
    middle = differences((a + b) / 2)
    torch.testing.assert_close(middle, (differences(a) + differences(b)) / 2, rtol=1e-4, atol=1e-4)


def nearest_pixels(ways: int, trials: int) -> float:
    """The share of right answers of nearest neighbour on pixels, one example of each class."""
    rng, right = np.random.default_rng(0), 0
    for _ in range(trials):
        classes = 2 * rng.integers(2**60, size=ways) + 1
        told, asked = (draw(classes, rng.random(ways)).reshape(ways, -1).astype(float) for _ in range(2))
        distance = ((asked[:, None] - told[None]) ** 2).sum(-1)
        right += int((distance.argmin(1) == np.arange(ways)).sum())
    return right / (trials * ways)


@by_algorithm
def test_a_short_run_beats_nearest_neighbour_on_pixels(algorithm: Any) -> None:
    ways, trials = 5, 100
    made = algorithm(encoder="cnn,width=32,channels=8")
    family = Strokes(ways=ways, shots=1)
    experiment = Experiment(family_name="strokes", family=family, algorithm_name="it", algorithm=made, episodes=3)
    learner = Learner(made, experiment.problem, seed=0, device="cpu", threads=1)
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


@pytest.mark.parametrize("name", ALGORITHMS)
def test_numbers_are_no_classes(name: str) -> None:
    config = configure(family="sinusoid", algorithm=name)
    with pytest.raises(BadInput, match="expected a Dict of an example"):
        config.experiment.algorithm.build(config.experiment.problem)


@by_algorithm
@pytest.mark.parametrize(("field", "value"), [("encoder", "cn"), ("minibatches", 0), ("learning_rate", float("inf"))])
def test_options_that_cannot_be(field: str, value: Any, algorithm: Any) -> None:
    with pytest.raises(BadInput, match=f"^{field} is {value!r}; expected "):
        algorithm(**{field: value})


def test_full_context_is_read_at_least_once() -> None:
    with pytest.raises(BadInput, match=r"^reads is 0; expected at least 1"):
        Matching(full_context=True, reads=0)


def test_an_encoder_that_learns_nothing_is_refused() -> None:
    problem = configure(family="strokes", algorithm="protonet").experiment.problem
    with pytest.raises(BadInput, match=r"^encoder is 'flat'; expected one that learns\."):
        Labelled(problem, "flat")

"""A learner's state from a file: exactly what was saved, or refused in a sentence, and nothing has changed."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small import SMALL, somewhere
from torch import nn

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import configure
from innerloop.envs.errors import BadInput
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.api import Metrics
from innerloop.learner.learner import Diverged, Learner, load_weights, weights_of
from innerloop.learner.replay import Replay
from innerloop.learner.trajectory import Arrays

WEIGHTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "float16": (
        lambda a: a.astype(np.float16),
        r"the dtype of .* is 'float16'; expected float32, as they were saved\.",
    ),
    "float64": (lambda a: a.astype(np.float64), r"the dtype of .* is 'float64'; expected float32"),
    "integers": (lambda a: a.astype(np.int64), r"the dtype of .* is 'int64'; expected float32"),
    "bool": (lambda a: a.astype(np.bool_), r"the dtype of .* is 'bool'; expected float32"),
    "complex": (lambda a: a.astype(np.complex64), r"the dtype of .* is 'complex64'; expected float32"),
    "all NaN": (lambda a: np.full_like(a, np.nan), r"(\d+) of \1 numbers of .* are NaN or infinite; expected finite"),
    "one NaN": (lambda a: one(a, np.nan), r"1 of \d+ numbers of .* are NaN or infinite"),
    "one infinite": (lambda a: one(a, -np.inf), r"1 of \d+ numbers of .* are NaN or infinite"),
    "empty": (lambda a: np.zeros(0, a.dtype), r"shape"),
    "a dimension more": (lambda a: a[None], r"shape"),
}


def one(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.reshape(-1)[-1] = value
    return changed


@pytest.fixture(scope="module", params=ALGORITHMS)
def trained(request: pytest.FixtureRequest) -> Learner:
    """One update."""
    name = request.param
    options = SMALL[name] | somewhere(name) | {"episodes": 2}
    experiment = configure(algorithm=name, **options).experiment
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    actor, replay = Actor(experiment, seed=0), Replay(2**20)
    actor.load(learner.weights(), 0)
    trajectory = actor.collect(Assignment(iteration=0, part=0, trials=3))
    replay.append([0, 1, 2], trajectory)
    learner.update(trajectory if experiment.learns_fresh else replay, 0.0)
    return learner


def twin(trained: Learner) -> Learner:
    return Learner(trained.algorithm, trained.problem, seed=1, device="cpu", threads=1)


def refused(learner: Learner, arrays: Arrays, numbers: dict[str, Any]) -> str:
    """The sentence; nothing has changed."""
    before = learner.state()
    with pytest.raises(BadInput) as caught:
        learner.load(arrays, numbers)
    after = learner.state()
    assert after[1] == before[1]
    assert after[0].keys() == before[0].keys()
    for name, array in before[0].items():
        np.testing.assert_array_equal(array, after[0][name])
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("damage", WEIGHTS)
def test_weights_that_are_not_the_models_own_kind_are_refused(damage: str, trained: Learner) -> None:
    change, sentence = WEIGHTS[damage]
    arrays, numbers = trained.state()
    learner = twin(trained)
    floats = [name for name in weights_of(arrays) if arrays[f"model/{name}"].dtype == np.float32]
    for name in floats:
        broken = arrays | {f"model/{name}": change(arrays[f"model/{name}"])}
        with pytest.raises(BadInput, match=re.escape(name)) as caught:
            load_weights(learner.model, weights_of(broken))
        assert re.search(sentence, str(caught.value)), str(caught.value)
    assert name in refused(learner, broken, numbers)


def test_a_state_that_was_saved_is_taken(trained: Learner) -> None:
    learner = twin(trained)
    arrays, numbers = trained.state()
    learner.load(arrays, numbers)
    for name, array in learner.state()[0].items():
        np.testing.assert_array_equal(array, arrays[name])
    assert learner.state()[1] == numbers
    fresh = twin(trained)
    learner.load(*fresh.state())  # of before the first step, too
    assert learner.version == 0


@pytest.mark.parametrize(
    "numbers",
    [{"version": -1}, {"version": 0.5}, {"version": math.nan}, {"version": math.inf}, {"version": 2**63},
     {"version": "1"}, {"version": None}, {"version": True}, {"version": [1]}, {"optimiser_arrays": -1},
     {"optimiser_arrays": 1e30}, {"optimiser_arrays": "2"}, {"optimiser_arrays": 10**6}, "version",
     "optimiser_arrays"],
    ids=str,
)  # fmt: skip
def test_counts_that_are_none_are_refused(numbers: dict[str, Any] | str, trained: Learner) -> None:
    arrays, own = trained.state()
    changed = {k: v for k, v in own.items() if k != numbers} if isinstance(numbers, str) else own | numbers
    said = refused(twin(trained), arrays, changed)
    assert next(iter(numbers if isinstance(numbers, dict) else [numbers])).split("_")[0] in said


NAMES = ("optimiser/x/y", "optimiser/adam/1", "optimiser/adam", "optimiser/", "optimiser/adam//step",
         "optimiser/0/step", "optimiser/adam/-1/step", "optimiser/adam/1e3/step",
         "optimiser/adam/99999999999999999999999/step", "optimiser/adam/1000/step",
         "optimiser/adam/0/novel", "optimiser/adam/0/step/more", "optimiser/adam/00/step",
         "optimiser/adam/٠/step", "optimiser/sgd/0/step", "optimiser/adam/0/\x1b[2J")  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_an_array_of_no_optimiser_is_refused(name: str, trained: Learner) -> None:
    arrays, numbers = trained.state()
    more = arrays | {name: np.zeros((), np.float32)}
    for count in (0, 1):
        said = refused(twin(trained), more, numbers | {"optimiser_arrays": numbers["optimiser_arrays"] + count})
        assert "an array of the optimiser is 'optimiser/" in said


OPTIMISERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    name: WEIGHTS[name] for name in ("float16", "float64", "integers", "bool", "all NaN", "one infinite")
} | {"a dimension more": (lambda a: a[None], "the shape of the optimiser's")}


@pytest.mark.parametrize("damage", OPTIMISERS)
def test_an_optimisers_array_of_another_kind_is_refused(damage: str, trained: Learner) -> None:
    change, sentence = OPTIMISERS[damage]
    arrays, numbers = trained.state()
    learner = twin(trained)
    names = [name for name in arrays if name.startswith("optimiser/")]
    assert len(names) == numbers["optimiser_arrays"]
    for name in names[:3] + names[-1:]:
        said = refused(learner, arrays | {name: change(arrays[name])}, numbers)
        assert re.search(sentence, said), said
        assert name.removeprefix("optimiser/") in said


@pytest.mark.parametrize("entry", ["step", "exp_avg_sq"])
def test_what_no_step_of_an_optimiser_leaves_is_refused(entry: str, trained: Learner) -> None:
    arrays, numbers = trained.state()
    for name in [name for name in arrays if name.endswith(f"/{entry}")][:2]:
        said = refused(twin(trained), arrays | {name: one(arrays[name], -1.0)}, numbers)
        assert said.startswith(f"the least of the optimiser's {name.removeprefix('optimiser/')} is -1.0")


def test_an_actor_takes_no_weights_that_are_not_finite(trained: Learner) -> None:
    [name] = [name for name, kind in ALGORITHMS.items() if isinstance(trained.algorithm, kind)]
    actor = Actor(configure(algorithm=name, **SMALL[name] | somewhere(name), episodes=2).experiment, seed=0)
    weights = trained.acting_weights()
    key = next(each for each, array in weights.items() if array.dtype == np.float32)
    with pytest.raises(BadInput, match="NaN or infinite"):
        actor.load(weights | {key: np.full_like(weights[key], np.nan)}, 1)


@pytest.mark.parametrize(("value", "diverges"), [(math.nan, True), (math.inf, True), (-math.inf, True), (3e38, False)])
@pytest.mark.parametrize("where", ["weights", "buffer", "optimiser"])
def test_an_update_that_leaves_a_number_that_is_not_finite_changes_nothing(
    where: str, value: float, diverges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the algorithm does to its model: a finite gradient with too large a step, a line search."""
    experiment = configure("first", hidden=8, arms=2).experiment
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    buffers = dict(learner.model.named_buffers())
    buffer = next(
        name for name, each in learner.model.state_dict().items() if name in buffers and each.is_floating_point()
    )
    before = learner.state()

    def update(model: nn.Module, *_: Any) -> Metrics:
        with torch.no_grad():
            if where == "optimiser":
                state = learner.optimisers["adam"].state
                for parameter in model.parameters():
                    state[parameter] = {"step": torch.tensor(1.0), "exp_avg_sq": torch.full_like(parameter, value)}
            elif where == "buffer":
                buffers[buffer].fill_(value)
            else:
                next(iter(model.parameters())).view(-1)[0] = value
        return {}

    monkeypatch.setattr(type(learner.algorithm), "update", lambda _, model, *more: update(model, *more))
    if not diverges:
        learner.update(None, 0.0)  # pyright: ignore[reportArgumentType]
        assert learner.version == 1
        return
    with pytest.raises(Diverged, match=r"not finite at update 0\. The weights are still those of version 0\."):
        learner.update(None, 0.0)  # pyright: ignore[reportArgumentType]
    after = learner.state()
    assert after[1] == before[1]
    for name, array in before[0].items():
        np.testing.assert_array_equal(array, after[0][name])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_step_so_large_that_weights_overflow_is_caught(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient is finite; what it makes of the weights is not."""
    options = SMALL[algorithm] | somewhere(algorithm) | {"episodes": 2}
    experiment = configure(algorithm=algorithm, **options).experiment
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    actor, replay = Actor(experiment, seed=0), Replay(2**20)
    actor.load(learner.weights(), 0)
    trajectory = actor.collect(Assignment(iteration=0, part=0, trials=3))
    replay.append([0, 1, 2], trajectory)

    def leap() -> None:
        with torch.no_grad():
            for parameter in learner.model.parameters():
                parameter.mul_(1e38).mul_(1e38)

    if algorithm == "maml":  # its trust region makes the step
        found = {"kl": 0.0, "improvement": 0.0, "step": 1.0}
        monkeypatch.setattr("innerloop.learner.algorithms.maml.trust_region_step", lambda *_, **__: leap() or found)
    else:
        step = type(learner.optimisers["adam"]).step
        monkeypatch.setattr(type(learner.optimisers["adam"]), "step", lambda self: step(self) or leap())
    before = learner.weights()
    with pytest.raises(Diverged, match="The weights are still those of version 0"):
        learner.update(trajectory if experiment.learns_fresh else replay, 0.0)
    for name, array in learner.weights().items():
        np.testing.assert_array_equal(array, before[name])

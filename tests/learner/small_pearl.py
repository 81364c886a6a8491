"""Small experiments of PEARL for its tests."""

from collections.abc import Callable

from innerloop.learner.algorithms.latent import LatentPolicy
from innerloop.learner.algorithms.pearl import PEARL
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner

PearlOn = Callable[..., Experiment]

SMALL = {
    "latent": 3,
    "context_hidden": 6,
    "hidden": 8,
    "layers": 1,
    "context": 5,
    "tasks_per_batch": 4,
    "steps_per_task": 6,
    "warm_up": 0,
}


def parts_of(learner: Learner) -> tuple[LatentPolicy, PEARL]:
    assert isinstance(learner.model, LatentPolicy)
    assert isinstance(learner.algorithm, PEARL)
    return learner.model, learner.algorithm

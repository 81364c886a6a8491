"""Small experiments of recurrent SAC for its tests."""

from collections.abc import Callable

import numpy as np
import pytest

from innerloop.learner.algorithms.recurrent_sac import RecurrentActorCritic, RecurrentSAC
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay
from innerloop.learner.trajectory import Trajectory

RecurrentOn = Callable[..., Experiment]


SMALL = {"memory": "gru", "hidden": 8, "trials_per_batch": 4, "warm_up": 0}


every_memory = pytest.mark.parametrize("memory", ["gru", "lstm", "none"])


def parts_of(learner: Learner) -> tuple[RecurrentActorCritic, RecurrentSAC]:
    assert isinstance(learner.model, RecurrentActorCritic)
    assert isinstance(learner.algorithm, RecurrentSAC)
    return learner.model, learner.algorithm


def stored(trajectory: Trajectory, order: np.ndarray) -> Trajectory:
    """The columns of a trajectory, as they come back from replay."""
    replay = Replay(10**6)
    replay.append(range(trajectory.reward.shape[1]), trajectory)
    return replay.draw_trials(order, np.random.default_rng(0))

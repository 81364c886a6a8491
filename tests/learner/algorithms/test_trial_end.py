"""What is maximised is the return of a trial: nothing that lies behind its end takes part in an update."""

from dataclasses import replace

import numpy as np
import pytest
from off_policy import Drift, trials_of
from small import SMALL

from innerloop.envs.navigation import PointNavigation
from innerloop.learner.algorithms import ALGORITHMS
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.replay import Replay
from innerloop.learner.trajectory import Trajectory

FAMILIES = {"cut": PointNavigation(horizon=4), "ended or cut": Drift()}


def otherwise_behind(trials: Trajectory) -> Trajectory:
    """With another input, and another prediction, behind each trial's end; and what was cut, ended."""
    end = trials.trial_end
    behind = np.concatenate([np.zeros_like(end[:1]), end])
    observation = trials.observation.copy()
    observation[behind] = 7
    note = {name: np.where(behind.reshape(*behind.shape, *[1] * (array.ndim - 2)), 9, array).astype(array.dtype)
            for name, array in trials.note.items()}  # fmt: skip
    terminated, truncated = trials.terminated ^ end, trials.truncated ^ end
    return replace(trials, observation=observation, note=note, terminated=terminated, truncated=truncated)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("memory", ["lstm", "none", "transformer,layers=1,window=8"])
@pytest.mark.parametrize("name", ["rl2", "recurrent-sac"])
def test_what_lies_behind_a_trials_end_takes_no_part(name: str, memory: str, family: PointNavigation | Drift) -> None:
    algorithm = ALGORITHMS[name](**SMALL[name] | {"memory": memory, "hidden": 8})
    experiment = Experiment(
        family_name="drift", family=family, algorithm_name=name, algorithm=algorithm, episodes=2, trial_steps=0
    )
    learners = [Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1) for _ in range(2)]
    first = trials_of(experiment, learners[0])
    changed = otherwise_behind(first)
    assert (changed.observation != first.observation).any()
    replays = [Replay(2**20) for _ in learners]
    for _ in range(2):  # RL2's critic predicts nothing before its first update
        metrics = []
        for learner, trials in zip(learners, (first, changed), strict=True):
            kept = replays[len(metrics)]
            kept.append(range(8), trials)
            metrics.append(learner.update(kept if experiment.replays else trials, 0.0))
        assert metrics[0] == metrics[1]
        assert metrics[0]["gradient_norm"] > 0
    for mine, other in zip(*(learner.model.state_dict().values() for learner in learners), strict=True):
        np.testing.assert_array_equal(mine, other)

"""The batched rollout: N trials played side by side, written down as one Trajectory."""

from collections.abc import Mapping

import numpy as np

from ..envs.trials import Trials
from ..learner.api import InnerLoop
from ..learner.trajectory import Trajectory


def play(agent: InnerLoop, trials: Trials, rng: np.random.Generator, version: int = 0) -> Trajectory:
    """Play all trials to their end.

    Args:
        agent: adapts inside the trials.
        trials: not begun.
        rng: all randomness of the agent.
        version: of the agent's weights.

    Returns:
        As many steps as the longest trial took, one column per row of the trials. The agent's notes have one row more:
        what it noted at the input behind the last step, from which a truncated trial is bootstrapped.
    """
    given = trials.begin()
    n = len(given.done)
    agent.begin_trial(n, rng)
    observations, actions, rewards, terminated, truncated, valid = [given.observation], [], [], [], [], []
    privileged: list[Mapping[str, np.ndarray]] = []
    notes: list[dict[str, np.ndarray]] = []
    for _ in range(trials.steps):
        valid.append(trials.playing)
        action = agent.act(*given)
        notes.append(dict(agent.note))
        given, step = trials.step(action)
        observations.append(given.observation)
        actions.append(action)
        rewards.append(step.reward)
        privileged.append(step.privileged)
        terminated.append(step.terminated)
        truncated.append(step.truncated)
        if not trials.playing.any():
            break
    agent.act(*given)
    notes.append(dict(agent.note))
    return Trajectory(
        observation=np.stack(observations),
        action=np.stack(actions),
        reward=np.stack(rewards),
        terminated=np.stack(terminated),
        truncated=np.stack(truncated),
        valid=np.stack(valid),
        privileged={name: np.stack([each[name] for each in privileged]) for name in privileged[0]},
        measures=trials.measures.by_episode(int(trials.episode.max())),
        note={name: np.stack([note[name] for note in notes]) for name in notes[0]},
        version=version,
        diverged=trials.diverged,
    )

"""The batched rollout: N trials played side by side, written down as one Trajectory."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..envs.seeding import Random, SideBySide
from ..envs.trials import Trials
from ..learner.api import InnerLoop, begin_trial
from ..learner.contexts import last_outcome
from ..learner.trajectory import Trajectory


def play(
    agent: InnerLoop, trials: Trials, rng: Random, version: int = 0, contexts: Trajectory | None = None
) -> Trajectory:
    """Play all trials to their end.

    Args:
        agent: adapts inside the trials.
        trials: not begun.
        rng: all randomness of the agent; `SideBySide` for one that draws so.
        version: of the agent's weights.
        contexts: what is known of the tasks already, a column per row; of an agent that is `Returning`.

    Returns:
        As many steps as the longest trial took, one column per row of the trials. The agent's notes have one row more:
        its note at the input after the last step, whose action is discarded.
    """
    given = trials.begin()
    n = len(given.done)
    begin_trial(agent, n, rng, contexts)
    if contexts is not None:
        reward, done = last_outcome(contexts)
        given = given._replace(reward=reward, done=done)
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
        diverged=int(trials.diverged.sum()),
    )


def play_side_by_side(
    agent: InnerLoop, trials: Trials, rng: SideBySide, version: int = 0, contexts: Trajectory | None = None
) -> list[Trajectory]:
    """Play several parts as one batch; returns the trajectory of each, the same as if it were played alone."""
    together = play(agent, trials, rng, version, contexts)
    if len(rng.columns) == 1:
        return [together]
    return [_alone(together, columns, trials) for columns in rng.columns]


def _alone(together: Trajectory, columns: slice, trials: Trials) -> Trajectory:
    """The columns of one part, cut to its longest trial."""
    steps = int(np.flatnonzero(together.valid[:, columns].any(1))[-1]) + 1

    def own(array: np.ndarray, length: int) -> np.ndarray:
        return np.ascontiguousarray(array[:length, columns])

    def named(arrays: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
        return {name: own(array, length) for name, array in arrays.items()}

    episodes = int(trials.episode[columns].max())
    return replace(
        together,
        observation=own(together.observation, steps + 1),
        **{
            name: own(getattr(together, name), steps)
            for name in ("action", "reward", "terminated", "truncated", "valid")
        },
        privileged=named(together.privileged, steps),
        measures={name: np.ascontiguousarray(each[columns, :episodes]) for name, each in together.measures.items()},
        note=named(together.note, steps + 1),
        diverged=int(trials.diverged[columns].sum()),
    )

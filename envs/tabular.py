"""Random tabular MDPs (Duan et al. 2016, section 3.2; Osband et al. 2013).

observation  the state, Discrete(states); every episode starts in state 0
action       Discrete(actions)
reward       drawn from N(mean of the state and action, 1)
terminated   after `horizon` steps: the horizon belongs to the MDP
task         transition: float64 [N, S, A, S], each row drawn from Dirichlet(1, ..., 1)
             reward:     float64 [N, S, A], the means, drawn from N(1, 1)
privileged   reward, where the family is told to give it: minus the action's regret, Q*(s, a) - max Q*(s, .) with the
             steps left in the episode. Over an episode its expectation is the return's, less that of the best policy
             (Kakade & Langford 2002, lemma 6.1), but the noise of rewards and transitions is not in it, nor how good
             the MDP is.
"""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from .api import NOTHING, Bools, Split, Step, Tasks
from .errors import require
from .planning import action_values, known
from .seeding import Random


class TabularEnv:
    """N tabular MDPs as one batch."""

    def __init__(self, tasks: Tasks, horizon: int, rng: Random, *, regret: bool = False) -> None:
        self._gain: np.ndarray | None = None  # minus regret, [horizon, N, S, A]
        if regret:
            values = action_values(tasks["reward"], horizon, known(tasks["transition"]))
            self._gain = (values - values.max(axis=-1, keepdims=True)).astype(np.float32)
        self._cumulative = np.cumsum(tasks["transition"], axis=-1)[..., :-1]
        self._mean, self._horizon, self._rng = tasks["reward"], horizon, rng
        n = len(self._mean)
        self._row = np.arange(n)
        self._state, self._time = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._no = np.zeros(n, np.bool_)

    def reset(self, rows: Bools) -> np.ndarray:
        self._state = np.where(rows, 0, self._state)
        self._time = np.where(rows, 0, self._time)
        return self._state

    def step(self, action: np.ndarray) -> Step:
        at = (self._row, self._state, action)
        reward = self._mean[at] + self._rng.standard_normal(len(self._row))
        uniform = self._rng.random(len(self._row))
        privileged = NOTHING
        if self._gain is not None:
            privileged = {"reward": self._gain[np.minimum(self._time, self._horizon - 1), *at]}
        self._state = (uniform[:, None] >= self._cumulative[at]).sum(axis=1)
        self._time = self._time + 1
        over = self._time >= self._horizon
        return Step(self._state, reward.astype(np.float32), over, self._no, privileged=privileged)


@dataclass(frozen=True, kw_only=True)
class TabularMDP:
    """Random tabular MDPs; the module's docstring is the specification."""

    states: int = 10
    """Number of states."""
    actions: int = 5
    """Number of actions."""
    horizon: int = 10
    """Steps in an episode."""
    regret: bool = False
    """Give the outer loop minus each action's expected regret to learn from; the agent sees the reward alone."""

    side_by_side = True

    def __post_init__(self) -> None:
        for field in ("states", "actions", "horizon"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.states)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.actions)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        shape = (n, self.states, self.actions)
        return {
            "transition": rng.dirichlet(np.ones(self.states), shape),
            "reward": 1 + rng.standard_normal(shape),
        }

    def make(self, tasks: Tasks, rng: Random) -> TabularEnv:
        return TabularEnv(tasks, self.horizon, rng, regret=self.regret)

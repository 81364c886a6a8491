"""The baselines of Duan et al. 2016, section 3.2, on random tabular MDPs, N at once.

Each keeps a `ModelBelief`, makes action values of it, and plays the best action; they differ in how. The paper plans
once an episode; with `every_step`, what an episode has shown counts in that episode already. Of actions that tie,
the first is played; with `draw_ties` any of them, so that a state which comes back can be met with another.
"""

from collections.abc import Mapping

import numpy as np

from ...envs.api import Bools, Tasks
from ...envs.errors import require
from ...envs.planning import action_values, known, optimistic
from .model import ModelBelief

TIE = 1e-9
"""Values tie that differ by less: equal ones whose sums were taken in another order."""


class ModelAgent:
    """An `InnerLoop` that plans in what it believes of each MDP; `values` is what a baseline defines.

    All episodes last `horizon` steps, so that those of a batch end together.
    """

    rollouts_per_task = 1

    def __init__(self, belief: ModelBelief, horizon: int, every_step: bool = False, draw_ties: bool = False) -> None:
        """Args:
            belief: the belief to keep; it must not be shared with another agent.
            horizon: steps in an episode, at least 1.
            every_step: replan at every step, not only at the beginning of an episode.
            draw_ties: of the best actions play one that is drawn uniformly, not the first.

        Raises:
            BadInput: `horizon` is less than 1.
        """
        require(horizon >= 1, "horizon", horizon, "at least 1")
        self.note: Mapping[str, np.ndarray] = {}
        self.belief, self.horizon, self.every_step, self.draw_ties = belief, horizon, every_step, draw_ties
        self._own_rng = np.random.default_rng(0)
        self.begin_trial(0)

    def begin_trial(self, n: int, rng: np.random.Generator | None = None) -> None:
        """n new, unknown MDPs; `rng` as in `InnerLoop`, None being the agent's own, which began with seed 0."""
        self.belief.begin(n)
        self.n = n
        self.rng = self._own_rng if rng is None else rng
        self.steps = 0
        """Steps made so far in each of the trials."""
        self._row = np.arange(n)
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._time = 0

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        """Learn what the last action brought, choose the next.

        Args:
            observation: [n], the states.
            reward: [n], for the previous action; ignored at the start of the trial.
            done: bool [n], the previous action ended an episode.

        Returns:
            The actions, int64 [n].

        Raises:
            BadInput: an array is not of shape (n,), or episodes are not of `horizon` steps.
        """
        for field, array in (("observation", observation), ("reward", reward), ("done", done)):
            require(np.shape(array) == (self.n,), f"the shape of {field}", np.shape(array), f"({self.n},), one a trial")
        if self._last is not None:
            self.belief.update(*self._last, reward, observation, ~done)
            self.steps += 1
            ended = self._time + 1 == self.horizon
            require(bool((done == ended).all()), "done", done.tolist(), f"episodes of {self.horizon} steps")
            self._time = 0 if ended else self._time + 1
        if self._time == 0 or self.every_step:
            self._values, self._planned = self.values(self.horizon - self._time), self._time
        action = self.choose(self._values[self._time - self._planned][self._row, observation])
        self._last = observation.copy(), action
        return action

    def values(self, horizon: int) -> np.ndarray:
        """[horizon, n, S, A]: what actions are worth with `horizon` steps left, and with fewer; see `action_values`."""
        raise NotImplementedError

    def choose(self, values: np.ndarray) -> np.ndarray:
        """The actions, int64 [n], from what each is worth, [n, A]."""
        if not self.draw_ties:
            return values.argmax(axis=1)
        best = values >= values.max(axis=1, keepdims=True) - TIE
        return np.where(best, self.rng.random(values.shape), -1).argmax(axis=1)


class MDPGreedy(ModelAgent):
    """Believe the expected MDP."""

    def values(self, horizon: int) -> np.ndarray:
        return action_values(self.belief.reward, horizon, known(self.belief.transition))


class MDPEpsilonGreedy(MDPGreedy):
    """Play a uniformly drawn action with probability epsilon, and what `MDPGreedy` plays otherwise."""

    def __init__(self, belief: ModelBelief, horizon: int, *, epsilon: float | np.ndarray, **options: bool) -> None:
        """Args:
            belief: the belief to keep.
            horizon: steps in an episode.
            epsilon: probability in [0, 1]; one number, or [n], one for each trial.
            options: as `ModelAgent` has them.

        Raises:
            BadInput: `epsilon` is no probability.
        """
        require(bool(np.all((np.asarray(epsilon) >= 0) & (np.asarray(epsilon) <= 1))), "epsilon", epsilon, "0 to 1")
        super().__init__(belief, horizon, **options)
        self.epsilon = epsilon

    def choose(self, values: np.ndarray) -> np.ndarray:
        explore = self.rng.random(self.n) < self.epsilon
        return np.where(explore, self.rng.integers(self.belief.actions, size=self.n), super().choose(values))


class PSRL(ModelAgent):
    """Draw an MDP from the posterior, and believe it for an episode (Strens 2000; Osband et al. 2013)."""

    def values(self, horizon: int) -> np.ndarray:
        transition, reward = self.belief.draw(self.rng)
        return action_values(reward, horizon, known(transition))


class OPSRL(ModelAgent):
    """Draw several MDPs, and believe for each action the one in which it is worth most (Osband & Van Roy 2017)."""

    def __init__(self, belief: ModelBelief, horizon: int, samples: int = 5) -> None:
        """Args:
            belief: the belief to keep.
            horizon: steps in an episode.
            samples: draws an episode, at least 1; 1 is PSRL.

        Raises:
            BadInput: `samples` is less than 1.
        """
        require(samples >= 1, "samples", samples, "at least 1")
        super().__init__(belief, horizon)
        self.samples = samples

    def values(self, horizon: int) -> np.ndarray:
        best = np.full((horizon, self.n, self.belief.states, self.belief.actions), -np.inf)
        for _ in range(self.samples):
            transition, reward = self.belief.draw(self.rng)
            np.maximum(best, action_values(reward, horizon, known(transition)), out=best)
        return best


class _Scaled(ModelAgent):
    """An agent whose optimism has a scale."""

    def __init__(self, belief: ModelBelief, horizon: int, *, c: float | np.ndarray, **options: bool) -> None:
        """Args:
            belief: the belief to keep.
            horizon: steps in an episode.
            c: scale of the optimism, at least 0; one number, or [n], one for each trial.
            options: as `ModelAgent` has them.

        Raises:
            BadInput: `c` is negative or not finite.
        """
        require(bool(np.all((np.asarray(c) >= 0) & np.isfinite(c))), "c", c, "a finite number of at least 0")
        super().__init__(belief, horizon, **options)
        self.c = np.asarray(c, np.float64).reshape(-1, 1, 1)  # [1 or n, 1, 1]


class BEB(_Scaled):
    """Believe the expected MDP, with c / (1 + visits) added to every reward (Kolter & Ng 2009)."""

    def values(self, horizon: int) -> np.ndarray:
        reward = self.belief.reward + self.c / self.belief.precision
        return action_values(reward, horizon, known(self.belief.transition))


class UCRL2(_Scaled):
    """Believe the best of all MDPs that are not too far from the expected one (Jaksch et al. 2010).

    How far is their equations 3 and 4 at confidence .95, times c, the prior counting as one visit: rewards within
    c sqrt(7 ln(2 S A t / delta) / (2 m)), transitions within c sqrt(14 S ln(2 A t / delta) / m) of L1 distance.
    """

    def values(self, horizon: int) -> np.ndarray:
        belief, confidence = self.belief, 2 * self.belief.actions * (self.steps + 1) / 0.05
        scale = self.c / np.sqrt(belief.precision)
        reward = belief.reward + scale * np.sqrt(3.5 * np.log(belief.states * confidence))
        radius = scale * np.sqrt(14 * belief.states * np.log(confidence))
        return action_values(reward, horizon, optimistic(belief.transition, radius))


class KnownMDP(ModelAgent):
    """The optimum of an agent that is told the MDP: no learner can do better on average."""

    def __init__(self, states: int, actions: int, horizon: int) -> None:
        super().__init__(ModelBelief(states, actions, 0.0), horizon)
        self._told: Tasks = {}

    def inform(self, tasks: Tasks) -> None:
        """Take the MDPs of the trial that begins next."""
        self._told = tasks

    def values(self, horizon: int) -> np.ndarray:
        return action_values(self._told["reward"], horizon, known(self._told["transition"]))

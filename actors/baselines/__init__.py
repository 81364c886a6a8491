"""Agents that were written rather than learned: what a learned inner loop is measured against.

Each is an `InnerLoop`, so a baseline is evaluated by the code that evaluates a trained model. The names of most are
those of Duan et al. 2016, table 1. A new baseline is one class and one line in BASELINES.
"""

from collections.abc import Callable

import numpy as np

from ...envs.api import TaskFamily
from ...envs.bandit import BernoulliBandit
from ...envs.errors import require
from ...envs.tabular import TabularMDP
from ...learner.api import InnerLoop
from . import mdp
from .bandit import OTS, UCB1, EpsilonGreedy, Gittins, Greedy, Thompson
from .bayes import LONGEST, BayesOptimal
from .model import ModelBelief
from .neighbour import nearest_neighbour
from .posterior import BetaPosterior, Posterior, posterior
from .tuning import tuned
from .uniform import Random

Make = Callable[[TaskFamily, int], InnerLoop | None]
"""The agent for a family and a number of episodes in a trial; None where it does not apply."""

LARGEST = 5_000
"""Numbers in the transitions of a tabular MDP up to which there are baselines: 2,000 MDPs are planned in at once."""


def _on_bandits(make: Callable[[Posterior], InnerLoop]) -> Make:
    def made(family: TaskFamily, episodes: int) -> InnerLoop | None:
        belief = posterior(family)
        return None if belief is None else make(belief)

    return made


def _ucb1(family: TaskFamily, episodes: int) -> InnerLoop | None:
    belief = posterior(family)
    return None if belief is None else UCB1(belief, tuned(lambda c: UCB1(belief, c), family, belief.arms, episodes))


def _epsilon_greedy(family: TaskFamily, episodes: int) -> InnerLoop | None:
    belief = posterior(family)
    if belief is None:
        return None
    epsilon = tuned(lambda epsilon: EpsilonGreedy(belief, epsilon), family, belief.arms, episodes)
    return EpsilonGreedy(belief, epsilon)


def _gittins(family: TaskFamily, episodes: int) -> InnerLoop | None:
    belief = posterior(family)
    return Gittins(belief) if isinstance(belief, BetaPosterior) else None


def _bayes_optimal(family: TaskFamily, episodes: int) -> InnerLoop | None:
    if not isinstance(family, BernoulliBandit) or episodes > LONGEST:
        return None
    return BayesOptimal(family.arms, episodes)


def _tabular(family: TaskFamily) -> TabularMDP | None:
    """The family, if it is one of tabular MDPs that are not too large."""
    return family if isinstance(family, TabularMDP) and family.states**2 * family.actions <= LARGEST else None


def _on_mdps(make: Callable[[ModelBelief, int], InnerLoop], reward_mean: float) -> Make:
    """Of a belief and the horizon."""

    def made(family: TaskFamily, episodes: int) -> InnerLoop | None:
        mdps = _tabular(family)
        return None if mdps is None else make(ModelBelief(mdps.states, mdps.actions, reward_mean), mdps.horizon)

    return made


def _tuned_on_mdps(
    make: Callable[[ModelBelief, int, np.ndarray | float], InnerLoop], reward_mean: float, grid: np.ndarray
) -> Make:
    """The same with a constant."""

    def made(family: TaskFamily, episodes: int) -> InnerLoop | None:
        mdps = _tabular(family)
        if mdps is None:
            return None

        def agent(value: np.ndarray | float) -> InnerLoop:
            return make(ModelBelief(mdps.states, mdps.actions, reward_mean), mdps.horizon, value)

        return agent(tuned(agent, family, mdps.states**2 * mdps.actions, episodes, grid))

    return made


def _first(*makers: Make) -> Make:
    """By the first of the makers that applies: an algorithm of one name on several kinds of families."""
    return lambda family, episodes: next(filter(None, (make(family, episodes) for make in makers)), None)


EPSILON, BONUS, CONFIDENCE = np.arange(11) / 50, np.arange(13) / 4, np.arange(9) / 25
"""The values tried of the constants of e-greedy, BEB and UCRL2 on tabular MDPs."""

BEST = {"every_step": True, "draw_ties": True}
"""With them, agents that believe the expected MDP return the most (benchmarks/results/rl2-mdps)."""

BASELINES: dict[str, Make] = {
    "Random": lambda family, episodes: Random(family.action_space),
    "Gittins": _gittins,
    "Thompson": _on_bandits(Thompson),
    "OTS": _on_bandits(OTS),
    "UCB1": _ucb1,
    "PSRL": _on_mdps(mdp.PSRL, 0),
    "OPSRL": _on_mdps(mdp.OPSRL, 0),
    "UCRL2": _tuned_on_mdps(lambda b, h, c: mdp.UCRL2(b, h, c=c), 0, CONFIDENCE),
    "BEB": _tuned_on_mdps(lambda b, h, c: mdp.BEB(b, h, c=c), 0, BONUS),
    "e-greedy": _first(
        _epsilon_greedy, _tuned_on_mdps(lambda b, h, e: mdp.MDPEpsilonGreedy(b, h, epsilon=e), 0, EPSILON)
    ),
    "Greedy": _first(_on_bandits(Greedy), _on_mdps(lambda b, h: mdp.MDPGreedy(b, h, draw_ties=True), 0)),
    "Bayes-optimal": _bayes_optimal,
    "PSRL, true prior": _on_mdps(mdp.PSRL, 1),
    "OPSRL, true prior": _on_mdps(mdp.OPSRL, 1),
    "UCRL2, true prior": _tuned_on_mdps(lambda b, h, c: mdp.UCRL2(b, h, c=c, draw_ties=True), 1, CONFIDENCE),
    "BEB, true prior": _tuned_on_mdps(lambda b, h, c: mdp.BEB(b, h, c=c, **BEST), 1, BONUS),
    "e-greedy, true prior": _tuned_on_mdps(lambda b, h, e: mdp.MDPEpsilonGreedy(b, h, epsilon=e, **BEST), 1, EPSILON),
    "Greedy, true prior": _on_mdps(lambda b, h: mdp.MDPGreedy(b, h, **BEST), 1),
    "Known MDP": _on_mdps(lambda b, h: mdp.KnownMDP(b.states, b.actions, h), 1),
    "Nearest neighbour": lambda family, episodes: nearest_neighbour(family),
}
"""Display name to maker, in the order of the paper's tables.

On tabular MDPs those without a remark are the paper's: mean rewards N(0, 1) beforehand, planning once an episode, the
first of the actions that tie, but for Greedy, whose figures are nearest with any of them (at 10 and 25 episodes 137 and
365, the paper's being 135 and 369; with the first 130 and 345). With the true prior, N(1, 1), all draw among ties, and
those that believe the expected MDP plan at every step: the strongest that we know.
"""


def baselines(family: TaskFamily, episodes: int) -> dict[str, InnerLoop]:
    """All baselines that apply, by display name; the constants that some have are
    tuned on training tasks first.

    Args:
        family: what they will play.
        episodes: episodes in a trial, at least 1.

    Raises:
        BadInput: `episodes` is less than 1, or the family's actions are neither `Discrete` nor `Box`.
    """
    require(episodes >= 1, "episodes", episodes, "at least 1")
    made = {name: make(family, episodes) for name, make in BASELINES.items()}
    return {name: agent for name, agent in made.items() if agent is not None}

"""Agents that were written rather than learned: what a learned inner loop is measured against.

Each is an `InnerLoop`, so a baseline is evaluated by the code that evaluates a trained model. The names are those of
Duan et al. 2016, table 1. A new baseline is one class and one line in BASELINES.
"""

from collections.abc import Callable

from ...envs.api import TaskFamily
from ...envs.bandit import BernoulliBandit
from ...envs.errors import require
from ...learner.api import InnerLoop
from .bandit import OTS, UCB1, EpsilonGreedy, Gittins, Greedy, Thompson
from .bayes import LONGEST, BayesOptimal
from .posterior import BetaPosterior, Posterior, posterior
from .tuning import tuned
from .uniform import Random

Make = Callable[[TaskFamily, int], InnerLoop | None]
"""The agent for a family and a number of episodes in a trial; None where it does not apply."""


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


BASELINES: dict[str, Make] = {
    "Random": lambda family, episodes: Random(family.action_space),
    "Gittins": _gittins,
    "Thompson": _on_bandits(Thompson),
    "OTS": _on_bandits(OTS),
    "UCB1": _ucb1,
    "e-greedy": _epsilon_greedy,
    "Greedy": _on_bandits(Greedy),
    "Bayes-optimal": _bayes_optimal,
}
"""Display name to maker, in the order of the paper's tables."""


def baselines(family: TaskFamily, episodes: int) -> dict[str, InnerLoop]:
    """All baselines that apply, by display name; UCB1's and e-greedy's constants are tuned on training tasks first.

    Args:
        family: what they will play.
        episodes: episodes in a trial, at least 1.

    Raises:
        BadInput: `episodes` is less than 1, or the family's actions are neither `Discrete` nor `Box`.
    """
    require(episodes >= 1, "episodes", episodes, "at least 1")
    made = {name: make(family, episodes) for name, make in BASELINES.items()}
    return {name: agent for name, agent in made.items() if agent is not None}

"""What is learned and how: a family, an algorithm, the length of a trial. From names and options, and back to JSON."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import gymnasium

from ..envs.api import TaskFamily
from ..envs.errors import BadInput, ask, require
from ..envs.families import FAMILIES
from .algorithms import ALGORITHMS
from .answers import Silent
from .api import Algorithm, Consumes, InnerLoop, LearnsFromAnswers, Problem, Recall, Recalling
from .options import check_parts, check_type, construct, options_of

LONGEST_TRIAL = 10**8
"""Steps."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that an agent must know to be built again; saved with every checkpoint."""

    family_name: str
    """A name in `envs.FAMILIES`, or package.module:attribute."""
    family: TaskFamily
    algorithm_name: str
    """A name in `learner.ALGORITHMS`, or package.module:attribute."""
    algorithm: Algorithm
    episodes: int
    """Episodes in a trial, unless it is counted in steps."""
    trial_steps: int = 0
    """Steps of a trial: episodes follow each other until they are used up. 0 for `episodes`."""

    def __post_init__(self) -> None:
        require(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        for kind, name, thing in (
            ("family", self.family_name, self.family),
            ("algorithm", self.algorithm_name, self.algorithm),
        ):
            check_parts(kind, name, thing)
        consumes = self.algorithm.consumes
        require(consumes in get_args(Consumes), "what the algorithm consumes", consumes, "fresh, replay or both")
        for field in ("observation_space", "action_space"):
            space = getattr(self.family, field)
            require(isinstance(space, gymnasium.Space), f"{field} of the family", space, "a gymnasium.Space")
        try:
            horizon = operator.index(self.family.horizon)
        except TypeError:
            horizon = 0
        require(horizon >= 1, "horizon of the family", self.family.horizon, "a whole number of at least 1")
        require(self.trial_steps >= 0, "trial_steps", self.trial_steps, "at least 0")
        counted = "trial_steps" if self.trial_steps else "episodes"
        steps = self.trial_steps or self.episodes * horizon
        require(steps <= LONGEST_TRIAL, counted, getattr(self, counted), f"trials of at most {LONGEST_TRIAL:,} steps")
        by_gradient = getattr(self.algorithm, "rollouts", 1) > 1
        expected = f"0 with {self.algorithm_name}, whose inner steps come between whole episodes"
        require(not (self.trial_steps and by_gradient), "trial_steps", self.trial_steps, expected)
        if self.from_answers and not getattr(self.family, "answers", False):
            raise BadInput(
                f"family is {self.family_name!r}; expected one that gives the right answers, from which "
                f"{self.algorithm_name} learns, such as sinusoid or strokes."
            )
        share, context_steps = self.recall
        check_type("the share of trials that begin from a context", share, 0.0)
        require(0 <= share <= 1, "the share of trials that begin from a context", share, "a number in [0, 1]")
        check_type("the steps of a context", context_steps, 1)
        require(context_steps >= 1, "the steps of a context", context_steps, "at least 1")

    @property
    def problem(self) -> Problem:
        """What the model is built from."""
        family = self.family
        return Problem(family.observation_space, family.action_space, self.episodes, family.horizon, self.trial_steps)

    @property
    def learns_fresh(self) -> bool:
        """The algorithm consumes fresh trajectories."""
        return self.algorithm.consumes != "replay"

    @property
    def replays(self) -> bool:
        """The algorithm consumes replay."""
        return self.algorithm.consumes != "fresh"

    @property
    def from_answers(self) -> bool:
        """The algorithm learns from the right answers: it makes no difference what is answered in training."""
        return isinstance(self.algorithm, LearnsFromAnswers) and bool(self.algorithm.learns_from_answers)

    def player(self, agent: InnerLoop) -> InnerLoop:
        """Who plays what is learned from: the algorithm's agent, or nobody, where its actions make no difference."""
        return Silent(self.problem, agent.rollouts_per_task) if self.from_answers else agent

    @property
    def recall(self) -> Recall:
        """Which trials begin from the context of their task; none where the algorithm does not say.

        Raises:
            BadInput: what it says is no `Recall`.
            EnvironmentRaised: its own code raised.
        """
        if not (self.replays and isinstance(self.algorithm, Recalling)):
            return Recall(0.0, 1)
        said = ask(self.algorithm_name, "recall", self.algorithm.recall, self.problem)
        require(isinstance(said, Recall), f"what recall of {self.algorithm_name} returns", said, "a Recall")
        return said

    def to_json(self) -> dict[str, Any]:
        """Names and options, as plain values."""
        return {
            "family": {"name": self.family_name} | options_of(self.family),
            "algorithm": {"name": self.algorithm_name} | options_of(self.algorithm),
            "episodes": self.episodes,
            "trial_steps": self.trial_steps,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Experiment":
        """The inverse of `to_json`; keys beside its own are left alone.

        Raises:
            BadInput: a name or an option that is not known, or a value that is out of range.
        """
        try:
            family, algorithm, episodes = dict(data["family"]), dict(data["algorithm"]), data["episodes"]
            names = family.pop("name"), algorithm.pop("name")
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"the saved configuration lacks {error}; expected family, algorithm and episodes."
            ) from error
        trial_steps = data.get("trial_steps", 0)
        check_type("episodes", episodes, 10)
        check_type("trial_steps", trial_steps, 0)
        for kind, name in zip(("family", "algorithm"), names, strict=True):
            check_type(f"the name of the {kind}", name, "")
        return cls(
            family_name=names[0],
            family=construct("family", names[0], FAMILIES, family),
            algorithm_name=names[1],
            algorithm=construct("algorithm", names[1], ALGORITHMS, algorithm),
            episodes=episodes,
            trial_steps=trial_steps,
        )

"""A trained adaptive agent, usable without Ray or the trainer.

    agent = Agent.load("runs/first")
    agent.begin_trial(n=1)                       # one new, unknown task
    action = agent.act(observation, reward, done)  # once per step; it adapts from what it sees

An episode that ends does not end the trial: show the agent the reward and done = True together with the next episode's
first observation, and it goes on with what it has learned.
"""

import dataclasses
import json
from typing import Any

import fsspec
import numpy as np

from ..envs.api import Bools
from ..envs.boundary import parse_rows
from ..envs.errors import BadInput, require
from ..learner.api import InnerLoop
from ..learner.checkpoint import Checkpoint, Checkpoints
from ..learner.experiment import Experiment
from ..learner.learner import load_weights, weights_of


class Agent:
    """An inner loop with its input checked: what is not a batch of n of the family's observations is refused."""

    def __init__(self, experiment: Experiment, inner_loop: InnerLoop) -> None:
        self.experiment = experiment
        self._inner_loop = inner_loop
        self._rows = 0
        self.skipped: list[str] = []
        """Newer checkpoints that could not be used, and why."""

    @classmethod
    def load(cls, run: str, *, greedy: bool = False, episodes: int = 0) -> "Agent":
        """The agent of a run's newest whole checkpoint.

        Args:
            run: the run's directory, or the place (path or fsspec URL) of its checkpoints.
            greedy: take the most probable action instead of drawing one.
            episodes: of a trial, during which it adapts; 0 for as many as in training.

        Raises:
            BadInput: no checkpoint there, or none that is whole and fits its own configuration.
        """
        checkpoint = find_checkpoint(run)
        experiment = Experiment.from_json(checkpoint.config)
        # Built as it was trained: how far a memory reaches may depend on how long a trial was.
        model = experiment.algorithm.build(experiment.problem).requires_grad_(False)
        experiment = dataclasses.replace(experiment, episodes=episodes or experiment.episodes)
        load_weights(model, weights_of(checkpoint.arrays))
        agent = cls(experiment, experiment.algorithm.inner_loop(model, experiment.problem, greedy))
        agent.skipped = checkpoint.skipped
        return agent

    @property
    def width(self) -> int:
        """Rows that play one task side by side: 1 for an agent that adapts by memory (see `learner.api.InnerLoop`)."""
        return self._inner_loop.width

    @property
    def note(self) -> dict[str, np.ndarray]:
        """What the last `act` noted of itself (for RL²: draw, log_prob, value), name to [n, ...]."""
        return dict(self._inner_loop.note)

    def begin_trial(self, n: int, rng: np.random.Generator | None = None) -> None:
        """Forget everything: new, unknown tasks.

        Args:
            n: rows side by side, at least 1; a multiple of `width`, the rows of one task next to each other.
            rng: where given, the source of all randomness from now on.
        """
        require(n >= 1, "n", n, "at least 1")
        require(n % self.width == 0, "n", n, f"a multiple of {self.width}, the rollouts that one adaptation needs")
        self._rows = n
        self._inner_loop.begin_trial(n, rng)

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        """Choose the next action of every row, having seen what the last one brought.

        Args:
            observation: [n, ...], of the episodes now running.
            reward: [n], for the previous actions; 0 at the start of the trial.
            done: bool [n], the previous action ended an episode; False at the start of the trial.

        Returns:
            [n, ...], members of the action space.

        Raises:
            BadInput: no trial has begun, or an array is not one row per trial.
        """
        require(self._rows > 0, "the number of trials", 0, "begin_trial(n) before act")
        n = self._rows
        # Copies, both ways: the caller may write over what it gives, and an environment change its action in place.
        observation = parse_rows("the observation", observation, self.experiment.problem.observation_space, n)
        reward, done = np.array(reward, np.float32), np.array(done, np.bool_)
        for field, array in (("reward", reward), ("done", done)):
            require(array.shape == (n,), f"the shape of {field}", array.shape, f"({n},), one per trial")
        require(bool(np.isfinite(reward).all()), "reward", reward.tolist(), "finite numbers")
        return self._inner_loop.act(observation, reward, done).copy()


def find_checkpoint(run: str) -> Checkpoint:
    """The newest whole checkpoint of a run, given its directory or the place of its checkpoints.

    Raises:
        BadInput: there is none.
    """
    return Checkpoints(checkpoint_place(run)).newest()


def checkpoint_place(run: str) -> str:
    """Where a run's checkpoints are: what its config.json says, else `run` itself."""
    file = f"{run.rstrip('/')}/config.json"
    try:
        fs, path = fsspec.core.url_to_fs(file)
        config: dict[str, Any] = json.loads(fs.cat_file(path))
        return config.get("run", {}).get("checkpoints") or f"{run.rstrip('/')}/checkpoints"
    except FileNotFoundError:
        return run
    except (ValueError, ImportError, AttributeError, OSError) as error:
        raise BadInput(f"{file!r} cannot be read ({error}); expected the configuration of a run.") from error

"""A trained adaptive agent, usable without Ray or the trainer.

    agent = Agent.load("runs/first")
    agent.begin_trial(n=1)                       # one new, unknown task
    action = agent.act(observation, reward, done)  # once per step; it adapts from what it sees

The end of an episode is not the end of the trial: pass the agent the reward and done = True together with the first
observation of the next episode, and it continues with what it has learned.

To come back to a task later, keep what the agent has seen of it:

    agent.begin_trial(n=1, record=True)
    ...
    seen = agent.contexts()                        # once the outcome of the last action has been passed to `act`
    agent.begin_trial(n=1, contexts=seen)          # it goes on as if it had never stopped
"""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from ..envs.api import Bools
from ..envs.boundary import parse_rows
from ..envs.errors import BadInput, require
from ..envs.registry import reading_saved
from ..learner.api import InnerLoop, Returning, begin_trial
from ..learner.best import parse_best
from ..learner.checkpoint import Checkpoint, Checkpoints
from ..learner.contexts import Contexts, join, last_outcome, parse_contexts
from ..learner.experiment import Experiment
from ..learner.files import parse, read
from ..learner.learner import load_weights, weights_of
from ..learner.model import build
from ..learner.places import Place, resolve_place
from ..learner.trajectory import Trajectory
from .recording import Recording


class Agent:
    """An inner loop that checks its inputs: anything but a batch of n observations of the family is refused."""

    def __init__(self, experiment: Experiment, inner_loop: InnerLoop) -> None:
        self.experiment = experiment
        self._inner_loop = inner_loop
        self._rows = 0
        self._resumed: Trajectory | None = None
        """What a trial that has just begun began from."""
        self._recording: Recording | None = None
        self.skipped: list[str] = []
        """Newer checkpoints that could not be used, and why."""

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        which: str = "last",
        greedy: bool = False,
        episodes: int = 0,
        family: Mapping[str, Any] | None = None,
        algorithm: Mapping[str, Any] | None = None,
        trust_plugins: bool | Collection[str] = False,
    ) -> "Agent":
        """The agent of a run's newest whole checkpoint, or of the one that did best on held-out tasks.

        Args:
            run: the run's directory, or the place (path or fsspec URL) of its checkpoints.
            which: last or best. Where a family has a finite set of test tasks, what the best one does on them is
                flattered by the choice.
            greedy: take the most probable action instead of drawing one.
            episodes: of a trial, during which it adapts; 0 for as many as in training. A trial that was counted in
                steps stays so.
            family: options of the family that differ from those of training: tasks from outside its distribution, or
                trials of another shape. The observations and actions must still be those that the model reads.
            algorithm: options of the algorithm that differ, of which the model does not depend on, such as
                `evaluation_steps`.
            trust_plugins: whether plug-ins that the run names may be imported, which runs their code; or the names of
                those that may.

        Raises:
            BadInput: no checkpoint there, or none that is whole and fits its own configuration; or it names a plug-in
                that is not trusted.
        """
        require(episodes >= 0, "episodes", episodes, "at least 0")
        require(which in ("last", "best"), "checkpoint", which, "last or best")
        found = locate(run)
        checkpoint = found.checkpoints().newest()
        if which == "best":
            checkpoint = _best(found, checkpoint)
        with reading_saved(found.directory, trust_plugins):
            experiment = trained = Experiment.from_json(checkpoint.config)
            for kind, options in (("family", family or {}), ("algorithm", algorithm or {})):
                require("name" not in options, kind, options, f"options of the run's own {kind}")
                changed = {kind: {**experiment.to_json()[kind], **options}}
                experiment = Experiment.from_json(experiment.to_json() | changed) if options else experiment
            weights = weights_of(checkpoint.arrays)
            # Built as it was trained: how far a memory reaches may depend on how long a trial was.
            spaces = {name: getattr(experiment.problem, name) for name in ("observation_space", "action_space")}
            model = build(experiment.algorithm, trained.problem._replace(**spaces), weights).requires_grad_(False)
        counted = "0: trials of this run are counted in steps"
        require(not (episodes and experiment.trial_steps), "episodes", episodes, counted)
        experiment = dataclasses.replace(experiment, episodes=episodes or experiment.episodes)
        load_weights(model, weights)
        agent = cls(experiment, experiment.algorithm.inner_loop(model, experiment.problem, greedy))
        agent.skipped = checkpoint.skipped
        return agent

    @property
    def rollouts_per_task(self) -> int:
        """Rows that play the same task: 1 for an agent that adapts by memory (see `learner.api.InnerLoop`)."""
        return self._inner_loop.rollouts_per_task

    @property
    def note(self) -> dict[str, np.ndarray]:
        """What the last `act` noted of itself (for RL²: draw, log_prob, value), name to [n, ...]."""
        return dict(self._inner_loop.note)

    def begin_trial(
        self,
        n: int,
        rng: np.random.Generator | None = None,
        *,
        contexts: Contexts | None = None,
        record: bool = False,
    ) -> None:
        """Forget everything: new tasks, unknown ones or some that the agent is told what it has seen of.

        Args:
            n: rows played at once, at least 1; a multiple of `rollouts_per_task`, with the rows of one task adjacent.
            rng: where given, the source of all randomness from now on.
            contexts: of each task what was seen of it, from `contexts` or from the `contexts` of a store's replay, or
                None where it is unknown. The trial then begins with a new episode of these tasks, and the agent is
                where it would be had it never stopped.
            record: keep what is seen, in this process's memory, for `contexts`.

        Raises:
            BadInput: n or the contexts are others than that, or the algorithm's agent cannot be handed contexts.
        """
        require(n >= 1, "n", n, "at least 1")
        require(
            n % self.rollouts_per_task == 0,
            "n",
            n,
            f"a multiple of {self.rollouts_per_task}, the rollouts that one adaptation needs",
        )
        inner, tasks, width = self._inner_loop, n // self.rollouts_per_task, self.rollouts_per_task
        known: Contexts = [None] * tasks
        notes = inner.remembers if isinstance(inner, Returning) else ()
        if contexts is not None:
            name = self.experiment.algorithm_name
            require(isinstance(inner, Returning), "algorithm", name, "one whose agents can be handed contexts")
            known = parse_contexts(contexts, tasks, width, self.experiment.problem, notes)
        resumed = join(known, [width] * tasks)
        begin_trial(inner, n, rng, resumed)
        self._rows, self._resumed = n, resumed
        self._recording = Recording(known, width, notes) if record else None

    def contexts(self) -> list[Trajectory | None]:
        """What has been seen of each task, with what the trial began from: steps whose outcome has been passed to
        `act`. None where nothing is known.

        Raises:
            BadInput: the trial was not begun with `record`.
        """
        if self._recording is None:
            raise BadInput("record is False; expected begin_trial(n, record=True) before contexts.")
        return self._recording.contexts()

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        """Choose the next action of every row, given the outcome of the previous one.

        Args:
            observation: [n, ...], of the episodes now running.
            reward: [n], for the previous actions; 0 at the start of the trial.
            done: bool [n], the previous action ended an episode; False at the start of the trial (of one that begins
                from contexts, too: the agent knows what came before).

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
        given = reward, done
        if self._resumed is not None:
            given, self._resumed = last_outcome(self._resumed), None
        action = self._inner_loop.act(observation, *given).copy()
        if self._recording is not None:
            self._recording.add(observation, reward, done, action.copy(), dict(self._inner_loop.note))
        return action


class _Where(TypedDict, total=False):
    """What a run's configuration says of its checkpoints."""

    checkpoints: str


class _Saved(TypedDict, total=False):
    """A run's configuration, as far as it is needed to find its checkpoints."""

    id: str
    run: _Where


_SAVED = TypeAdapter(_Saved)


class Located(NamedTuple):
    """Where the checkpoints of a run are."""

    place: Place
    run: str | None
    """The id of the run; None where only the place is known."""
    directory: Path | None
    """Of the run, where it is a local one."""

    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.place, run=self.run)


def locate(run: str | Path) -> Located:
    """The checkpoints of a run, given its directory or their place: where its config.json says, else `run` itself.

    Raises:
        BadInput: it cannot be a place, or its config.json cannot be read.
    """
    given = resolve_place("run", run)
    file = f"{given.root.rstrip('/')}/config.json"
    try:
        data = read(file, repr(f"{given.shown.rstrip('/')}/config.json"), "the configuration of a run", fs=given.fs)
    except FileNotFoundError:
        local = Path(given.root)
        inside = local.parent if local.name == "checkpoints" else local
        return Located(given, None, inside if given.local else None)
    config = parse(_SAVED, data, repr(f"{given.shown.rstrip('/')}/config.json"), "the configuration of a run")
    elsewhere = config.get("run", {}).get("checkpoints", "")
    place = resolve_place("checkpoints", elsewhere or f"{given.url.rstrip('/')}/checkpoints")
    if not elsewhere:
        place = place._replace(shown=f"{given.shown.rstrip('/')}/checkpoints")
    return Located(place, config.get("id", ""), Path(given.root) if given.local else None)


def _best(found: Located, newest: Checkpoint) -> Checkpoint:
    """Of a run's checkpoints, given the newest."""
    version = int(newest.numbers["version"])
    best = parse_best(newest.arrays, version)
    if best is None:
        raise BadInput("checkpoint is 'best'; expected last: the run was not evaluated while it trained.")
    if best.iteration == version:
        return newest
    return found.checkpoints().at(best.iteration)._replace(skipped=newest.skipped)


def find_checkpoint(run: str | Path) -> Checkpoint:
    """The newest whole checkpoint of a run, given its directory or the place of its checkpoints.

    Raises:
        BadInput: there is none.
    """
    return locate(run).checkpoints().newest()

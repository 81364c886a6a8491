"""What a run will hold at once, compared with this machine's memory before anything is allocated."""

import math

from ..envs.errors import BadInput
from ..envs.families import FAMILIES
from ..envs.seeding import streams
from ..envs.spaces import layout_of
from ..learner.model import check_model, refuse_beyond_memory
from .config import MEGABYTE, Config

FLAGS = 7
"""Bytes of a step's reward and flags."""


def refuse_too_large(config: Config) -> None:
    """Refuse a run whose model, tasks, trajectories or replay cannot be held.

    Raises:
        BadInput: naming the option.
    """
    run, experiment = config.run, config.experiment
    check_model(experiment.algorithm, experiment.problem)
    family, problem = experiment.family, experiment.problem
    # On one machine actors hold all of an iteration between them; elsewhere a part is the least that one holds.
    share = run.trials if run.address == "local" else math.ceil(run.trials / run.part_count)
    together = run.trials if experiment.learns_fresh else share
    width = getattr(experiment.algorithm, "rollouts", 1)
    step = layout_of(problem.observation_space).nbytes + layout_of(problem.action_space).nbytes + FLAGS
    refuse_beyond_memory(f"trials is {run.trials}: what an iteration plays", together * width * problem.steps * step)
    if experiment.family_name in FAMILIES:  # what a plug-in's own code makes of a task, actors find out
        try:
            drawn = family.sample(streams(0, "train").tasks, 1, "train")
        except MemoryError as error:
            fault = f"a single task of family {experiment.family_name!r} does not fit into memory ({error})"
            raise BadInput(f"{fault}; expected a smaller one.") from error
        task = sum(array.nbytes for array in drawn.values())
        refuse_beyond_memory(f"trials is {run.trials}: their tasks", share * width * task)
        refuse_beyond_memory(f"tasks is {run.tasks}: they", run.tasks * (task + 16))
    if experiment.replays and (run.address == "local" or run.store != "ray"):
        refuse_beyond_memory(f"replay_mb is {run.replay_mb}: the replay", run.replay_mb * MEGABYTE)

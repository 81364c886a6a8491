"""What an actor of the pool does in its own process."""

import os
import sys
import sysconfig
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from ...actors.actor import Actor
from ...actors.assignment import Assignment
from ...envs.errors import BadInput, EnvironmentRaised, describe, origin
from ...learner.trajectory import Trajectory
from ..source import deployed
from ..store.api import Summary, summarise

ANSWER = 2**20
"""Bytes of a trajectory from which it goes through the object store in any case."""


class Failed(Exception):
    """Code that an actor ran has raised; whatever that was, this travels to the driver."""

    def __init__(self, reason: str, details: str) -> None:
        """Args:
        reason: what was raised and where, in one sentence without its full stop.
        details: the traceback.
        """
        super().__init__(reason, details)
        self.reason, self.details = reason, details


@contextmanager
def one_sentence() -> Iterator[None]:
    """What is raised inside becomes `Failed`, an exit too; `BadInput` stays what it is."""
    try:
        yield
    except BadInput:
        raise
    except BaseException as error:
        if hasattr(error, "ray_terminate_msg"):  # Ray ends this process
            raise
        known = isinstance(error, EnvironmentRaised)
        reason = str(error).rstrip(".") if known else f"{describe(error)}, at {origin(error)}"
        raise Failed(reason, "".join(traceback.format_exception(error))) from None


class Remote:
    """The Ray side of an `Actor`: loads the weights of the call, if it does not have them, and plays."""

    def __init__(self, version: str, arguments: list[ray.ObjectRef]) -> None:
        """Args:
        version: see `deployed`; of the driver's innerloop.
        arguments: experiment, seed, tasks, held_out and writer of the `Pool`, in a list: read when the version has
            been compared.
        """
        self._version, self._arguments = version, arguments

    def greet(self) -> str:
        """Get ready; returns the node that it is on.

        Raises:
            BadInput: another version of innerloop is installed here.
            Failed: the family, the algorithm or what they need cannot be made here.
        """
        if self._version != deployed():
            raise BadInput(
                f"a node of the cluster has innerloop {deployed()}; expected {self._version}, as the driver has."
            )
        with one_sentence():
            experiment, seed, tasks, held_out, self._writer = ray.get(self._arguments[0])
            self._actor = Actor(experiment, seed, tasks, held_out)
        return ray.get_runtime_context().get_node_id()

    @ray.method(num_returns=2)
    def collect(
        self, assignments: list[Assignment], contexts: list[ray.ObjectRef | None], version: int, weights: list[Any]
    ) -> tuple[list[Summary], list[Trajectory]]:
        """Play side by side, some from contexts; returns the summaries, and the trajectories unless they are held out
        or went to the store from here.

        Raises:
            BadInput: the environment misbehaved, or the store refuses for good.
            Failed: the environment or the algorithm raised.
        """
        if version != self._actor.version:
            self._actor.load(ray.get(weights[0]), version)
        start = time.perf_counter()
        with one_sentence():
            trajectories = self._actor.collect_all(assignments, [each and ray.get(each) for each in contexts])
        seconds = (time.perf_counter() - start) / len(assignments)
        summaries = [summarise(trajectory, seconds) for trajectory in trajectories]
        if assignments[0].held_out:
            return summaries, []
        if self._writer is None:
            return summaries, trajectories
        for assignment, trajectory in zip(assignments, trajectories, strict=True):
            self._writer.write(assignment, trajectory)
        return summaries, []


def environment(fresh: bool) -> dict[str, str]:
    """Variables of an actor's process.

    No GPU for rollouts: num_gpus=0 alone would not hide it. Plug-ins are found where the driver finds them.

    Args:
        fresh: whether the driver reads what is played. Then up to a megabyte comes with the answer itself;
            through the object store it would cost the driver half as much again. Replay is read where it lies.
    """
    found_by_driver = [os.path.abspath(path) for path in sys.path if path and not _installed(Path(path))]
    variables = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(found_by_driver)}
    return variables | ({"RAY_max_direct_call_object_size": f"{ANSWER}"} if fresh else {})


def _installed(path: Path) -> bool:
    """Whether an actor's Python has it on its path by itself: the standard library, site-packages.

    Whatever else lies in the folder of the virtual environment, or beside it, it has not.
    """
    kinds = {"stdlib", "platstdlib", "purelib", "platlib"}
    prefixes = ({"base": prefix, "platbase": prefix} for prefix in (sys.prefix, sys.base_prefix))
    paths = [sysconfig.get_paths(vars=names) for names in prefixes]
    folders = {Path(each[kind]) for each in paths for kind in kinds & {*each}}
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return path in folders or (path.parent in folders and path.name == "lib-dynload") or path.name == archive

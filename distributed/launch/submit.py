"""A training run as a job on a Ray cluster: its code, its command, its log, its exit status (Ray's Job API).

The wheel is sent unpacked, as the job's working directory, together with the user's own modules: nodes need neither pip
nor a way to a package index, and all of them run exactly this code. The dashboard and Ray's logs show a job's command
and environment to everybody who may look, so no secret is sent: the nodes have those in their own environment.
"""

import asyncio
import logging
import os
import platform
import re
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.job_submission import JobStatus, JobSubmissionClient

from ...envs.errors import BadInput, require
from ...learner.files import plain
from ..source import deployed
from .dashboard import NODES, VERSIONS, ask_for, authentication
from .versions import other_cluster
from .wheel import build, copy, unpack

PATIENCE = 60.0
"""Seconds of failures, one after the other, after which the job is not followed any more."""
LOOK = 0.5
"""Seconds between looks at a job's state."""
PLACE_SECONDS = 15.0
"""Seconds after which it is said that a job still waits to begin."""
STOP_SECONDS = 60
"""How long a job that is asked to stop may take to save its state; Ray's own default is 3."""


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Run `innerloop train` on a cluster, as a job; what follows `--` are the options of `innerloop train`.

    The job runs on the node labelled role=learner (on the head, if none is), in that user's home directory. It goes on
    if this command ends: Ctrl-C stops only the following.
    """

    address: str = "http://127.0.0.1:8265"
    """Of the cluster's dashboard."""
    wheel: str = ""
    """A wheel of innerloop; by default one is built of the source that this command runs from."""
    modules: tuple[str, ...] = ()
    """Python files, or folders of packages, that the run imports beside innerloop: a family of your own."""
    gpus: float = -1.0
    """GPUs that nothing else may use meanwhile; -1 for one, if the learner's node has any."""

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"https?://[^/@\s]+/?", self.address) is not None,
            "address",
            self.address,
            "the dashboard's, as http://host:port",
        )
        for module in map(Path, self.modules):
            known = (module.is_file() and module.suffix == ".py") or (module / "__init__.py").is_file()
            require(known, "modules", str(module), "a .py file, or a folder with an __init__.py")
        require(self.gpus == -1 or 0 <= self.gpus < float("inf"), "gpus", self.gpus, "at least 0")


class Entrypoint(NamedTuple):
    """Where the job runs."""

    selector: dict[str, str]
    """Labels of the node; empty for the head."""
    gpus: float
    """That the node has."""


def submit(options: Submit, training: list[str]) -> int:
    """Send a run to a cluster, show its log, and wait for its end.

    Args:
        options: where and with what.
        training: options of `innerloop train`, looked through already; without `--address`.

    Returns:
        The run's own exit status; 130 if it, or following it, was stopped; 1 if it never ran, or the cluster is gone.

    Raises:
        BadInput: the cluster cannot be used, or an option shows a secret.
    """
    for argument in training:
        # The argument is not repeated: a terminal's history of a session is a log too.
        if re.search(r"://[^/?#\s]*:[^?#\s]*@", argument):
            raise BadInput(
                "an option of the run has a password in its URL, and a job's command is for all to see; expected one "
                "without: INNERLOOP_REDIS_PASSWORD must be set in the environment of the cluster's nodes."
            )
    # Ray lets its environment variable win over the argument.
    os.environ["RAY_API_SERVER_ADDRESS"] = address = options.address.rstrip("/")
    headers = authentication(address)
    _check_versions(address, headers)
    place = _learners_place(address, headers)
    gpus = min(1.0, place.gpus) if options.gpus < 0 else options.gpus
    logging.getLogger("ray").setLevel(logging.WARNING)
    for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        client = JobSubmissionClient(address, headers=headers)
        job = _send(client, options, place, gpus, training)
    except KeyboardInterrupt:
        _say("interrupted before the job was sent.")
        return 130
    except BadInput:
        raise
    except Exception as error:  # whatever Ray's client makes of an answer
        raise BadInput(f"address is {address!r}, which does not take the job ({_first_line(error)}).") from error
    later = (
        f"Follow it: ray job logs --follow --address {address} {job}  Stop it: ray job stop --address {address} {job}"
    )
    _say(f"job {job} at {address}. {later}")
    if os.environ.get("INNERLOOP_REDIS_PASSWORD") and any("redis" in each for each in training):
        _say("INNERLOOP_REDIS_PASSWORD is not sent; the cluster's nodes need it in their own environment.")
    try:
        return Follower(client, job).follow()
    except KeyboardInterrupt:
        _say(f"job {job} goes on. {later}")
        return 130


def _send(client: JobSubmissionClient, options: Submit, place: Entrypoint, gpus: float, training: list[str]) -> str:
    """The job's name."""
    with tempfile.TemporaryDirectory(prefix="innerloop-") as folder:
        code = Path(folder) / "code"
        unpack(Path(options.wheel) if options.wheel else build(Path(folder)), code)
        for module in map(Path, options.modules):
            copy(module, code / module.resolve().name)
        return client.submit_job(
            entrypoint=f"cd ~ && python -m innerloop train --address auto {shlex.join(training)}",
            runtime_env={"working_dir": str(code), "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}},
            metadata={"innerloop": deployed()},
            entrypoint_label_selector=place.selector or None,
            entrypoint_num_gpus=gpus or None,
        )


class Follower:
    """Shows what a job prints until it ends, also across an interrupted connection."""

    def __init__(self, client: JobSubmissionClient, job: str) -> None:
        self._client, self._job = client, job
        self._shown = 0
        self._begun = time.monotonic()
        self._fails_since: float | None = None

    def follow(self) -> int:
        """The job's exit status, as `submit` returns it."""
        waits = False
        while True:
            try:
                info = self._client.get_job_info(self._job)
                if not info.status.is_terminal():  # then it is its log alone that may still be missing
                    self._fails_since = None
                if info.status != JobStatus.PENDING:
                    asyncio.run(self._show())
                    info = self._client.get_job_info(self._job)
                self._fails_since = None
            except Exception as error:  # whatever the libraries beneath raise while a connection is away
                now = time.monotonic()
                self._fails_since = now if self._fails_since is None else self._fails_since
                if now - self._fails_since > PATIENCE:
                    _say(f"job {self._job} cannot be followed, for {PATIENCE:g} seconds now ({_first_line(error)}).")
                    return 1
                time.sleep(LOOK)
                continue
            if info.status.is_terminal():
                return self._ended(info)
            if info.status == JobStatus.PENDING and not waits and time.monotonic() - self._begun > PLACE_SECONDS:
                waits = True
                _say(f"job {self._job} waits. {_first_line(info.message or '')}")
            time.sleep(LOOK)

    async def _show(self) -> None:
        """Print the log from where it was left."""
        position = 0
        async for text in self._client.tail_job_logs(self._job):
            new = text[max(0, self._shown - position) :]
            position += len(text)
            if new:
                sys.stdout.write(new)
                sys.stdout.flush()
                self._shown, self._fails_since = position, None

    def _ended(self, info: Any) -> int:
        if info.status == JobStatus.SUCCEEDED:
            return 0
        if info.status == JobStatus.STOPPED:
            _say(f"job {self._job} was stopped.")
            return 130
        if info.driver_exit_code is None:
            _say(f"job {self._job} did not run. {plain(' '.join((info.message or '').split()), most=2_000)}")
            return 1
        return info.driver_exit_code


def _check_versions(address: str, headers: dict[str, str]) -> None:
    """Raises:
    BadInput: the cluster has another Ray, or another Python but for its patch.
    """
    found = ask_for(address, "/api/v0/cluster_metadata", headers, VERSIONS)["data"]
    versions = plain(found["rayVersion"]), plain(found["pythonVersion"])
    here = platform.python_version_tuple()[:2]
    if versions[0] != ray.__version__ or tuple(versions[1].split(".")[:2]) != here:
        raise other_cluster(address, *versions)


def _learners_place(address: str, headers: dict[str, str]) -> Entrypoint:
    """The node labelled role=learner, if there is one."""
    nodes = ask_for(address, "/api/v0/nodes?detail=true&limit=10000", headers, NODES)["data"]["result"]["result"]
    for node in nodes:
        if node["state"] == "ALIVE" and (node.get("labels") or {}).get("role") == "learner":
            return Entrypoint({"role": "learner"}, max(0.0, (node.get("resources_total") or {}).get("GPU", 0.0)))
    return Entrypoint({}, 0.0)


def _first_line(text: object) -> str:
    return plain((str(text).splitlines() or [""])[0])


def _say(sentence: str) -> None:
    print(f"innerloop: {sentence}", file=sys.stderr, flush=True)

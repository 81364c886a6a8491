"""Ray, joined or started: a cluster that is there, or one of our own on this machine."""

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import worker

from ...envs.errors import BadInput, require
from ...learner.cpus import usable_cpus
from .access import (
    check_address_file,
    check_socket,
    hide_passwords,
    make_token,
    token_file,
    warn_if_open,
)
from .local import own_cluster
from .lost import watched
from .versions import check_nodes, other_cluster, said_by_ray

REACH_SECONDS = 5.0
"""How long a Ray address may take to answer."""


@contextlib.contextmanager
def ray_session(address: str, dashboard: bool, actor_cpus: float = 1.0) -> Iterator[None]:
    """Connect to Ray, and leave it as it was found.

    Args:
        address: local, auto, host:port or ray://host:port.
        dashboard: start one, with address local; where it is, is printed.
        actor_cpus: that one actor will need.

    Raises:
        BadInput: nothing answers at the address, or a cluster of other versions does; this machine is too small for an
            actor.
        ClusterFailed: Ray does not start, or its cluster dies meanwhile.
    """
    if address not in ("local", "auto"):
        _reach(address)
    if ray.is_initialized():  # a process that is in a cluster stays there
        with watched():
            yield
    elif address == "local":
        expected = f"at most {usable_cpus()}, the CPUs of this machine, or the --address of a cluster with more"
        require(actor_cpus <= usable_cpus(), "actor_cpus", actor_cpus, expected)
        hide_passwords()
        make_token()
        with own_cluster(usable_cpus(), dashboard=dashboard) as context, watched():
            if dashboard:
                asks = f"(asks for the token once: {token_file()})"
                print(f"dashboard: http://{context.dashboard_url} {asks}", file=sys.stderr)
            yield
    else:
        with joined(address):
            yield


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
    """Be in a cluster that is there.

    Raises:
        BadInput: there is none, or one of other versions.
        ClusterFailed: it dies meanwhile.
    """
    hide_passwords()
    _join(address)
    try:
        with watched():
            yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise BadInput(
            f"address is {address!r}; expected local, auto, or the host:port of a running Ray cluster ({error})."
        ) from error


def _join(address: str) -> None:
    if address == "auto":
        check_address_file()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        try:
            ray.init(address=address, **options)
        except ConnectionError as error:
            if "Initialization failure" not in str(error):
                raise
            # Through ray:// Ray starts a process for each driver, which now and then does not come up.
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if versions := said_by_ray(str(error)):
            raise other_cluster(address, *versions) from error
        reason = str(error).splitlines()[0]
        raise BadInput(f"address is {address!r}; expected a running Ray cluster there ({reason}).") from error
    try:
        if node := worker.global_worker.node:  # through ray:// there is none here
            check_socket(Path(node.raylet_socket_name))
        warn_if_open(address)
        check_nodes()
    except BaseException:
        ray.shutdown()
        raise

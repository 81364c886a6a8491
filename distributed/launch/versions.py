"""The same innerloop, Ray and Python on every side: who joins a cluster with another one is told so in a sentence."""

import platform
import re

import ray
from ray.exceptions import RayError

from ...envs.errors import BadInput
from ..source import deployed

ANSWER_SECONDS = 30.0
"""How long nodes may take to say what they have; who has not answered is asked by the pool when it plays there."""


def other_cluster(address: str, ray_version: str, python_version: str) -> BadInput:
    """The refusal to use a cluster of other versions."""
    return BadInput(
        f"address is {address!r}, a cluster of Ray {ray_version} and Python {python_version}; "
        f"expected Ray {ray.__version__} and Python {platform.python_version()}, as here."
    )


def said_by_ray(reason: str) -> tuple[str, str] | None:
    """The cluster's versions of Ray and Python, if that is why Ray refuses to join."""
    found = re.search(r"cluster was started with:\s+Ray: (\S+)\s+Python: (\S+)", reason)
    return (found[1], found[2]) if found else None


def check_nodes() -> None:
    """Check that every node has this innerloop, by its source; Ray itself has compared its own version.

    Raises:
        BadInput: one has another, or none.
    """

    # Inside a function, Ray ships it as it is: a node without innerloop can run it too.
    def found() -> str:
        from importlib import import_module

        try:
            own = import_module("innerloop").__version__
        except ImportError:
            return ""
        try:
            return import_module("innerloop.distributed.source").deployed()
        except ImportError:  # one from before there was such a thing
            return own

    task = ray.remote(max_retries=0, num_cpus=0)(found)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    calls = {task.options(label_selector={"ray.io/node-id": name}).remote(): name for name in nodes}
    answered, late = ray.wait(list(calls), num_returns=len(calls), timeout=ANSWER_SECONDS)
    for call in late:
        ray.cancel(call)
    for call in answered:
        try:
            version = ray.get(call)
        except RayError:  # the node is gone
            continue
        if version != deployed():
            has = f"innerloop {version}" if version else "no innerloop"
            raise BadInput(
                f"node {nodes[calls[call]]} of the cluster has {has}; expected innerloop {deployed()}, as here."
            )

"""The shared store between actors and learner."""

from .api import Kept, Store, Summary, Taken, Writer, summarise
from .ray import RayStore
from .redis import RedisStore
from .schema import Schema

__all__ = [
    "Kept",
    "RayStore",
    "RedisStore",
    "Schema",
    "Store",
    "Summary",
    "Taken",
    "Writer",
    "open_store",
    "summarise",
]


def open_store(place: str, run: str, *, capacity: int, shards: int, on_policy: bool, patience: float = 300.0) -> Store:
    """The store at a place.

    Args:
        place: ray, or the URL of a Redis server.
        run: the name under which Redis holds the run.
        capacity: bytes of replay.
        shards: Ray actors that share the replay.
        on_policy: whether trajectories are learned from once, or from replay.
        patience: seconds without an answer after which a shard is replaced.

    Raises:
        BadInput: it cannot be used.
    """
    if place == "ray":
        return RayStore(0 if on_policy else shards, capacity, patience)
    return RedisStore(place, run, capacity=capacity, on_policy=on_policy)

"""The shared store between actors and learner."""

from .api import Store, Taken
from .ray import RayStore

__all__ = ["RayStore", "Store", "Taken"]

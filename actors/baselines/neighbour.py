"""The baseline of few-shot learning: the answer to the example that looks most alike."""

from collections.abc import Mapping

import gymnasium
import numpy as np
from gymnasium import spaces

from ...envs.api import Bools, TaskFamily
from ...envs.spaces import unpack


class NearestNeighbour:
    """An `InnerLoop` that answers as it was told of the nearest example, by the Euclidean distance of pixels or
    numbers; 0 before it has been told anything."""

    rollouts_per_task = 1

    def __init__(self, observation_space: spaces.Dict, action_space: gymnasium.Space) -> None:
        """Args: of a stream of examples, such as those of `envs.fewshot`."""
        self.note: Mapping[str, np.ndarray] = {}
        self._space, self._action = observation_space, action_space

    def begin_trial(self, n: int, rng: np.random.Generator | None = None) -> None:
        self._known: list[tuple[np.ndarray, np.ndarray, Bools]] = []
        """Examples [n, *], the answers to them [n, *], and whether they were told, [n]."""
        self._example: np.ndarray | None = None

    def act(self, observation: np.ndarray, reward: np.ndarray, done: Bools) -> np.ndarray:
        shown = unpack(self._space, observation)
        example = shown["example"].reshape(len(done), -1).astype(np.float32)
        if self._example is not None:
            ways = getattr(self._action, "n", None)
            told = shown["answer"] < ways if "told" not in shown else shown["told"] == 1
            self._known.append((self._example, shown["answer"], told))
        self._example = example
        answer = np.zeros((len(done), *(self._action.shape or ())), self._action.dtype)
        nearest = np.full(len(done), np.inf)
        for other, its, told in self._known:
            distance = np.where(told, np.square(other - example).sum(1, dtype=np.float64), np.inf)
            closer = distance < nearest
            answer[closer], nearest[closer] = its[closer], distance[closer]
        return answer


def nearest_neighbour(family: TaskFamily) -> NearestNeighbour | None:
    """The baseline on a family of examples, whose observations are as those of `envs.fewshot`; None on others."""
    space = family.observation_space
    entries = [*space.spaces] if isinstance(space, spaces.Dict) else []
    whole = ["answer", "example"] if isinstance(family.action_space, spaces.Discrete) else ["answer", "example", "told"]
    if not getattr(family, "answers", False) or entries != whole:
        return None
    assert isinstance(space, spaces.Dict)
    return NearestNeighbour(space, family.action_space)

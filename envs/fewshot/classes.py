"""What families of pictures share: a trial is made of a few classes of pictures."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from ..api import Split, Tasks
from ..errors import BadInput, require
from ..seeding import Random
from .examples import Draw, Examples
from .pictures import Pictures

ROWS = 500
"""That are played at once, of pictures as large as Omniglot's."""


@dataclass(frozen=True, kw_only=True)
class OfPictures(ABC):
    """Few-shot classification of pictures; see `Examples`. A task's classes are codes: a class, or, with rotations,
    four times it plus the quarter turns."""

    ways: int = 5
    """Classes in a trial."""
    shots: int = 0
    """Episodes whose answers are told; 0 for all, else those after them are queries."""
    data: str = ""
    """Where the pictures are."""

    answers = True
    side_by_side = True

    def __post_init__(self) -> None:
        require(2 <= self.ways <= 1_000, "ways", self.ways, "2 to 1,000")
        require(self.shots >= 0, "shots", self.shots, "at least 0")

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Of a picture: height, width, channels."""

    @property
    @abstractmethod
    def turns(self) -> int:
        """By how many quarter turns a picture makes as many classes: 1 or 4."""

    @abstractmethod
    def pictures(self) -> Pictures:
        """Of all classes.

        Raises:
            BadInput: they cannot be had.
        """

    @abstractmethod
    def groups(self, split: Split) -> Sequence[np.ndarray]:
        """The classes of a split, in groups; those of a trial are all of one group."""

    @property
    def horizon(self) -> int:
        return self.ways

    @property
    def rows(self) -> int:
        """That evaluation plays at once: fewer of larger pictures."""
        return max(1, ROWS * 28 * 28 // math.prod(self.shape))

    @property
    def observation_space(self) -> spaces.Dict:
        example = spaces.Box(0, 255, self.shape, np.uint8)
        return spaces.Dict({"answer": spaces.Discrete(self.ways + 1), "example": example})

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.ways)

    def prepare(self) -> None:
        """Raises:
        BadInput: the pictures are not there, or there are too few of them.
        """
        for split in ("train", "test"):
            self._codes(split)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        codes = self._codes(split)
        group = rng.integers(len(codes), size=n).tolist()
        return {"class": np.stack([rng.choice(codes[index], self.ways, replace=False) for index in group])}

    def make(self, tasks: Tasks, rng: Random) -> Examples:
        pictures, codes = self.pictures(), tasks["class"]
        counts = pictures.counts[codes // self.turns]
        return Examples(codes, self.shots, drawer(pictures, self.turns), self.shape, rng, counts)

    def _codes(self, split: Split) -> list[np.ndarray]:
        """`groups` that have enough classes, as codes."""
        few = (self.pictures().counts <= self.shots).nonzero()[0]
        if len(few):
            name, count = self.pictures().names[few[0]], self.pictures().counts[few[0]]
            raise BadInput(f"shots is {self.shots}; expected fewer than the {count} pictures of class {name!r}.")
        found = [(group[:, None] * self.turns + np.arange(self.turns)).reshape(-1) for group in self.groups(split)]
        most = max((len(each) for each in found), default=0)
        require(most >= self.ways, "ways", self.ways, f"at most {most}, the classes there are for {split}")
        return [each for each in found if len(each) >= self.ways]


def drawer(pictures: Pictures, turns: int) -> Draw:
    """Examples by code and index."""

    def draw(codes: np.ndarray, which: np.ndarray) -> np.ndarray:
        kind, turn = np.divmod(codes, turns)
        found = np.asarray(pictures.images[pictures.first[kind] + which])
        for quarter in range(1, turns):
            found[turn == quarter] = np.rot90(found[turn == quarter], quarter, (1, 2))
        return found

    return draw

"""Endless classes of drawn characters, made of pen strokes: few-shot classification that needs no data.

A character is one to three cubic Bézier curves. Its drawings differ in the place of their control points, and are
turned, scaled and shifted.
"""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from ..api import Split, Tasks
from ..errors import require
from ..seeding import Random
from .examples import Examples

SIDE = 28
"""Pixels."""
_CURVES, _POINTS = 3, 28
"""Most curves of a character, and points on each that are inked."""
_T = np.linspace(0, 1, _POINTS)[:, None]
_BEZIER = np.concatenate([(1 - _T) ** 3, 3 * _T * (1 - _T) ** 2, 3 * _T**2 * (1 - _T), _T**3], 1)
"""[points, control points]."""


@dataclass(frozen=True, kw_only=True)
class Strokes:
    """Which of the characters is it?

    observation  example: a drawing, uint8 [N, 28, 28, 1], ink is bright, black after an episode's last step; answer:
                 that to the step before, or `ways` where it is not told
    action       the answer, Discrete(ways)
    reward       1 if it is right, else 0
    terminated   after `ways` steps
    privileged   answer: the right one, int64 [N]
    task         class: int64 [N, ways], what each character is drawn from; even for training, odd for test
    """

    ways: int = 5
    """Classes in a trial."""
    shots: int = 0
    """Episodes whose answers are told; 0 for all, else those after them are queries."""

    answers = True
    side_by_side = True

    def __post_init__(self) -> None:
        require(2 <= self.ways <= 1_000, "ways", self.ways, "2 to 1,000")
        require(self.shots >= 0, "shots", self.shots, "at least 0")

    @property
    def horizon(self) -> int:
        return self.ways

    @property
    def observation_space(self) -> spaces.Dict:
        example = spaces.Box(0, 255, (SIDE, SIDE, 1), np.uint8)
        return spaces.Dict({"answer": spaces.Discrete(self.ways + 1), "example": example})

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.ways)

    def sample(self, rng: np.random.Generator, n: int, split: Split) -> Tasks:
        return {"class": 2 * rng.integers(2**61, size=(n, self.ways)) + (split == "test")}

    def make(self, tasks: Tasks, rng: Random) -> Examples:
        return Examples(tasks["class"], self.shots, draw, (SIDE, SIDE, 1), rng)


def draw(classes: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """Drawings of characters, uint8 [M, 28, 28, 1].

    Args:
        classes: int64 [M].
        luck: [M], uniform on [0, 1): which drawing.
    """
    m = len(classes)
    character = _uniform(classes, 1 + _CURVES * 8)
    drawing = _uniform((luck * 2**53).astype(np.int64), 5 + _CURVES * 8)
    control = 0.15 + 0.7 * character[:, 1:] + 0.14 * (drawing[:, 5:] - 0.5)
    points = _BEZIER @ control.reshape(m, _CURVES, 4, 2)  # [M, curves, points, 2]
    turn, wide, high, *shift = (drawing[:, :5] - 0.5).T
    sine, cosine = np.sin(0.7 * turn), np.cos(0.7 * turn)
    stretch = 1 + 0.5 * np.stack([wide, high], 1)
    matrix = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1) * stretch[:, None]
    moved = (points - 0.5) @ matrix[:, None] + 0.5 + 0.12 * np.stack(shift, 1)[:, None, None]
    curves = 1 + (character[:, 0] * _CURVES).astype(np.int64)
    drawn = np.arange(_CURVES) < curves[:, None]
    return _inked(moved, np.broadcast_to(drawn[..., None], moved.shape[:-1]))


def _inked(points: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Points [M, curves, points, 2] in the unit square, each spread over the four pixels around it."""
    m = len(points)
    place = np.clip(points.reshape(m, -1, 2), 0, 1) * (SIDE - 1.001)
    cell = place.astype(np.int64)
    part = place - cell
    ink = np.zeros(m * SIDE * SIDE)
    first = np.arange(m)[:, None] * SIDE * SIDE
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - part[..., 0]) * np.abs(1 - right - part[..., 1]) * drawn.reshape(m, -1)
            pixel = first + (cell[..., 0] + down) * SIDE + cell[..., 1] + right
            ink += np.bincount(pixel.reshape(-1), weight.reshape(-1), len(ink))
    return np.minimum(255 * ink, 255).astype(np.uint8).reshape(m, SIDE, SIDE, 1)


def _uniform(seeds: np.ndarray, count: int) -> np.ndarray:
    """Numbers on [0, 1) that depend on the seed alone, [M, count] of int64 [M]: SplitMix64 (Steele et al. 2014)."""
    state = seeds.astype(np.uint64)[:, None] * np.uint64(count | 1)
    state = state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53

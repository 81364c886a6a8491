"""Streams of examples from classes: N few-shot classification trials as one batch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..api import Bools, Step
from ..seeding import Random, only

Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Examples [M, ...] of classes int64 [M]; which ones, int64 [M]: their index, of a class with endless ones any number
of 53 bits."""


class Examples:
    """N streams. An episode has as many steps as there are classes. Where its answers are told, each class comes once,
    in random order; else the class of every step is drawn independently.

    Of a class with a finite number of examples, each comes once before any comes again, and those whose answers were
    told do not come again as queries.
    """

    def __init__(
        self,
        classes: np.ndarray,
        shots: int,
        draw: Draw,
        shape: tuple[int, ...],
        rng: Random,
        counts: np.ndarray | None = None,
    ) -> None:
        """Args:
        classes: int64 [N, ways], the class that each answer stands for.
        shots: episodes whose answers are told; 0 for all.
        draw: the examples.
        shape: of an example, uint8.
        rng: of the order, and of the examples.
        counts: int64 [N, ways], how many examples each class has, more than `shots`; None for no end of them.
        """
        self._classes, self._shots, self._draw, self._rng = classes, shots, draw, rng
        n, self._ways = classes.shape
        self._example = np.zeros((n, *shape), np.uint8)
        self._label, self._told = np.zeros(n, np.int64), np.full(n, self._ways)
        self._seen = np.zeros((n, self._ways), np.bool_)
        self._episode, self._time = np.full(n, -1), np.zeros(n, np.int64)
        self._no = np.zeros(n, np.bool_)
        self._counts, self._shown = counts, np.zeros((n, self._ways), np.int64)
        if counts is not None:
            luck = only(rng, ~self._no).random((n, self._ways, int(counts.max())))
            self._order = np.where(np.arange(luck.shape[-1]) < counts[..., None], luck, 1).argsort(-1)

    def reset(self, rows: Bools) -> Any:
        self._episode[rows] += 1
        self._time[rows] = 0
        self._seen[rows] = False
        self._show(rows)
        return self._observation()

    def step(self, action: np.ndarray) -> Step:
        answer = self._label.copy()
        self._told = np.where(self._is_told(), answer, self._ways)
        self._time += 1
        ended = self._time >= self._ways
        self._example[ended] = 0
        self._show(~ended)
        reward = (action == answer).astype(np.float32)
        return Step(self._observation(), reward, ended, self._no, privileged={"answer": answer})

    def _is_told(self) -> Bools:
        return np.full(len(self._no), not self._shots) | (self._episode < self._shots)

    def _observation(self) -> Any:
        return {"answer": self._told, "example": self._example.copy()}

    def _show(self, rows: Bools) -> None:
        """The next example, in these rows."""
        if not rows.any():
            return
        rng = only(self._rng, rows)
        order, luck = rng.random((len(rows), self._ways)), rng.random(len(rows))
        label = (order + (self._seen & self._is_told()[:, None])).argmin(1)
        self._seen[rows, label[rows]] = True
        self._label[rows] = label[rows]
        which = (luck * 2**53).astype(np.int64) if self._counts is None else self._next(rows, label)
        self._example[rows] = self._draw(self._classes[rows, label[rows]], which[rows])

    def _next(self, rows: Bools, label: np.ndarray) -> np.ndarray:
        """Which example of their class comes next, [N]."""
        assert self._counts is not None
        own = np.arange(len(rows)), label
        index, count = self._shown[own], self._counts[own]
        self._shown[own] += rows
        again = self._shots + (index - self._shots) % (count - self._shots)  # of those that are no support
        return self._order[(*own, np.where(index < count, index, again))]

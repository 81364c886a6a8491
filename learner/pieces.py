"""What grows with a run, such as replay, saved piece by piece beside its checkpoints."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..envs.errors import BadInput, require
from .checkpoint import Checkpoints


class Pieces:
    """What grows with a run, such as replay: each piece is written once, next to the checkpoint that it belongs to."""

    def __init__(
        self,
        place: str | Path,
        capacity: int,
        run: str = "",
        check: Callable[[dict[str, np.ndarray], int], None] = lambda arrays, version: None,
    ) -> None:
        """Args:
        place: as of `Checkpoints`.
        capacity: bytes; the oldest pieces are deleted while the newer ones hold that many.
        run: the id of the run.
        check: raises `BadInput` for a piece of a version whose arrays are none of this run's.
        """
        self._files, self._capacity, self._run = Checkpoints(place, keep=2**31, run=run), capacity, run
        self._check = check

    def save(self, version: int, arrays: dict[str, np.ndarray]) -> None:
        """Add the piece that came with a version; nothing, if it is empty, or if the version has one already (what came
        since will come again after a resume)."""
        if not arrays or f"{version:08d}" in self._files.own():
            return
        self._files.save(arrays, {"version": version}, {"id": self._run})
        held = 0
        for name in reversed(self._files.own()):
            if held >= self._capacity:
                self._files.delete([name])
            held += self._files.size(name) if held < self._capacity else 0

    def read(self, version: int) -> Iterator[dict[str, np.ndarray]]:
        """The pieces up to a version, oldest first; later ones are deleted. One that is damaged, or not like those
        before it, is left out, with a warning."""
        yield from (arrays for _, arrays in self.whole(version))
        self._files.delete([name for name in self._files.own() if int(name) > version])

    def whole(self, version: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """The pieces up to a version with their versions, oldest first."""
        first: dict[str, Any] = {}
        for name in self._files.names():
            if int(name) > version:
                continue
            try:
                arrays = self._files.read(name, []).arrays
                try:
                    self._check(arrays, int(name))
                    layout = {key: (array.dtype, array.shape[1:]) for key, array in arrays.items()}
                    require(not first or layout == first, "its layout", layout, f"{first}, as the piece before it has")
                except BadInput as error:
                    raise BadInput(f"{self._files.where(name)} is no piece of this run: {error}") from error
            except BadInput as error:
                logging.getLogger("innerloop").warning("%s The run goes on without what was in it.", error)
                continue
            first = first or layout
            yield int(name), arrays

    def tidy(self) -> None:
        """See `Checkpoints.tidy`."""
        self._files.tidy()

    def clear(self) -> None:
        """Delete all."""
        self._files.clear()

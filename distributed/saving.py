"""Saves a run's state. A disk that is full costs checkpoints, which is said and counted, and not the run."""

import errno
import logging
from typing import Any

from ..learner.checkpoint import Checkpoints, Pieces
from ..learner.learner import Learner
from ..learner.replay import Arrays
from .store import Store
from .tasks import TaskOrder

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of a disk that takes no more."""


class Unsaved(RuntimeError):
    """A run has ended and none of its checkpoints could be written."""


class Saver:
    """The checkpoints of a run, and the pieces of its replay."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        pieces: Pieces,
        learner: Learner,
        order: TaskOrder,
        store: Store,
        counts: dict[str, float],
        config: dict[str, Any],
    ) -> None:
        """Args:
        checkpoints: where to.
        pieces: where to, of the replay.
        learner: saved.
        order: saved.
        store: what it exports is saved.
        counts: saved; its "checkpoints_failed" is counted here.
        config: saved, as plain values.
        """
        self._checkpoints, self._pieces = checkpoints, pieces
        self._learner, self._order, self._store = learner, order, store
        self._counts, self._config = counts, config
        self._piece: tuple[int, Arrays] | None = None
        """What the store has exported and could not be written."""

    def save(self) -> None:
        """Save the state as it is now; if that cannot be, say and count it."""
        version = self._learner.version
        try:
            self._save(version)
        except OSError as error:
            self._counts["checkpoints_failed"] += 1
            newest = self._newest()
            held = f"the newest is of iteration {newest}" if newest >= 0 else "there is none yet"
            logging.getLogger("innerloop").warning(
                "The checkpoint of iteration %d could not be saved (%s); %s. The run goes on.", version, error, held
            )

    def end(self) -> None:
        """The run is over.

        Raises:
            Unsaved: nothing of it could be saved.
        """
        if self._newest() < 0:
            raise Unsaved(
                f"no checkpoint could be written to {self._checkpoints.place!r}, so the run's {self._learner.version} "
                "iterations are lost; expected room on the disk."
            )

    def _newest(self) -> int:
        return max((int(name) for name in self._checkpoints.names()), default=-1)

    def _save(self, version: int) -> None:
        if self._piece:
            self._pieces.save(*self._piece)
        self._piece = version, self._store.export()
        self._pieces.save(*self._piece)
        self._piece = None
        arrays, numbers = self._learner.state()
        self._checkpoints.save(arrays | self._order.state(), numbers | self._counts, self._config)

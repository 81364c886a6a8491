"""Saves a run's state. A disk that is full costs checkpoints, which is said and counted, and not the run."""

import logging

from ..envs.errors import BadInput, RunFailed
from ..learner.best import Best
from ..learner.trajectory import Arrays
from .opening import Opened
from .store.api import Store


class Unsaved(RunFailed):
    """A run has ended and none of its checkpoints could be written."""


class Saver:
    """The checkpoints of a run, and the pieces of its replay."""

    def __init__(self, opened: Opened, store: Store) -> None:
        """Args:
        opened: the run; its counts' "checkpoints_failed" is counted here.
        store: what it exports is saved.
        """
        self._run, self._store = opened, store
        self._saved = opened.learner.version if opened.resumed else -1
        """Newest version that is saved."""
        self._piece: tuple[int, Arrays] | None = None
        """What the store has exported and could not be written."""

    def save(self, best: Best | None = None) -> None:
        """Save the state as it is now, unless it is saved; if that cannot be, say and count it.

        Args:
            best: where it is the best so far, which is then kept until a better one is saved.
        """
        version, before = self._run.learner.version, self._run.best
        if version == self._saved:
            return
        self._run.best = best or before
        try:
            self._save(version)
            self._saved = version
        except OSError as error:
            self._run.best = before
            self._run.counts["checkpoints_failed"] += 1
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
                f"no checkpoint could be written to {self._run.checkpoints.place.shown!r}, so the run's "
                f"{self._run.learner.version} iterations are lost; expected room on the disk."
            )

    def _newest(self) -> int:
        try:
            return max((int(name) for name in self._run.checkpoints.names()), default=-1)
        except BadInput:  # the place cannot be read any more
            return -1

    def _save(self, version: int) -> None:
        run = self._run
        if self._piece:
            run.pieces.save(*self._piece)
        self._piece = version, self._store.export()
        run.pieces.save(*self._piece)
        self._piece = None
        arrays, numbers = run.learner.state()
        arrays |= run.order.state() | (run.best.state() if run.best else {})
        run.checkpoints.save(arrays, numbers | run.counts, run.saved_as, run.best.iteration if run.best else -1)

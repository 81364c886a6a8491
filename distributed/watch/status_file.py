"""What a run leaves among the logs of its driver's node, where Ray's dashboard shows it to anyone with the token."""

import contextlib
import json
import math
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from ray._private import worker
from typing_extensions import TypedDict

from ...learner.files import Finite, Number
from ..config import Config
from ..launch.access import write_alone
from ..runs.saved import SavedConfig

PREFIX = "innerloop-"
"""Begins the names of the files among a node's logs; the run's name follows."""
WRITE_SECONDS = 1.0
"""Between two lines left among the logs, at least."""


class Status(NamedTuple):
    """A run, as it was last heard of."""

    name: str
    config: dict[str, Any]
    """As saved (see `SavedConfig`); not resolved, because its plug-ins may be missing here."""
    line: dict[str, Any]
    """The last line of metrics; empty before the first iteration."""
    time: float
    """When that was, in seconds since the epoch."""
    warning: str = ""
    """What of its metrics cannot be read."""

    @property
    def finished(self) -> bool:
        return self.line.get("iteration", 0) >= self.config["run"]["iterations"] or self._minutes_left == 0

    @property
    def _minutes_left(self) -> float | None:
        """Of training, where the run is bounded by that."""
        minutes = self.config["run"].get("minutes", 0)
        left = minutes - self.line.get("seconds", 0) / 60
        return max(0.0, left) if minutes > 0 and not math.isnan(left) else None

    @property
    def seconds_left(self) -> float:
        """Until it has finished, as far as can be told after its first iteration; else NaN."""
        done, seconds = self.line.get("iteration", 0), self.line.get("seconds", math.nan)
        by_iterations = seconds * max(0, self.config["run"]["iterations"] / done - 1) if done > 0 else math.nan
        return by_iterations if self._minutes_left is None else min(60 * self._minutes_left, by_iterations)


class Told(TypedDict):
    """What a `StatusFile` leaves, which may be another user's, or another version's."""

    name: str
    config: SavedConfig
    line: dict[str, Number]
    time: Finite


TOLD: TypeAdapter[Told] = TypeAdapter(Told)


class StatusFile:
    """The file among the logs of the driver's node."""

    def __init__(self, config: Config) -> None:
        """Args:
        config: of the run, as resolved. Ray must be there.
        """
        node, self._name, self._saved = worker.global_worker.node, config.run.name, config.to_json()
        readable = re.sub(r"[^\w.-]", "_", self._name)
        self._file = Path(node.get_logs_dir_path()) / f"{PREFIX}{readable}.json" if node else None
        self._newest = Status(self._name, self._saved, {}, time.time())
        self._written = 0.0
        self._write()

    def write(self, line: dict[str, Any]) -> None:
        """Leave this line instead of the one before; at most once a second."""
        self._newest = Status(self._name, self._saved, line, time.time())
        if self._newest.time - self._written >= WRITE_SECONDS:
            self._write()

    def close(self) -> None:
        """Leave the last line."""
        self._write()

    def _write(self) -> None:
        self._written = self._newest.time
        if self._file:
            with contextlib.suppress(OSError):  # a full disk is for the checkpoints to report
                write_alone(self._file, json.dumps(self._newest._asdict()))

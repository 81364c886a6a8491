"""What a run leaves among the logs of its driver's node, where Ray's dashboard shows it to anyone with the token."""

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

from ray._private import worker

from ..config import Config
from ..launch.access import write_alone
from .told import PREFIX, Status

WRITE_SECONDS = 1.0
"""Between two lines left among the logs, at least."""


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

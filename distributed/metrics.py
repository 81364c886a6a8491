"""What a run says of itself: one JSON line per iteration, the same in TensorBoard."""

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from ..learner.checkpoint import write_whole


class Journal:
    """`metrics.jsonl` and `tensorboard/` of a run's directory."""

    def __init__(self, directory: Path, version: int) -> None:
        """Args:
        directory: of the run.
        version: what was written of later iterations, before a crash, is dropped: they will be written again.
        """
        self._file = directory / "metrics.jsonl"
        kept = [line for line in read_lines(self._file) if line["iteration"] <= version]
        write_whole(str(self._file), "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._stream = self._file.open("a", buffering=1)
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=version + 1 if version else None)

    def write(self, line: dict[str, Any]) -> None:
        """Add one iteration; `line["iteration"]` counts from 1."""
        self._stream.write(json.dumps(line) + "\n")
        for name, value in line.items():
            self._board.add_scalar(name, value, line["iteration"])

    def close(self) -> None:
        """Flush both."""
        self._stream.close()
        self._board.close()


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last one that was cut short by a crash is left out."""
    if not file.exists():
        return []
    lines = []
    for text in file.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines

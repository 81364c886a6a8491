"""How a run shows itself: a live line in a terminal, plain lines in a log; whatever the terminal is."""

import io
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, TextIO, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..run import Run

PLAIN_SECONDS = 5.0
"""Between two lines of a log that is not a terminal."""


class _Audience:
    """Standard error while somebody listens: a run does not end because its terminal has gone."""

    def __init__(self) -> None:
        self._stream: TextIO | None = sys.stderr

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("nobody listens")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        self._try(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(lambda stream: stream.flush())

    def _try(self, do: Callable[[TextIO], Any]) -> None:
        if self._stream is not None:
            try:
                do(self._stream)
            except (OSError, ValueError):  # a pipe without a reader, a terminal that hung up, a closed file
                self._stream = None


class Display:
    """Called with every iteration's metrics."""

    def __init__(self, run: Run) -> None:
        self._audience = _Audience()
        self._console = Console(file=cast(IO[str], self._audience))
        self._run = run
        self._last = 0.0
        self._held_out: float | None = None
        self._progress: Progress | None = None
        self._bar = TaskID(0)
        if self._audience.isatty():
            self._progress = Progress(
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar = self._progress.add_task("opening", total=1.0)

    def __enter__(self) -> "Display":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def waits(self, text: str) -> None:
        """In a terminal, say what is being waited for before the first iteration."""
        if self._progress:
            self._progress.update(self._bar, description=text, refresh=True)

    def __call__(self, line: dict[str, Any]) -> None:
        text = f"return {line['return']:.3f}  "
        if line["first_episode"] != line["return"]:  # several episodes in a trial: is the last better than the first?
            text += f"(episodes {line['first_episode']:.2f} … {line['last_episode']:.2f})  "
        self._held_out = line.get("held_out_return", self._held_out)
        if self._held_out is not None:
            text += f"held out {self._held_out:.3f}  "
        text += f"{line['env_steps_per_s']:,.0f} steps/s"
        if dropped := line["dropped_stale"] + line["dropped_lost"]:
            text += f"  dropped {dropped}"
        if line["restarts"]:
            text += f"  restarts {line['restarts']}"
        if line["diverged"]:
            text += f"  diverged {line['diverged']}"
        bound = "" if self._run.minutes else f"/{self._run.iterations}"
        text = f"iteration {line['iteration']}{bound}  {text}"
        done = self._run.progress(line["iteration"], line["seconds"])
        if self._progress:
            self._progress.update(self._bar, completed=done, description=text)
        elif time.monotonic() - self._last >= PLAIN_SECONDS or done == 1:
            self._last = time.monotonic()
            print(text, file=self._audience, flush=True)

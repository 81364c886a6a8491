"""How a run shows itself: a live line in a terminal, plain lines in a log."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .config import Run

PLAIN_SECONDS = 5.0
"""Between two lines of a log that is not a terminal."""


class Display:
    """Called with every iteration's metrics."""

    def __init__(self, run: Run) -> None:
        self._console = Console(stderr=True)
        self._run = run
        self._last = 0.0
        self._progress: Progress | None = None
        self._bar = TaskID(0)
        if sys.stderr.isatty():
            self._progress = Progress(
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar = self._progress.add_task("starting Ray", total=1.0)

    def __enter__(self) -> "Display":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def __call__(self, line: dict[str, Any]) -> None:
        text = f"return {line['return']:.3f}  "
        if line["first_episode"] != line["return"]:  # several episodes in a trial: is the last better than the first?
            text += f"(episodes {line['first_episode']:.2f} … {line['last_episode']:.2f})  "
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
            print(text, file=sys.stderr, flush=True)

"""Printing that works on any terminal, and into any pipe."""

import atexit
import io
import os
import shutil
import sys

NARROWEST, WIDEST = 20, 1_000
"""Columns of a terminal for which lines are laid out; in fewer, the help of options is never done."""


def use_any_terminal() -> None:
    """Make printing safe, before anything is printed: characters that the terminal lacks become `?`; a stream that is
    closed, or whose reader has gone, takes what is written to it; a width that is none is not believed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would be written to in its place
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", errors="replace"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    for name in ("COLUMNS", "LINES"):
        given = os.environ.get(name, "")
        if not (given.isascii() and given.isdigit() and int(given[:9]) > 0):
            os.environ.pop(name, None)
    width = shutil.get_terminal_size().columns
    if not NARROWEST <= width <= WIDEST:
        os.environ["COLUMNS"] = str(min(max(width, NARROWEST), WIDEST))
    atexit.unregister(_flush)
    atexit.register(_flush)


def _flush() -> None:
    """What is left to be written when nobody reads it is no error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # closed
            pass

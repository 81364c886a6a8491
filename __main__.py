"""`python -m innerloop` is the command `innerloop`."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line; Ctrl-C ends it in a sentence too while it is imported, which takes seconds."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, _interrupted)
    from .distributed.cli import main as command

    signal.signal(signal.SIGINT, before)
    command()


def _interrupted(number: int, frame: FrameType | None) -> None:
    print("innerloop: interrupted.", file=sys.stderr, flush=True)
    os._exit(130)  # an exception could be taken for that of an import


if __name__ == "__main__":
    main()

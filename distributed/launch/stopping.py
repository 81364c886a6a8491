"""Asking a run to stop: Ctrl-C, SIGTERM, the death of its cluster."""

import contextlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from types import FrameType

_stopping: "weakref.WeakSet[threading.Event]" = weakref.WeakSet()


class Interrupted(Exception):
    """The run was asked to stop, and has saved what it had."""

    def __init__(self, version: int, more: str = "") -> None:
        super().__init__(f"stopped after iteration {version}{more}")
        self.version = version


def stop_all() -> None:
    """Ask whatever runs in this process."""
    for event in [*_stopping]:
        event.set()


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the loop to stop after what it is doing; a second one interrupts at once.

    So does the death of the cluster.
    """
    stopping = threading.Event()
    _stopping.add(stopping)
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def ask(signum: int, frame: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = {signum: signal.signal(signum, ask) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def while_importing() -> Iterator[None]:
    """Ctrl-C ends the process in a sentence, at once: an exception could be taken for that of an import."""
    main, before = threading.current_thread() is threading.main_thread(), signal.getsignal(signal.SIGINT)
    if not main or before is not signal.default_int_handler:  # a shell has it ignored, or a program has its own
        yield
        return
    signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(number: int, frame: FrameType | None) -> None:
    print("innerloop: interrupted.", file=sys.stderr, flush=True)
    os._exit(130)

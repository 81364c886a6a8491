"""A run's directory: what is in it, whose it is, and what of it is ours to delete."""

import contextlib
import hashlib
import re
import socket
from collections.abc import Collection
from pathlib import Path

from ...envs.errors import BadInput
from ...envs.registry import reading_saved
from ...learner.checkpoint import check_format
from ...learner.places import resolve_path
from ..config import Config
from .saved import SavedConfig, read_config

CONFIG = "config.json"
WRITTEN = (CONFIG, "metrics.jsonl", "evaluation.json", "scores.csv", "tensorboard")
"""What a run writes into its directory, beside checkpoints and plots."""
_EVENTS = "events.out.tfevents.*"


def saved_json(out: str | Path) -> SavedConfig:
    """The configuration of a run's directory; nothing that it names is imported.

    Raises:
        BadInput: there is none, or it cannot be used.
    """
    found = read_config(resolve_path("run", out))
    if found is None:
        raise BadInput(f"{f'{out}/{CONFIG}'!r} is not there; expected the directory of a run.")
    return found


def saved_config(out: str | Path, trust_plugins: bool | Collection[str] = False) -> Config:
    """The configuration of a run's directory.

    Args:
        out: the directory.
        trust_plugins: see `Agent.load`.

    Raises:
        BadInput: there is none, or it cannot be used.
    """
    saved = saved_json(out)
    check_format(repr(f"{out}/{CONFIG}"), saved.get("format", 1))
    with reading_saved(resolve_path("run", out), trust_plugins):
        return Config.from_json(saved)


def name_of(out: Path) -> str:
    """Of a run in a store that several machines may share."""
    place = f"{socket.gethostname()}:{out.resolve()}"
    readable = re.sub(r"[^\w.-]", "_", out.resolve().name)
    return f"{readable}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def refuse_foreign(out: Path, shown: str, *, overwrite: bool) -> None:
    """Look whether a new run may begin in a directory.

    Raises:
        BadInput: it holds a run, and that is not to be overwritten; or files of a run's names that no run wrote.
    """
    if not any((out / name).exists() for name in (*WRITTEN, "checkpoints")):
        return
    if not overwrite:
        raise BadInput(
            f"out is {shown!r}, which holds a run; expected a new directory, --overwrite, or --resume {shown}."
        )
    if not is_run(out) and any((out / name).exists() for name in WRITTEN):
        raise BadInput(
            f"out is {shown!r}, whose files are not those of a run, or damaged; expected a new directory: "
            "--overwrite deletes runs alone."
        )


def is_run(out: Path) -> bool:
    """Whether the configuration in a directory is a run's."""
    try:
        return bool(saved_json(out))
    except BadInput:
        return False


def tidy(out: Path) -> None:
    """Delete what a process that was killed was writing; nobody else may be writing here."""
    for file in out.glob("*.part"):
        if re.fullmatch(rf"({'|'.join(map(re.escape, WRITTEN))})\.[0-9a-f]{{16}}\.part", file.name):
            file.unlink(missing_ok=True)


def remove(out: Path) -> None:
    """What a run has written into its directory, but for checkpoints; and the directory, if nothing else is there.

    The configuration goes last: with it, what a process that was killed here has left can be recognised.
    """
    tidy(out)
    for file in (*(out / "tensorboard").glob(_EVENTS), *(out / name for name in reversed(WRITTEN))):
        with contextlib.suppress(OSError):  # most often: it is not there
            file.rmdir() if file.is_dir() else file.unlink()
    with contextlib.suppress(OSError):
        out.rmdir()

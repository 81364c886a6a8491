"""A run's directory."""

import hashlib
import json
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from ..envs.errors import BadInput
from .config import Config

WRITTEN = ("config.json", "metrics.jsonl", "evaluation.json", "tensorboard")
"""What a run writes into its directory, beside checkpoints and plots."""


def saved_config(out: str | Path) -> Config:
    """The configuration of a run's directory.

    Raises:
        BadInput: there is none, or it cannot be used.
    """
    file = Path(out) / "config.json"
    try:
        return Config.from_json(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{str(file)!r} cannot be read ({error}); expected the directory of a run.") from error


def name_of(out: Path) -> str:
    """Of a run in a store that several machines may share."""
    place = f"{socket.gethostname()}:{out.resolve()}"
    readable = re.sub(r"[^\w.-]", "_", out.resolve().name)
    return f"{readable}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def remove(out: Path) -> None:
    """What a run has written into its directory, but for checkpoints; and the directory, if nothing else is there."""
    for name in WRITTEN:
        with suppress(OSError):  # most often: it is not there
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    with suppress(OSError):
        out.rmdir()

"""Whether a directory holds a run of the same options."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...envs.errors import require
from ...learner.files import to_json
from ..config import Config
from .directory import WRITTEN
from .saved import read_config

RUN_IDENTITY = ("trials", "episodes_start", "seed")
"""What of a `Run` makes it another one."""


def check_run(config: Config, place: Path) -> None:
    """Refuse to go on with a run of something else, or to write over one that is not ours.

    Raises:
        BadInput: the directory holds one.
    """
    saved = read_config(place)
    if saved is None:
        others = [name for name in (*WRITTEN, "checkpoints") if os.path.lexists(place / name)]
        expected = "a directory that this command has written to, or none"
        require(not others, "out", f"{place}, which holds a {' and a '.join(others)}", expected)
        return
    own, experiment = json.loads(to_json(config.to_json())), config.experiment
    same = saved["episodes"] == own["episodes"]
    for kind, thing in (("family", experiment.family), ("algorithm", experiment.algorithm)):
        same = same and _with_defaults(saved[kind], thing) == own[kind]
    run = _with_defaults(saved["run"], config.run)
    same = same and all(run[name] == own["run"][name] for name in RUN_IDENTITY)
    require(same, "out", str(place), "a directory without runs of other options; delete it, or name another")


def _with_defaults(saved: Mapping[str, Any], thing: object) -> dict[str, Any]:
    """Saved options, and for those that are younger than the run their defaults; nothing that is named is imported."""
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING} | dict(saved)

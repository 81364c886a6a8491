"""How the options of commands are read. What cannot be used becomes one sentence."""

import contextlib
import io
import re
from collections.abc import Callable
from typing import Any

import tyro

from ..envs.errors import BadInput, without_passwords


def parse(options: Callable[..., Any], rest: list[str], name: str) -> Any:
    """Read typed options; what cannot be used becomes one sentence.

    Raises:
        BadInput: an option that is not known, or a value that its type or range does not allow.
    """
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")  # the boxes look different in other encodings
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(options, args=rest, prog=name, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:
        if not stop.code:
            raise
        said.seek(0)
        fault = without_passwords(first_sentence(said.read()), rest).rstrip(".")
    own = re.fullmatch(r"Error parsing \w+: (.* is .*; expected .*)", fault)
    raise BadInput(f"{own[1]}." if own else f"{fault}; expected what {name} --help lists.")


def first_sentence(box: str) -> str:
    """What a box of tyro's says before its first rule, on one line; its own first line is the title, or the frame."""
    lines: list[str] = []
    for line in (line.strip("│ ") for line in box.strip().splitlines()[1:]):
        if lines and re.fullmatch("[─-]{3,}", line):
            break
        if not re.fullmatch("[─╰╯-]*", line):
            lines.append(line)
    return " ".join(lines) or " ".join(box.split())

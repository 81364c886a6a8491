"""The one exception for input that cannot be used: one sentence, no traceback at the command line."""

import sysconfig
import traceback
from pathlib import Path

LONGEST = 300
"""Characters of a given value that a sentence repeats, at most."""


class BadInput(ValueError):
    """Input that a user can mend. The message names the field, what was given and what was expected."""


def require(condition: bool, field: str, given: object, expected: str) -> None:
    """Raise `BadInput` unless `condition` holds.

    Args:
        condition: what must be true of the value.
        field: the name under which the user knows the value (an option, an attribute, a key).
        given: the value itself.
        expected: completes the sentence "expected …".

    Raises:
        BadInput: `condition` is false.
    """
    if not condition:
        raise BadInput(f"{field} is {_shortened(given)}; expected {expected}.")


def raised_by(error: BaseException) -> str:
    """What an error in somebody's code says, and the file and line of it: `ValueError: no such arm, at bandit.py:7`.

    The line is the innermost one outside of this package, the standard library and installed packages.
    """
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    frames = [each for each in traceback.extract_tb(error.__traceback__) if _is_theirs(Path(each.filename))]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text.partition(' (')[0]}, at {error.filename}:{error.lineno}"
    return f"{text}, at {frames[-1].filename}:{frames[-1].lineno}" if frames else text


def _is_theirs(file: Path) -> bool:
    return file.is_file() and not any(file.is_relative_to(place) for place in _OTHERS)


_OTHERS = [Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))]


def _shortened(given: object) -> str:
    text = repr(given)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"

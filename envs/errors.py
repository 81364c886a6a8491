"""The exceptions that reach the user as one sentence, without a traceback, and what user code's own become."""

import errno
import re
import sysconfig
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
LONGEST = 300
"""Characters of a value, or of another exception's message, that a sentence repeats, at most."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of a disk that takes no more."""

_BEFORE_PASSWORD = re.compile(r"(://[^/?#\s:@]*:)[^\s]*@")
_PASSWORD = re.compile(r"://[^/?#\s:@]*:(\S+)@")


class BadInput(ValueError):
    """Input that a user can mend. The message names the field, what was given and what was expected."""


class RunFailed(RuntimeError):
    """Ends a run, for a reason that the message gives in one sentence."""


class EnvironmentRaised(RunFailed):
    """An environment's own code raised. The message says which environment, in which method, what and where; the
    exception itself is the cause. Another process may have more luck with the same trial."""


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
        raise BadInput(f"{field} is {brief(given)}; expected {expected}.")


def brief(given: object) -> str:
    """A value on one line, cut where it is long."""
    try:
        shown = repr(given)
        shown = " ".join(shown.split()) if "\n" in shown else shown
    except Exception:  # its own code
        shown = f"a {type(given).__name__}"
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def describe(error: BaseException) -> str:
    """An exception's type and message on one line."""
    try:
        message = "".join(each if each.isprintable() else "?" for each in " ".join(str(error).split()))
    except Exception:  # its own code
        message = "a message that cannot be shown"
    if len(message) > LONGEST:
        message = f"{message[:LONGEST]}…"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def origin(error: BaseException) -> str:
    """Where an exception was raised: "FILE:LINE in FUNCTION".

    That of the innermost frame in neither this package nor a library, which is the user's own code; of the innermost
    frame of all where there is none such.
    """
    frames = _frames(error)
    if not frames:
        return "an unknown place"
    _, file, line, function = ([frame for frame in frames if _is_users(frame)] or frames)[-1]
    return f"{file}:{line} in {function}"


def raised_by(error: BaseException) -> str:
    """What somebody's code raised, and where in it, if it was there: `ValueError: no arm, at bandit.py:7 in pull`."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg}, at {error.filename}:{error.lineno}"
    return f"{describe(error)}, at {origin(error)}" if any(map(_is_users, _frames(error))) else describe(error)


def _frames(error: BaseException) -> list[tuple[str, str, int, str]]:
    """Module, file, line and function of every frame, the innermost last."""
    return [
        (str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]


def _is_users(frame: tuple[str, str, int, str]) -> bool:
    own = __name__.partition(".")[0]
    return frame[0].partition(".")[0] != own and not frame[1].startswith((*LIBRARIES, "<frozen"))


def ask(who: str, method: str, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Call an environment's code; what it raises becomes one sentence.

    Args:
        who: the environment's name.
        method: the name under which the user knows what is called.
        call: it.
        args: its arguments.
        options: its named arguments.

    Raises:
        EnvironmentRaised: it raised, or tried to exit.
        BadInput: it raised that.
    """
    try:
        return call(*args, **options)
    except (BadInput, EnvironmentRaised):
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentRaised(f"{who}'s {method} raised {describe(error)}, at {origin(error)}.") from error


def hide_password(text: str) -> str:
    """A text without the passwords of URLs in it."""
    return _BEFORE_PASSWORD.sub(r"\1…@", text)


def without_passwords(text: str, words: list[str]) -> str:
    """A text, also one that is broken into lines, with dots for the passwords in URLs among the words of a command."""
    for password in _PASSWORD.findall("\n".join(words)):
        text = re.sub(r"\s*".join(map(re.escape, password)), "...", text)
    return text

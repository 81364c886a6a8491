"""The one exception for input that cannot be used: one sentence, no traceback at the command line."""

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


def _shortened(given: object) -> str:
    text = repr(given)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"

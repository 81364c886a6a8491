"""The one exception for input that cannot be used: one sentence, no traceback at the command line."""


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
        raise BadInput(f"{field} is {given!r}; expected {expected}.")

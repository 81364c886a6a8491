"""Where an exception came from: the user's own line, not ours nor a library's."""

import json
from typing import Any

import numpy as np
import pytest

from innerloop.envs.errors import BadInput, EnvironmentRaised, ask, brief, describe, origin
from innerloop.learner.returns import advantages


def in_the_standard_library() -> Any:
    return json.loads("{")


def in_a_library() -> Any:
    return np.stack([])


def in_innerloop() -> Any:
    return advantages(None, None, None, discount=1.0, trace=1.0)  # pyright: ignore[reportArgumentType]


def here() -> Any:
    raise ValueError("here")


@pytest.mark.parametrize("call", [in_the_standard_library, in_a_library, in_innerloop, here])
def test_the_line_is_the_users_own(call: Any) -> None:
    with pytest.raises(EnvironmentRaised) as raised:
        ask("Robot", "step", call)
    line = call.__code__.co_firstlineno + 1
    assert str(raised.value).endswith(f", at {__file__}:{line} in {call.__name__}.")
    assert str(raised.value).startswith("Robot's step raised ")
    assert "\n" not in str(raised.value)


def test_where_there_is_no_line_of_the_users_it_is_the_innermost() -> None:
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads("{")
    error = raised.value.with_traceback(raised.value.__traceback__.tb_next)  # pyright: ignore[reportOptionalMemberAccess]
    assert "decoder.py:" in origin(error)
    assert origin(ValueError()) == "an unknown place"


def test_our_own_sentences_pass() -> None:
    for error in (BadInput("x"), EnvironmentRaised("y")):
        with pytest.raises(type(error)) as raised:
            ask("Robot", "step", lambda error=error: (_ for _ in ()).throw(error))
        assert raised.value is error


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


def test_what_cannot_be_shown_is_named_by_its_type() -> None:
    assert brief(Hostile()) == "a Hostile"
    assert describe(ValueError(Hostile())) == "ValueError: a message that cannot be shown"
    assert brief("x\ny") == r"'x\ny'"
    assert brief(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert len(brief("x" * 10**6)) < 400

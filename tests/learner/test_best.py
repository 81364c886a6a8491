"""What a checkpoint says of the best one."""

import numpy as np
import pytest

from innerloop.envs.errors import BadInput
from innerloop.learner.best import BEST, Best, parse_best


def test_it_says_what_was_saved() -> None:
    assert parse_best({}, 5) is None
    for value in (0.0, -1e300, 3.25):
        assert parse_best(Best(5, value).state(), 5) == Best(5, value)


@pytest.mark.parametrize(
    "given",
    [
        np.array([6, 1.0]),
        np.array([0, 1.0]),
        np.array([-1, 1.0]),
        np.array([2.5, 1.0]),
        np.array([np.nan, 1.0]),
        np.array([2, np.nan]),
        np.array([2, np.inf]),
        np.array([2.0]),
        np.zeros(0),
        np.array([[2, 1.0]]),
        np.array([2, 1], np.float32),
        np.array([2, 1]),
    ],
)
def test_what_is_none_is_refused(given: np.ndarray) -> None:
    with pytest.raises(BadInput, match=f"^the checkpoint's {BEST} is .*; expected float64"):
        parse_best({BEST: given}, 5)

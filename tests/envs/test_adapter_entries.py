"""Observations of several entries through the Gymnasium adapter."""

from typing import Any

import numpy as np
import pytest
from given import Given, family, played
from gymnasium import spaces

from innerloop.envs.errors import BadInput
from innerloop.envs.spaces import unpack

ENTRIES = spaces.Dict(
    {
        "picture": spaces.Box(0, 255, (4, 4, 3), np.uint8),
        "facing": spaces.Discrete(4, start=1),
        "pair": spaces.Tuple([spaces.MultiBinary(2), spaces.Box(-1, 1, (), np.float64)]),
    }
)


class Entries(Given):
    """A member of a space with entries at every step."""

    observation_space = ENTRIES

    def usual(self) -> Any:
        self.seen = [*getattr(self, "seen", []), ENTRIES.sample()]
        return self.seen[-1]


def test_an_observation_of_several_entries_is_stored_as_it_was_seen() -> None:
    made: list[Entries] = []

    def make() -> Entries:
        made.append(Entries())
        return made[-1]

    inputs, steps = played(family(make), n=1, episodes=1)
    assert len(steps) == Given.limit
    seen = made[0].seen
    stored = [unpack(ENTRIES, each.observation) for each in inputs]
    for each in stored:
        assert any(
            np.array_equal(each["picture"][0], one["picture"])
            and each["facing"][0] == one["facing"]
            and np.array_equal(each["pair"][0][0], one["pair"][0])
            and each["pair"][1][0] == one["pair"][1]
            for one in seen
        )
    assert len({each["picture"].tobytes() for each in stored}) == len(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: {"picture": o["picture"]}, r"Entries's observation is with 'picture'; expected a mapping with"),
        (lambda o: o | {"facing": 0}, r"'facing' of Entries's observation is 0; expected integers in \[1, 5\)"),
        (lambda o: o | {"pair": (o["pair"][0],)}, r"'pair' of Entries's observation is .*; expected a tuple of 2"),
        (lambda o: o | {"pair": ([0, 2], 0.0)}, r"0 of 'pair' of Entries's observation is \[0 2\]; expected integers"),
        (lambda o: list(o), r"Entries's observation is \[.*\]; expected a mapping with 'facing', 'pair', 'picture'"),
    ],
)
def test_an_entry_that_is_none_of_the_spaces_is_named(change: Any, message: str) -> None:
    class Wrong(Entries):
        def usual(self) -> Any:
            return change(super().usual())

    Wrong.__name__ = "Entries"
    with pytest.raises(BadInput, match=f"^{message}"):
        played(family(Wrong))

"""Measures: per-step numbers other than the reward that a family names, such as `success`, and their episode totals."""

import re
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from .api import Bools
from .errors import BadInput, brief

Over = Literal["last", "sum", "ever"]
"""How the steps of an episode make its number: that of the last one, their sum, or 1 where any was not 0."""

NAME = re.compile(r"(?!.*_episode_)[a-z][a-z0-9_]{0,39}", re.ASCII)
"""Without what stands between a measure and the number of an episode in a metrics line."""


def parse_measures(who: str, given: object) -> dict[str, Over]:
    """The measures that a family names, each with how it is made of the steps of an episode.

    Raises:
        BadInput: it is no mapping, or a name or a way that is none.
    """
    if not isinstance(given, Mapping):
        raise BadInput(f"the measures of {who} are {brief(given)}; expected a mapping of names.")
    for name, over in given.items():
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            expected = "at most 40 lower-case letters, digits and _, without _episode_"
            raise BadInput(f"a measure of {who} is called {brief(name)}; expected {expected}.")
        if over not in get_args(Over):
            raise BadInput(f"the measure {name!r} of {who} is {brief(over)}; expected last, sum or ever.")
    return dict(given)


class Measures:
    """The measures of N rows of episodes, as they are played."""

    def __init__(self, over: Mapping[str, Over], rows: int) -> None:
        self._over, self._rows = over, rows
        self._found = {name: np.full((rows, 1), np.nan) for name in over}

    def add(self, steps: Mapping[str, np.ndarray], episode: np.ndarray, playing: Bools) -> None:
        """One step of every row.

        Args:
            steps: name to [N].
            episode: [N], which one each row is in.
            playing: [N], the row's step counts.
        """
        rows = np.flatnonzero(playing)
        if not rows.size or not self._over:
            return
        index = rows, episode[rows]
        for name, over in self._over.items():
            found, new = self._found[name], steps[name][rows].astype(np.float64)
            if (missing := int(index[1].max()) + 1 - found.shape[1]) > 0:
                more = max(missing, found.shape[1])
                found = self._found[name] = np.pad(found, [(0, 0), (0, more)], constant_values=np.nan)
            before = np.nan_to_num(found[index])
            found[index] = {"last": new, "sum": before + new, "ever": (before != 0) | (new != 0)}[over]

    def by_episode(self, episodes: int) -> dict[str, np.ndarray]:
        """float32 [N, episodes] by name; NaN of an episode that was not played."""
        found = {}
        for name, array in self._found.items():
            more = max(0, episodes - array.shape[1])
            found[name] = np.pad(array, [(0, 0), (0, more)], constant_values=np.nan)[:, :episodes].astype(np.float32)
        return found

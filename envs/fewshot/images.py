"""Few-shot classification of a user's own pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..api import Split
from ..errors import require
from .classes import OfPictures
from .pictures import Pictures, load


@dataclass(frozen=True, kw_only=True)
class Images(OfPictures):
    """Which of the classes is it?

    observation  example: a picture, uint8 [N, side, side, channels], black after an episode's last step; answer: that
                 to the step before, or `ways` where it is not told
    action       the answer, Discrete(ways)
    reward       1 if it is right, else 0
    terminated   after `ways` steps
    privileged   answer: the right one, int64 [N]
    task         class: int64 [N, ways], places in the order of the classes' names
    """

    data: str = ""
    """A folder, or a .zip, with a folder of pictures for each class; or an .npz with `images`, uint8 [classes,
    pictures, height, width] or [..., channels]. Where the outermost folders are train and test, they are the splits."""
    side: int = 28
    """Pixels of a picture's sides, to which it is resized."""
    channels: Literal[1, 3] = 1
    """1 for grey pictures, 3 for colours."""
    test_share: float = 0.2
    """Share of the classes that are for test, where folders do not say which; always the same ones."""

    @property
    def turns(self) -> int:
        return 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.side, self.side, self.channels

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.side <= 1_024, "side", self.side, "1 to 1,024")
        require(self.channels in (1, 3), "channels", self.channels, "1 or 3")
        require(0 < self.test_share < 1, "test_share", self.test_share, "a number between 0 and 1")

    def pictures(self) -> Pictures:
        require(bool(self.data), "data", self.data, "a folder, a .zip or an .npz of pictures")
        return load(self.data, self.side, self.channels, False)

    def groups(self, split: Split) -> Sequence[np.ndarray]:
        names = self.pictures().names
        outermost = np.array([name.partition("/")[0] for name in names])
        if {*outermost.tolist()} == {"train", "test"} and all("/" in name for name in names):
            return [np.flatnonzero(outermost == split)]
        order = np.random.default_rng(0).permutation(len(names))
        held_out = max(1, round(self.test_share * len(names)))
        return [order[:held_out] if split == "test" else order[held_out:]]

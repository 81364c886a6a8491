"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings of each (Lake et al. 2015, Science 350)."""

import hashlib
import secrets
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock

from ..api import Split
from ..errors import BadInput, describe, require
from .classes import OfPictures
from .pictures import Pictures, cache_directory, load

ADDRESS = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
FILES = {
    "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
}
"""The official files, and their MD5 sums."""
SIDE = 28
"""Pixels."""
TRAINING = 1_200
"""Characters for training in the splits of Vinyals et al. and of Finn et al."""


@dataclass(frozen=True, kw_only=True)
class Omniglot(OfPictures):
    """Which of the characters is it?

    observation  example: a drawing, uint8 [N, 28, 28, 1], ink is bright, black after an episode's last step; answer:
                 that to the step before, or `ways` where it is not told
    action       the answer, Discrete(ways)
    reward       1 if it is right, else 0
    terminated   after `ways` steps
    privileged   answer: the right one, int64 [N]
    task         class: int64 [N, ways], of each character its place in the order of part/alphabet/character; with
                 rotations four times that, plus the number of quarter turns
    """

    data: str = ""
    """A folder, .zip or .npz with the drawings in the official layout; empty for the official files, which are
    downloaded once and kept (INNERLOOP_CACHE, or ~/.cache/innerloop)."""
    split: Literal["vinyals", "finn", "lake"] = "vinyals"
    """vinyals: the first 1,200 characters by name (the 1,028 and 172 of Vinyals et al. 2016) train, the last 423 test.
    finn: 1,200 train that are drawn at random, as Finn et al. 2017. lake: the background alphabets train, the
    evaluation alphabets test (Lake et al. 2015)."""
    rotations: bool = True
    """Characters turned by 90, 180 and 270 degrees are classes of their own, in test too."""
    within_alphabet: bool = False
    """All classes of a trial are of one alphabet, which is much harder."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return SIDE, SIDE, 1

    @property
    def turns(self) -> int:
        return 4 if self.rotations else 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.split in ("vinyals", "finn", "lake"), "split", self.split, "vinyals, finn or lake")

    def pictures(self) -> Pictures:
        """As documented; downloads them where there is no `data`."""
        return load(self.data or str(downloaded(ADDRESS)), SIDE, 1, True)

    def groups(self, split: Split) -> Sequence[np.ndarray]:
        names = self.pictures().names
        chosen = np.array([*self._chosen(names, split)], np.int64)
        if not self.within_alphabet:
            return [chosen]
        alphabets = np.array([names[index].rpartition("/")[0] for index in chosen.tolist()])
        return [chosen[alphabets == alphabet] for alphabet in np.unique(alphabets)]

    def _chosen(self, names: Sequence[str], split: Split) -> Sequence[int]:
        """The characters of a split, by their places in the order of names."""
        if self.split == "lake":
            part = "images_background" if split == "train" else "images_evaluation"
            return [index for index, name in enumerate(names) if part in name]
        order = range(len(names))
        if self.split == "finn":
            order = np.random.default_rng(0).permutation(len(names)).tolist()
        return order[:TRAINING] if split == "train" else order[TRAINING:]


def downloaded(address: str) -> Path:
    """The folder with the official files, downloaded if they are not there.

    Args:
        address: of the folder that has them.

    Raises:
        BadInput: they cannot be had, or are not the official ones.
    """
    folder = cache_directory() / "omniglot"
    if all((folder / name).is_file() for name in FILES):
        return folder
    try:
        folder.mkdir(exist_ok=True)
        with FileLock(folder / "lock"):
            for name, checksum in FILES.items():
                if not (folder / name).is_file():
                    _fetch(f"{address}/{name}", checksum, folder / name)
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        expected = f"a folder, .zip or .npz with Omniglot, as {address} cannot be downloaded ({describe(error)})"
        raise BadInput(f"data is ''; expected {expected}.") from error
    return folder


def _fetch(address: str, checksum: str, file: Path) -> None:
    with urllib.request.urlopen(address, timeout=60) as answer:
        data = answer.read()
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    require(found == checksum, f"the MD5 sum of {address}", found, f"{checksum}: the official file")
    beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        beside.write_bytes(data)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)

"""Pictures by class, from wherever a user keeps them.

They are read once and kept as plain arrays in a cache (`INNERLOOP_CACHE`, or ~/.cache/innerloop), from where every
process maps them into its memory: all share one copy.
"""

import hashlib
import io
import json
import math
import os
import secrets
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import BadInput, describe, require

KINDS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
MOST_BYTES = 2**34
"""Of all pictures, as they are kept."""
FORMAT = 1


class Pictures(NamedTuple):
    """All pictures, class by class."""

    names: tuple[str, ...]
    """Of the classes, in the order of their names; as a path, where they lie in folders."""
    images: np.ndarray
    """uint8 [M, side, side, channels], mapped from a file."""
    first: np.ndarray
    """int64 [classes + 1], of each class's pictures; the last entry is M."""

    @property
    def counts(self) -> np.ndarray:
        """Of pictures in each class."""
        return np.diff(self.first)


def cache_directory() -> Path:
    """Where pictures are kept.

    Raises:
        BadInput: it cannot be written.
    """
    given = os.environ.get("INNERLOOP_CACHE", "")
    place = Path(given) if given else Path.home() / ".cache" / "innerloop"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"INNERLOOP_CACHE is {str(place)!r}; expected a directory ({describe(error)}).") from error
    return place


@lru_cache(maxsize=8)
def load(source: str, side: int, channels: int, inverted: bool) -> Pictures:
    """The pictures of a folder, of a .zip or of an .npz.

    A folder, or a .zip, has a folder for each class, at any depth; a folder without any may have .zip files. An .npz
    has uint8 arrays: `images` [classes, pictures, height, width] or [..., channels], and maybe `names` [classes]; or
    `images` [M, height, width] or [..., channels] and `labels` [M].

    Args:
        source: where they are.
        side: pixels of a picture's sides, to which it is resized (box filter).
        channels: 1 (grey) or 3.
        inverted: of drawings on white paper, so that ink is bright; an .npz is left as it is.

    Raises:
        BadInput: there are none, or they cannot be read.
    """
    place = Path(source)
    if not place.exists():
        raise BadInput(f"data is {source!r}; expected a folder, a .zip or an .npz of pictures that is there.")
    about = [FORMAT, side, channels, inverted, os.path.realpath(place), *_identity(place)]
    kept = cache_directory() / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    try:
        return _opened(kept, side, channels)
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole
        pass
    names, images, first = _read(place, side, channels, inverted)
    try:
        for suffix, write in (
            (".pixels", images.tofile),
            (".json", lambda file: file.write(json.dumps({"names": names, "first": first}).encode())),
        ):
            beside = kept.with_name(f".{kept.name}.{secrets.token_hex(8)}{suffix}")
            try:
                with beside.open("xb") as file:
                    write(file)
                beside.replace(kept.with_suffix(suffix))
            finally:
                beside.unlink(missing_ok=True)
    except OSError as error:
        expected = f"a directory with room for {images.nbytes / 1e6:.0f} MB ({describe(error)})"
        raise BadInput(f"INNERLOOP_CACHE is {str(kept.parent)!r}; expected {expected}.") from error
    return _opened(kept, side, channels)


def _opened(kept: Path, side: int, channels: int) -> Pictures:
    about = json.loads(kept.with_suffix(".json").read_bytes())
    names, first = tuple(about["names"]), np.array(about["first"], np.int64)
    file, shape = kept.with_suffix(".pixels"), (int(first[-1]), side, side, channels)
    if file.stat().st_size != math.prod(shape) or len(first) != len(names) + 1:
        raise ValueError("not whole")
    return Pictures(names, np.memmap(file, np.uint8, "r", shape=shape), first)


def _identity(place: Path) -> list[object]:
    """What changes when the source does."""
    if place.is_file():
        return [place.stat().st_size, place.stat().st_mtime_ns]
    files = sorted(file for file in place.rglob("*") if file.suffix.lower() in (*KINDS, ".zip") and file.is_file())
    return [[str(file.relative_to(place)), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _read(place: Path, side: int, channels: int, inverted: bool) -> tuple[list[str], np.ndarray, list[int]]:
    """Names of classes, pictures, and where each class's begin."""
    classes: dict[str, list[np.ndarray]] = {}
    size = 0
    pairs = _of_npz(place, side, channels) if place.suffix == ".npz" else _of_files(place, side, channels, inverted)
    for name, picture in pairs:
        classes.setdefault(name, []).append(picture)
        size += picture.nbytes
        require(size <= MOST_BYTES, "data", str(place), f"pictures of at most {MOST_BYTES >> 30} GiB in all")
    if len(classes) < 2:
        raise BadInput(f"data is {str(place)!r}, which has {len(classes)} classes of pictures; expected at least 2.")
    names = sorted(classes)
    first = np.cumsum([0, *(len(classes[name]) for name in names)]).tolist()
    return names, np.concatenate([np.stack(classes[name]) for name in names]), first


def _of_files(place: Path, side: int, channels: int, inverted: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Each picture with its class, in the order of their names."""
    for name, data in _files(place):
        folder, _, _ = name.rpartition("/")
        try:
            with Image.open(io.BytesIO(data)) as picture:
                pixels = _resized(picture, side, channels)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise BadInput(f"data has {name!r}; expected a picture ({describe(error)}).") from error
        yield folder, 255 - pixels if inverted else pixels


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    """The names, with folders, and contents of all pictures; of a folder without any, those in its .zip files."""
    if place.is_file():
        yield from _zipped(place)
        return
    unpacked = False
    for file in sorted(place.rglob("*")):
        name = file.relative_to(place).as_posix()
        if file.suffix.lower() in KINDS and "/" in name:
            unpacked = True
            try:
                yield name, file.read_bytes()
            except OSError as error:
                raise BadInput(f"data has {name!r}; expected a picture ({describe(error)}).") from error
    for file in () if unpacked else sorted(place.glob("*.zip")):  # beside folders it has the same pictures again
        yield from _zipped(file)


def _zipped(file: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith(KINDS) and "/" in name and "__MACOSX" not in name:
                    yield name, archive.read(name)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BadInput(f"data is {str(file)!r}; expected a whole .zip file ({describe(error)}).") from error


def _of_npz(place: Path, side: int, channels: int) -> Iterator[tuple[str, np.ndarray]]:
    try:
        with zipfile.ZipFile(place) as archive:
            files = {name: f"{name}.npy" for name in ("images", "labels", "names")}
            arrays = {
                name: np.lib.format.read_array(io.BytesIO(archive.read(file)))  # which unpickles nothing
                for name, file in files.items()
                if file in archive.namelist()
            }
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, EOFError) as error:
        raise BadInput(f"data is {str(place)!r}; expected a whole .npz file ({describe(error)}).") from error
    images, labels = arrays.get("images"), arrays.get("labels")
    by_class = labels is None
    least = 4 if by_class else 3
    if images is None or images.dtype != np.uint8 or images.ndim not in (least, least + 1) or not images.size:
        given = "none" if images is None else f"{images.dtype} {[*images.shape]}"
        raise BadInput(f"`images` in {str(place)!r} is {given}; expected uint8 [classes, pictures, height, width].")
    wanted, what = images.shape[0], "names" if by_class else "labels"
    given = arrays.get(what, np.array([f"{index:04d}" for index in range(wanted)]))
    require(given.shape == (wanted,), f"the shape of `{what}` in {str(place)!r}", given.shape, f"({wanted},)")
    for name, pictures in zip(map(str, given.tolist()), images if by_class else images[:, None], strict=True):
        for picture in pictures:
            flat = picture[..., 0] if picture.ndim == 3 and picture.shape[-1] == 1 else picture
            fits = flat.ndim == 2 or flat.shape[-1] == 3
            require(fits, f"the channels of `images` in {str(place)!r}", picture.shape[-1], "1 or 3")
            yield name, _resized(Image.fromarray(flat), side, channels)


def _resized(picture: Image.Image, side: int, channels: int) -> np.ndarray:
    """uint8 [side, side, channels]."""
    resized = picture.convert("L" if channels == 1 else "RGB")
    if resized.size != (side, side):
        resized = resized.resize((side, side), Image.Resampling.BOX)
    return np.asarray(resized).reshape(side, side, channels)

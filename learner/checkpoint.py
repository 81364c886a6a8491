"""Checkpoints: arrays as safetensors, everything else as JSON, written so that a half-written one is never read.

A checkpoint is two files, `00000120.safetensors` and `00000120.json`. The JSON is written last and carries the size and
SHA-256 of the other, and a sum of itself: without it, or with another sum, the checkpoint does not count. The place is
a local path or any fsspec URL (`s3://…`, `gs://…`, `memory://…`).
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from safetensors.numpy import load as decode
from safetensors.numpy import save as encode

from ..envs.errors import BadInput, require

FORMAT = 1


class Checkpoint(NamedTuple):
    """What was saved."""

    arrays: dict[str, np.ndarray]
    numbers: dict[str, float]
    """Counters, by name."""
    config: dict[str, Any]
    """Of the run that saved it."""
    skipped: list[str]
    """Newer checkpoints that could not be used, and why, one sentence each."""


class Checkpoints:
    """The checkpoints of one run, in one place."""

    def __init__(self, place: str, keep: int = 3) -> None:
        """Args:
        place: a directory, or an fsspec URL of one; made when first written to.
        keep: how many of the newest are kept.

        Raises:
            BadInput: `keep` is less than 1, or the URL's protocol is not known or not installed.
        """
        require(keep >= 1, "keep", keep, "at least 1")
        self.place, self._keep = place, keep
        try:
            self._fs, self._root = fsspec.core.url_to_fs(place)
        except (ValueError, ImportError) as error:
            raise BadInput(
                f"checkpoints is {place!r}; expected a path or a URL that fsspec can open ({error})."
            ) from error

    def save(self, arrays: dict[str, np.ndarray], numbers: dict[str, float], config: dict[str, Any]) -> None:
        """Write the checkpoint of `numbers["version"]`, then delete all but the newest `keep`.

        Raises:
            OSError: the place cannot be written; what was there stays usable.
        """
        name = f"{int(numbers['version']):08d}"
        # The encoder writes raw memory: an array that is not in C order would come back scrambled.
        data = encode({name: np.asarray(array, order="C") for name, array in arrays.items()})
        about = {
            "format": FORMAT,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "numbers": numbers,
            "config": config,
        }
        about["seal"] = _seal(about)
        try:
            self._fs.makedirs(self._root, exist_ok=True)
            self._write(f"{name}.safetensors", data)
            self._write(f"{name}.json", json.dumps(about, indent=1).encode())
        except Exception as error:  # whatever a file system of fsspec raises
            with contextlib.suppress(Exception):
                if name not in self.names():  # its arrays alone would take room for nothing
                    self._fs.rm(f"{self._root}/{name}.safetensors")
            raise error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}") from error
        self.delete(self.names()[: -self._keep])

    def names(self) -> list[str]:
        """Of the checkpoints, oldest first."""
        if not self._fs.exists(self._root):
            return []
        self._fs.invalidate_cache(self._root)
        files = (path.rsplit("/", 1)[-1] for path in self._fs.ls(self._root, detail=False))
        return sorted(file[: -len(".json")] for file in files if file.endswith(".json") and file[:8].isdigit())

    def newest(self) -> Checkpoint:
        """The newest one that is whole.

        Raises:
            BadInput: there is none.
        """
        skipped: list[str] = []
        for name in reversed(self.names()):
            try:
                return self.read(name, skipped)
            except BadInput as error:
                skipped.append(str(error))
        raise BadInput(skipped[0] if skipped else f"no checkpoint in {self.place!r}; expected the directory of a run.")

    def clear(self) -> None:
        """Delete all checkpoints."""
        self.delete(self.names())

    def delete(self, names: list[str]) -> None:
        """Some of `names`."""
        for name in names:
            for kind in ("json", "safetensors"):
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm(f"{self._root}/{name}.{kind}")

    def read(self, name: str, skipped: list[str]) -> Checkpoint:
        """One of `names`; `skipped` is passed on.

        Raises:
            BadInput: it is not whole.
        """
        where = f"{self.place}/{name}"
        try:
            about = json.loads(self._fs.cat_file(f"{self._root}/{name}.json"))
            data: bytes = self._fs.cat_file(f"{self._root}/{name}.safetensors")
            given, numbers, config = about["format"], about["numbers"], about["config"]
            size, digest = about["bytes"], about["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"checkpoint {where!r} cannot be read ({error!r}); expected a whole one.") from error
        require(given == FORMAT, f"the format of checkpoint {where!r}", given, f"{FORMAT}")
        require(
            len(data) == size, f"the size of checkpoint {where!r}", len(data), f"{size} bytes: the file is not whole"
        )
        if hashlib.sha256(data).hexdigest() != digest:
            raise BadInput(f"checkpoint {where!r} is not what was written; expected SHA-256 {digest}.")
        if about.pop("seal", None) not in (None, _seal(about)):  # older ones have none
            raise BadInput(
                f"checkpoint {where!r} is not what was written; its JSON was changed, expected the original."
            )
        return Checkpoint(decode(data), numbers, config, skipped)

    def size(self, name: str) -> int:
        """Bytes of the arrays in one of `names`; 0 if they are lost."""
        path = f"{self._root}/{name}.safetensors"
        try:
            header = int.from_bytes(self._fs.cat_file(path, start=0, end=8), "little")
            return max(0, self._fs.size(path) - 8 - header)
        except FileNotFoundError:
            return 0

    def _write(self, file: str, data: bytes) -> None:
        path = f"{self._root}/{file}"
        if isinstance(self._fs, LocalFileSystem):
            write_whole(path, data)
        else:
            self._fs.pipe_file(path, data)  # object stores show a file only once it is whole


def _seal(about: dict[str, Any]) -> str:
    """Tells whether a checkpoint's JSON was changed."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class Pieces:
    """What grows with a run, such as replay: each piece is written once, beside the checkpoint that it belongs to."""

    def __init__(self, place: str, capacity: int) -> None:
        """Args:
        place: as of `Checkpoints`.
        capacity: bytes; the oldest pieces are deleted as long as the newer ones hold as many.
        """
        self._files, self._capacity = Checkpoints(place, keep=2**31), capacity

    def save(self, version: int, arrays: dict[str, np.ndarray]) -> None:
        """Add the piece that came with a version; nothing, if it is empty, or if the version has one already (what came
        since will come again after a resume)."""
        if not arrays or f"{version:08d}" in self._files.names():
            return
        self._files.save(arrays, {"version": version}, {})
        held = 0
        for name in reversed(self._files.names()):
            if held >= self._capacity:
                self._files.delete([name])
            held += self._files.size(name) if held < self._capacity else 0

    def read(self, version: int) -> Iterator[dict[str, np.ndarray]]:
        """The pieces up to a version, oldest first; later ones are deleted. One that is damaged is left out, with a
        warning."""
        for name in self._files.names():
            if int(name) > version:
                self._files.delete([name])
                continue
            try:
                yield self._files.read(name, []).arrays
            except BadInput as error:
                logging.getLogger("innerloop").warning("%s The run goes on without what was in it.", error)

    def clear(self) -> None:
        """Delete all."""
        self._files.clear()


def write_whole(path: str, data: bytes) -> None:
    """Write a local file so that at any moment it is either as before or complete, on disk too."""
    temporary = f"{path}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)

"""Checkpoints: arrays as safetensors, everything else as JSON, written so that a half-written one is never read.

A checkpoint is two files, `00000120.safetensors` and `00000120.json`. The JSON is written last and carries the size and
SHA-256 of the other, and a sum of itself: without it, or with another sum, the checkpoint does not count. The place is
a local path or any fsspec URL (`s3://…`, `gs://…`, `memory://…`). Several runs may share one: each reads and deletes
only what carries its own id.
"""

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, TypeAdapter
from safetensors.numpy import load as decode
from safetensors.numpy import save as encode
from typing_extensions import TypedDict

from ..envs.errors import BadInput, require
from .files import Count, Finite, parse, read, reason, write_whole
from .model import refuse_beyond_memory
from .places import Place, resolve_place

FORMAT = 4
"""Of what a run saves: 2 since options and layers have the field's names (`updates_per_step`, `norm1`)."""
LARGEST_JSON = 2**24
"""Bytes of a checkpoint's JSON, at most."""

_NAME = re.compile(r"(\d{8,})\.json")
_PART = re.compile(r"\d{8,}\.(json|safetensors)\.[0-9a-f]{16}\.part")
_Counter = Annotated[Finite, Field(ge=0)]


class _About(TypedDict):
    """A checkpoint's JSON."""

    format: int
    bytes: Count
    sha256: str
    numbers: dict[str, _Counter]
    config: dict[str, Any]
    seal: str


_ABOUT = TypeAdapter(_About)


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

    def __init__(self, place: str | Path | Place, keep: int = 3, run: str | None = None) -> None:
        """Args:
        place: a directory, or an fsspec URL of one; made when first written to.
        keep: how many of the newest are kept.
        run: the id of the run; None to read what is there, whichever run saved it.

        Raises:
            BadInput: `keep` is less than 1, or the place cannot be one.
        """
        require(keep >= 1, "keep", keep, "at least 1")
        self.place = place if isinstance(place, Place) else resolve_place("checkpoints", place)
        self._keep, self._run = keep, run
        self._fs, self._root = self.place.fs, self.place.root
        self._of: dict[str, str | None] = {}
        """The run of each checkpoint whose JSON has been read; None where that cannot be told."""

    def save(
        self, arrays: dict[str, np.ndarray], numbers: dict[str, float], config: dict[str, Any], also: int = -1
    ) -> None:
        """Write the checkpoint of `numbers["version"]`, then delete all but the run's newest `keep`.

        Args:
            arrays, numbers, config: see `Checkpoint`.
            also: a version that is not deleted either.

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
                if name not in self._listed():  # its arrays alone would take room for nothing
                    self._fs.rm(f"{self._root}/{name}.safetensors")
            raise error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}") from error
        self._of[name] = config.get("id", "")
        try:
            self.delete([each for each in self.own()[: -self._keep] if int(each) != also])
        except BadInput as error:
            raise OSError(str(error)) from error

    def names(self) -> list[str]:
        """Of the run's checkpoints, and of those of which it cannot be told whose they are; oldest first.

        Raises:
            BadInput: the place cannot be read.
        """
        return [name for name in self._listed() if self._run is None or self._id(name) in (self._run, None)]

    def own(self) -> list[str]:
        """Of the run's checkpoints, oldest first; without a run, of all that are checkpoints.

        Raises:
            BadInput: the place cannot be read.
        """
        mine = [name for name in self._listed() if self._id(name) is not None]
        return [name for name in mine if self._run in (self._id(name), None)]

    def others(self) -> list[str]:
        """Of checkpoints that other runs saved here."""
        return [name for name in self._listed() if self._id(name) not in (self._run, None)]

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
        if skipped:
            raise BadInput(skipped[0])
        raise BadInput(f"no checkpoint in {self.place.shown!r}; expected the directory of a run.")

    def at(self, version: int) -> Checkpoint:
        """The one of this version.

        Raises:
            BadInput: it is not there, or not whole.
        """
        return self.read(f"{version:08d}", [])

    def clear(self) -> None:
        """Delete all checkpoints, of whichever run, and what a process that was killed left of one."""
        arrays = self._files(r"\d{8,}\.safetensors")
        # One whose JSON cannot be read is ours if it has arrays; anything else of that name is not.
        names = [name for name in self._listed() if self._id(name) is not None or f"{name}.safetensors" in arrays]
        self.delete(names)
        self.tidy()

    def tidy(self) -> None:
        """Delete what a process that was killed was writing; nobody else may be writing here."""
        for file in self._files(_PART.pattern):
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm(f"{self._root}/{file}")

    def delete(self, names: list[str]) -> None:
        """Some of `names`."""
        for name in names:
            self._of.pop(name, None)
            for kind in ("json", "safetensors"):
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm(f"{self._root}/{name}.{kind}")

    def read(self, name: str, skipped: list[str]) -> Checkpoint:
        """One of `names`; `skipped` is passed on.

        Raises:
            BadInput: it is not whole.
        """
        where = self.where(name)
        about = self._about(name)
        check_format(where, about["format"])
        seal = about.pop("seal")
        if seal != _seal(about):
            raise BadInput(f"{where} is not what was written; its JSON was changed, expected the original.")
        size, most = about["bytes"], f"{about['bytes']} bytes: the file is not whole"
        refuse_beyond_memory(f"the arrays of {where}", size)
        try:
            data = read(f"{self._root}/{name}.safetensors", where, "a whole one", fs=self._fs, most=size)
        except FileNotFoundError:
            raise BadInput(f"{where} has no arrays; expected {name}.safetensors beside it.") from None
        require(len(data) == size, f"the size of {where}", len(data), most)
        if hashlib.sha256(data).hexdigest() != about["sha256"]:
            raise BadInput(f"{where} is not what was written; expected SHA-256 {about['sha256']}.")
        version = about["numbers"].get("version")
        require(version == int(name), f"the version of {where}", version, f"{int(name)}, as in its name")
        try:
            arrays = decode(data)
        except Exception as error:  # whatever a parser makes of input that somebody else wrote
            raise BadInput(
                f"the arrays of {where} cannot be parsed ({reason(error)}); expected safetensors."
            ) from error
        return Checkpoint(arrays, about["numbers"], about["config"], skipped)

    def where(self, name: str) -> str:
        """What one of `names` is called in a sentence."""
        return f"checkpoint {f'{self.place.shown}/{name}'!r}"

    def size(self, name: str) -> int:
        """Bytes of the arrays in one of `names`; 0 if they are lost."""
        path = f"{self._root}/{name}.safetensors"
        try:
            header = int.from_bytes(self._fs.cat_file(path, start=0, end=8), "little")
            return max(0, self._fs.size(path) - 8 - header)
        except FileNotFoundError:
            return 0

    def _listed(self) -> list[str]:
        names = [file.removesuffix(".json") for file in self._files(_NAME.pattern)]
        return sorted(names, key=int)

    def _files(self, pattern: str) -> set[str]:
        """The files in the place whose whole names match."""
        try:
            self._fs.invalidate_cache(self._root)
            if not self._fs.exists(self._root):
                return set()
            files = {path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(self._root, detail=False)}
        except FileNotFoundError:
            return set()
        except Exception as error:  # whatever a file system of fsspec raises
            raise BadInput(
                f"{self.place.shown!r} cannot be read ({reason(error)}); expected a directory of checkpoints."
            ) from error
        return {file for file in files if re.fullmatch(pattern, file)}

    def _id(self, name: str) -> str | None:
        """Of the run that saved it; None where that cannot be told."""
        if name not in self._of:
            try:
                found = self._about(name)["config"].get("id", "")
                self._of[name] = found if isinstance(found, str) else None
            except BadInput:
                self._of[name] = None
        return self._of[name]

    def _about(self, name: str) -> _About:
        where = self.where(name)
        try:
            data = read(f"{self._root}/{name}.json", where, "a whole one", fs=self._fs, most=LARGEST_JSON)
        except FileNotFoundError as error:
            raise BadInput(f"{where} cannot be read ({error}); expected a whole one.") from error
        return parse(_ABOUT, data, where, "a whole one")

    def _write(self, file: str, data: bytes) -> None:
        path = f"{self._root}/{file}"
        if self.place.local:
            write_whole(path, data)
        else:
            self._fs.pipe_file(path, data)  # object stores show a file only once it is whole


def check_format(what: str, given: object) -> None:
    """Refuse what another version has saved.

    Args:
        what: a checkpoint or a configuration, as sentences call it.
        given: its format.

    Raises:
        BadInput: it is not the one that is read here.
    """
    expected = f"{FORMAT}: another version of innerloop saved it, and can still use it; with this one, train again"
    require(given == FORMAT, f"the format of {what}", given, expected)


def _seal(about: Any) -> str:
    """Tells whether a checkpoint's JSON was changed."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

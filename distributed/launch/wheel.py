"""innerloop as a wheel: built of the source that runs, and unpacked, to be sent to a cluster."""

import io
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from ... import __version__
from ...envs.errors import FULL, BadInput, require
from ...learner.files import plain, read, reason

ROOT = Path(__file__).parents[2]
PACKAGE = "innerloop/"
LARGEST = 2**27
"""Bytes of a wheel, packed and unpacked; ours has less than one million."""
MOST_FILES = 10_000
"""In a wheel."""


def build(folder: Path) -> Path:
    """A wheel of the source that is running, built in `folder`.

    Raises:
        BadInput: there is no source, or it does not build.
    """
    if not (ROOT / "pyproject.toml").is_file():
        raise BadInput("wheel is not given, and innerloop runs from an installed copy here; expected --wheel FILE.")
    source = folder / "source"  # a copy: a build leaves its traces, and takes in those of earlier ones
    source.mkdir()
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, source)
        elif (path / "__init__.py").is_file():
            copy(path, source / path.name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = plain((done.stderr.strip().splitlines() or ["no reason given"])[-1])
        raise BadInput(f"wheel is not given, and pip cannot build one ({said}); expected --wheel FILE.")
    [wheel] = folder.glob("*.whl")
    return wheel


def unpack(wheel: Path, code: Path) -> None:
    """The package that a wheel holds, as a folder in `code`.

    Raises:
        BadInput: it is no wheel, or not of this version of innerloop; nothing has been written.
    """
    what, expected = f"wheel {str(wheel)!r}", "a wheel of innerloop"
    try:
        with zipfile.ZipFile(io.BytesIO(read(wheel, what, expected, most=LARGEST))) as archive:
            package = _package(archive)
            about = f"innerloop-{__version__}.dist-info/METADATA"
            given = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
            found = Parser().parsestr(archive.read(given[0]).decode()) if len(given) == 1 else {}
            name = f"{found.get('Name')} {found.get('Version')}"
            if name != f"innerloop {__version__}" or given != [about]:
                shown = plain(f"{name}, {' '.join(given)}" if len(given) > 1 else name if given else "no METADATA")
                require(False, "wheel", f"{wheel} ({shown})", f"innerloop {__version__}, as here")
            if broken := archive.testzip():
                raise ValueError(f"{broken} is damaged")
            archive.extractall(code, package)
    except BadInput:
        raise
    except Exception as error:  # zipfile's, zlib's, lzma's, struct's, for what is no archive or a damaged one
        raise BadInput(f"wheel is {str(wheel)!r}; expected {expected} ({reason(error)}).") from None


def _package(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of the package.

    Raises:
        ValueError: they are too many, too large or not in its folder.
    """
    names = [each.filename for each in archive.infolist()]
    if sum(each.file_size for each in archive.infolist()) > LARGEST or len(names) > MOST_FILES:
        raise ValueError(f"it unpacks to more than {LARGEST} bytes or {MOST_FILES} files")
    if len({*names}) < len(names):
        raise ValueError("it holds a file twice")
    for name in names:
        if not name.isprintable() or name.startswith("/") or {"..", "."} & {*re.split(r"[/\\]", name)}:
            raise ValueError(f"it holds {name!r}")
    if f"{PACKAGE}__init__.py" not in names:
        raise ValueError(f"it holds no {PACKAGE}__init__.py")
    return [each for each in archive.infolist() if each.filename.startswith(PACKAGE)]


def copy(path: Path, place: Path) -> None:
    """A file, or a folder without what Python and git leave in it.

    Raises:
        BadInput: it cannot be read, or holds what is no file: a pipe, a loop of links.
    """
    try:
        if path.is_file():
            shutil.copy(path, place)
        else:
            shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    except shutil.Error as error:  # of a folder it says all that it could not copy
        source, _, why = error.args[0][0]
        raise BadInput(f"{str(source)!r} cannot be sent ({plain(why)}); expected a file that can be read.") from None
    except OSError as error:
        if error.errno in FULL:
            raise
        raise BadInput(f"{str(path)!r} cannot be sent ({reason(error)}); expected files that can be read.") from None

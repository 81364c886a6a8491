"""innerloop as a wheel: built of the source that runs, and unpacked, to be sent to a cluster."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from .. import __version__
from ..envs.errors import BadInput, require

ROOT = Path(__file__).parents[1]


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
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BadInput(f"wheel is not given, and pip cannot build one ({reason}); expected --wheel FILE.")
    [wheel] = folder.glob("*.whl")
    return wheel


def unpack(wheel: Path, code: Path) -> None:
    """The package that a wheel holds, as a folder in `code`.

    Raises:
        BadInput: it is no wheel, or not of this version of innerloop.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            [about] = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            found = Parser().parsestr(archive.read(about).decode())
            archive.extractall(code, [name for name in archive.namelist() if name.startswith("innerloop/")])
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadInput(f"wheel is {str(wheel)!r}; expected a wheel of innerloop ({error}).") from error
    name = f"{found['Name']} {found['Version']}"
    require(name == f"innerloop {__version__}", "wheel", f"{wheel} ({name})", f"innerloop {__version__}, as here")


def copy(path: Path, place: Path) -> None:
    """A file, or a folder without what Python and git leave in it."""
    if path.is_file():
        shutil.copy(path, place)
    else:
        shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__", ".*"))

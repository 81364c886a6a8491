"""What is deployed is told apart by its source, however it was installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from innerloop.distributed.source import PACKAGES, ROOT, deployed

SAY = "from innerloop.distributed.source import deployed; print(deployed())"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package at another place, as an installation has it."""
    place = tmp_path / "innerloop"
    place.mkdir()
    for name in ("__init__.py", *PACKAGES):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
    return place


def said(place: Path) -> str:
    program = f"import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]; {SAY}"
    done = subprocess.run([sys.executable, "-c", program], cwd=place.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_same_files_elsewhere_are_the_same(copy: Path) -> None:
    (copy / "tests").mkdir()
    (copy / "tests" / "more.py").write_text("1")  # what is not deployed does not count
    assert said(copy) == deployed()


@pytest.mark.parametrize("change", ["a line more", "a file more", "a file less", "another name"])
def test_other_files_are_another_innerloop(change: str, copy: Path) -> None:
    file = copy / "learner" / "returns.py"
    if change == "a line more":
        file.write_text(file.read_text() + "\n")
    elif change == "a file more":
        (copy / "envs" / "new.py").touch()
    elif change == "a file less":
        file.unlink()
    else:
        file.rename(copy / "learner" / "other.py")
    assert said(copy) != deployed()
    assert said(copy).split()[0] == deployed().split()[0]

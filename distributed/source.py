"""Which innerloop this is: its version, and a hash of its source, which tells two checkouts of one version apart."""

import hashlib
from functools import cache
from pathlib import Path

from .. import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = ("actors", "distributed", "envs", "learner")


@cache
def deployed() -> str:
    """As `0.1.0 (source 1a2b3c4d)`; the same wherever the same files are installed, in whatever way."""
    found = hashlib.sha256()
    for file in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        found.update(f"{file.relative_to(ROOT).as_posix()}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{__version__} (source {found.hexdigest()[:8]})"

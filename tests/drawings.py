"""Drawn characters in Omniglot's official layout, and the cache in which they lie."""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from innerloop.envs.fewshot.omniglot import FILES
from innerloop.envs.fewshot.strokes import draw

CHARACTERS = {"images_background.zip": 900, "images_evaluation.zip": 400}
"""More than train in the splits that are counted."""
PER_ALPHABET, DRAWINGS = 30, 3


@pytest.fixture(scope="session", autouse=True)
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of our own, shared by all workers, with something in the place of the official files."""
    own = tmp_path_factory.getbasetemp()
    cache = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "pictures"
    before = os.environ.get("INNERLOOP_CACHE")
    os.environ["INNERLOOP_CACHE"] = str(cache)
    (cache / "omniglot").mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "making"):
        for name in FILES:
            if not (cache / "omniglot" / name).exists():
                write_zip(cache / "omniglot" / name, CHARACTERS[name])
    yield cache / "omniglot"
    os.environ.pop("INNERLOOP_CACHE") if before is None else os.environ.update(INNERLOOP_CACHE=before)


def some_pictures() -> str:
    """A file of pictures by class, in the cache."""
    return str(Path(os.environ["INNERLOOP_CACHE"]) / "omniglot" / "images_evaluation.zip")


def write_zip(file: Path, characters: int, drawings: int = DRAWINGS) -> None:
    """A .zip as the official ones are: part/alphabet/character/drawing.png, black ink on white, one bit a pixel."""
    classes, rng = np.repeat(np.arange(characters), drawings), np.random.default_rng(0)
    ink = draw(2 * classes, rng.integers(2**53, size=len(classes)))[..., 0] > 100
    with zipfile.ZipFile(file.with_suffix(".part"), "w") as archive:
        for index, (character, pixels) in enumerate(zip(classes.tolist(), ink, strict=True)):
            png = io.BytesIO()
            Image.fromarray(~pixels).save(png, "png")
            alphabet, own = divmod(character, PER_ALPHABET)
            name = (
                f"{file.stem}/Alphabet{alphabet:02d}/character{own + 1:02d}/{character:04d}_{index % drawings + 1:02d}"
            )
            archive.writestr(f"{name}.png", png.getvalue())
    file.with_suffix(".part").replace(file)

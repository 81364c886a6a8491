"""Pictures from folders, archives and arrays; Omniglot's splits; and what is said of those that cannot be read."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import some_pictures, write_zip
from PIL import Image

from innerloop.distributed.config import configure
from innerloop.distributed.trainer import train
from innerloop.envs.errors import BadInput
from innerloop.envs.fewshot.images import Images
from innerloop.envs.fewshot.omniglot import FILES, Omniglot, downloaded
from innerloop.envs.fewshot.pictures import load

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_omniglot = pytest.mark.skipif(not DATA.exists(), reason="Omniglot is not beside this checkout")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setenv("INNERLOOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_in(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_folder_an_archive_and_arrays_are_read_alike(tmp_path: Path) -> None:
    write_zip(tmp_path / "images_background.zip", 4)
    with zipfile.ZipFile(tmp_path / "images_background.zip") as archive:
        archive.extractall(tmp_path / "folder")
    one = load(str(tmp_path / "images_background.zip"), 14, 1, True)
    images = np.array(one.images).reshape(4, 3, 14, 14)
    np.savez(tmp_path / "a.npz", images=images, names=np.array(one.names))
    np.savez(tmp_path / "b.npz", images=np.array(one.images), labels=np.repeat(one.names, 3))
    write_zip(tmp_path / "folder" / "images_background.zip", 4)  # as it is left beside what was unpacked from it
    (tmp_path / "packed").mkdir()
    write_zip(tmp_path / "packed" / "images_background.zip", 4)
    for other in ("folder", "packed", "a.npz", "b.npz"):
        found = load(str(tmp_path / other), 14, 1, True)
        assert found.names == one.names == tuple(f"images_background/Alphabet00/character0{k}" for k in range(1, 5))
        np.testing.assert_array_equal(found.images, one.images)
        np.testing.assert_array_equal(found.first, [0, 3, 6, 9, 12])


def test_colours_and_sizes(tmp_path: Path) -> None:
    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 100))):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("RGB", (40, 20), colour).save(tmp_path / "in" / name / "a.jpg", quality=100)
    found = load(str(tmp_path / "in"), 8, 3, False)
    assert found.names == ("blue", "red")
    assert found.images.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(found.images[:, 4, 4], [(0, 0, 100), (200, 0, 0)], atol=3)


def test_all_processes_map_one_file_and_a_damaged_one_is_made_again(cache: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", 3)
    first = load(str(tmp_path / "a.zip"), 28, 1, True)
    assert isinstance(first.images, np.memmap)
    kept = files_in(cache)
    assert {Path(name).suffix for name in kept} == {".pixels", ".json"}
    expected = np.array(first.images)
    for suffix, damage in ((".pixels", b"cut"), (".json", b"{}")):
        [file] = cache.glob(f"*{suffix}")
        file.unlink()  # not written over: it is mapped
        file.write_bytes(damage)
        load.cache_clear()
        np.testing.assert_array_equal(load(str(tmp_path / "a.zip"), 28, 1, True).images, expected)
    assert files_in(cache) == kept


@needs_omniglot
def test_the_official_archive_gives_the_same_bits_as_the_known_arrays() -> None:
    official = load(str(DATA / "omniglot_small1_official.zip"), 28, 1, True)
    whole = load(str(DATA / "omniglot_28_box.npz"), 28, 1, True)
    assert (len(official.names), len(whole.names)) == (136, 1623)
    places = {name.split("/", 1)[1]: index for index, name in enumerate(whole.names)}
    for index, name in enumerate(official.names):
        own, its = (each.images[each.first[k] : each.first[k + 1]] for each, k in
                    ((official, index), (whole, places[name.split("/", 1)[1]])))  # fmt: skip
        np.testing.assert_array_equal(own, its)


@needs_omniglot
def test_the_splits_have_as_many_characters_as_were_published() -> None:
    sizes = {"vinyals": (1200, 423), "finn": (1200, 423), "lake": (964, 659)}
    for split, expected in sizes.items():
        family = Omniglot(data=str(DATA / "omniglot_28_box.npz"), split=split)  # pyright: ignore[reportArgumentType]
        assert tuple(sum(map(len, family.groups(part))) for part in ("train", "test")) == expected
    family = Omniglot(data=str(DATA / "omniglot_28_box.npz"))
    of_training = {family.pictures().names[index].split("/")[1] for [*own] in family.groups("train") for index in own}
    assert {"Hebrew", "Mkhedruli_(Georgian)", "Armenian", "Early_Aramaic", "Bengali", "Angelic"} <= of_training
    assert not {"Kannada", "Tibetan", "ULOG"} & of_training  # of the published test alphabets


@pytest.mark.parametrize("split", ["vinyals", "finn", "lake"])
@pytest.mark.parametrize("rotations", [False, True])
@pytest.mark.parametrize("within_alphabet", [False, True])
def test_no_character_is_in_both_splits(split: Any, rotations: bool, within_alphabet: bool) -> None:
    family = Omniglot(ways=3, split=split, rotations=rotations, within_alphabet=within_alphabet)
    rng, turns = np.random.default_rng(0), 4 if rotations else 1
    drawn = {part: family.sample(rng, 3_000, part)["class"] for part in ("train", "test")}  # pyright: ignore[reportArgumentType]
    characters = {part: {*(codes // turns).flatten().tolist()} for part, codes in drawn.items()}
    assert not characters["train"] & characters["test"]
    assert len(characters["train"]) > 400
    names = np.array([name.rpartition("/")[0] for name in family.pictures().names])
    for codes in drawn.values():
        assert (np.diff(np.sort(codes, 1), axis=1) > 0).all()  # no class twice
        alike = (names[codes // turns] == names[codes[:, :1] // turns]).all(1)
        assert alike.all() if within_alphabet else not alike.all()


def test_a_quarter_turn_is_a_class_of_its_own() -> None:
    family = Omniglot(ways=4, shots=1)
    codes = np.array([[40, 41, 42, 43], [40, 41, 42, 43]])
    shown = examples_of(family, codes, episodes=3)
    for trial in range(2):
        upright = {np.rot90(picture, -turn).tobytes() for turn, picture in shown[trial]}
        assert len(upright) == 3  # the character's own drawings, whichever way they are turned


def examples_of(family: Any, codes: np.ndarray, episodes: int) -> list[list[tuple[int, np.ndarray]]]:
    """Of each trial, the answers and the pictures that come, in their order."""
    env, n = family.make({"class": codes}, np.random.default_rng(0)), len(codes)
    found: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(n)]
    for _ in range(episodes):
        seen = env.reset(np.ones(n, np.bool_))
        for _ in range(family.ways):
            step = env.step(np.zeros(n, np.int64))
            for row in range(n):
                found[row].append((int(step.privileged["answer"][row]), seen["example"][row, ..., 0]))
            seen = step.observation
    return found


def test_no_drawing_comes_twice_before_all_have_and_no_support_comes_as_a_query(tmp_path: Path) -> None:
    images = np.arange(6 * 5, dtype=np.uint8).reshape(6, 5, 1, 1).repeat(4, 2).repeat(4, 3)
    np.savez(tmp_path / "a.npz", images=images)
    family = Images(data=str(tmp_path / "a.npz"), side=4, ways=2, shots=2)
    codes = family.sample(np.random.default_rng(0), 50, "train")["class"]
    for trial, own in zip(examples_of(family, codes, episodes=12), codes, strict=True):
        for answer in range(2):
            which = [int(picture[0, 0]) - 5 * own[answer] for label, picture in trial if label == answer]
            assert sorted(which[:5]) == [*range(5)]
            support, queries = {*which[:2]}, which[2:]
            assert not support & {*queries}
            for start in range(0, len(queries) - 2, 3):
                assert len({*queries[start : start + 3]}) == 3


def test_folders_may_be_the_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in "abc":
            (tmp_path / "in" / split / name).mkdir(parents=True)
            for index in range(2):
                Image.new("L", (4, 4), index).save(tmp_path / "in" / split / name / f"{index}.png")
    family = Images(data=str(tmp_path / "in"), ways=3, side=4)
    assert [family.groups(split)[0].tolist() for split in ("test", "train")] == [[0, 1, 2], [3, 4, 5]]


def test_a_share_of_the_classes_is_for_test() -> None:
    family = Images(data=some_pictures(), test_share=0.1)
    train_, test = ({*family.groups(split)[0].tolist()} for split in ("train", "test"))
    assert (len(train_ | test), len(test), train_ & test) == (400, 40, set())


def _zip_of(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
    return file.getvalue()


def _npz_of(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


FAULTS: dict[str, tuple[str, bytes, list[str]]] = {
    "no-archive": ("a.zip", b"no zip", ["a.zip", "a whole .zip file"]),
    "cut-archive": ("a.zip", _zip_of("k/a.png", b"x" * 1_000)[:-40], ["a.zip", "a whole .zip file"]),
    "no-picture": ("a.zip", _zip_of("k/a.png", b"no picture"), ["'k/a.png'", "expected a picture"]),
    "nothing": ("a.zip", _zip_of("read.me", b"text"), ["0 classes", "at least 2"]),
    "no-arrays": ("a.npz", b"no npz", ["a.npz", "a whole .npz file"]),
    "pickled": ("a.npz", _npz_of(images=np.array([{}], object)), ["a.npz", "a whole .npz file"]),
    "no-images": ("a.npz", _npz_of(pictures=np.zeros(3)), ["`images`", "none", "uint8"]),
    "floats": ("a.npz", _npz_of(images=np.zeros((2, 2, 3, 3))), ["`images`", "float64", "uint8"]),
    "names": ("a.npz", _npz_of(images=np.zeros((2, 2, 3, 3), np.uint8), names=["a"]), ["`names`", "(1,)", "(2,)"]),
    "channels": ("a.npz", _npz_of(images=np.zeros((2, 2, 3, 3, 5), np.uint8)), ["channels", "5", "1 or 3"]),
}


@pytest.mark.parametrize(("name", "data", "words"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_read_is_said_in_a_sentence(
    name: str, data: bytes, words: list[str], cache: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput) as raised:
        Omniglot(data=str(tmp_path / name)).prepare()
    sentence = str(raised.value)
    assert sentence.count("\n") == 0
    assert all(word in sentence for word in words), sentence
    assert files_in(cache) == set()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "/nowhere"}, ["data is '/nowhere'", "that is there"]),
        ({"ways": 1}, ["ways is 1", "2 to 1,000"]),
        ({"shots": 3}, ["shots is 3", "fewer than the 3 pictures"]),
        ({"ways": 999, "rotations": False}, ["ways is 999", "for test"]),
        ({"ways": 31, "rotations": False, "within_alphabet": True}, ["ways is 31", "at most 30"]),
        ({"split": "santoro"}, ["split is 'santoro'", "vinyals, finn or lake"]),
    ],
)
def test_a_run_is_refused_before_anything_is_written(options: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadInput) as raised:
        train(configure(family="omniglot", **options), tmp_path / "out")
    assert all(word in str(raised.value) for word in words), raised.value
    assert not (tmp_path / "out").exists()


def test_pictures_of_ones_own_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^data is ''; expected a folder, a .zip or an .npz of pictures"):
        train(configure(family="images"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it is served."""
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path / "served", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_official_files_are_downloaded_once(
    cache: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    for name in FILES:
        write_zip(folder / name, 4)
        monkeypatch.setitem(FILES, name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    found = downloaded(address)
    for name in FILES:
        assert (found / name).read_bytes() == (folder / name).read_bytes()
        (folder / name).unlink()
    assert downloaded(address) == found
    assert Omniglot(rotations=False).pictures().counts.tolist() == [3] * 8
    assert files_in(cache) >= {f"omniglot/{name}" for name in FILES}


def test_a_download_that_is_not_the_official_file_is_refused(cache: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    write_zip(folder / "images_background.zip", 4)
    with pytest.raises(BadInput, match=r"^the MD5 sum of .*images_background.zip is '.*'; expected 68d2efa1b9178cc5"):
        downloaded(address)
    assert not [name for name in files_in(cache) if name.endswith(".zip")]


def test_an_address_that_does_not_answer_is_said_with_what_else_to_do(cache: Path, served: tuple[Path, str]) -> None:
    with pytest.raises(BadInput, match=r"^data is ''; expected a folder, .zip or .npz with Omniglot, as .*404"):
        downloaded(served[1])
    assert not [name for name in files_in(cache) if name.endswith(".zip")]

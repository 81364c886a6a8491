"""Checkpoints: what is read is what was written; what is half written or damaged is never read."""

import json
import logging
import os
from pathlib import Path

import fsspec
import numpy as np
import pytest

from innerloop.envs.errors import BadInput
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.files import write_whole
from innerloop.learner.pieces import Pieces

ARRAYS = {
    "model/w": np.array([[0.1, -np.inf], [np.nan, 1e-45]], np.float32),
    "model/empty": np.zeros((0, 3), np.float32),
    "optimiser/adam/0/step": np.array(7, np.float32),
    "counts": np.arange(5),
    "flags": np.array([True, False]),
}
CONFIG = {"family": {"name": "bernoulli-bandit", "arms": 5}, "episodes": 10, "note": "λ ≤ 1"}


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A directory, or a URL of a place in memory that nobody else uses."""
    return str(tmp_path / "a" / "b") if request.param == "local" else f"memory:/{tmp_path}/b"


def write(place: str, file: str, data: bytes) -> None:
    fs, root = fsspec.core.url_to_fs(place)
    fs.pipe_file(f"{root}/{file}", data)


def read(place: str, file: str) -> bytes:
    fs, root = fsspec.core.url_to_fs(place)
    return fs.cat_file(f"{root}/{file}")


def files(place: str) -> set[str]:
    fs, root = fsspec.core.url_to_fs(place)
    return {path.rsplit("/", 1)[-1] for path in fs.ls(root, detail=False)}


def saved(place: str, versions: int = 2, keep: int = 3) -> Checkpoints:
    """Checkpoints of versions 1, 2, ...; the array `version` is the version."""
    checkpoints = Checkpoints(place, keep)
    for version in range(1, versions + 1):
        checkpoints.save({"version": np.full(200, version)}, {"version": version}, CONFIG)
    return checkpoints


def test_what_is_read_is_what_was_written_bit_for_bit(place: str) -> None:
    numbers = {"version": 12, "steps": 123_456_789, "seconds": 0.1 + 0.2}
    Checkpoints(place).save(ARRAYS, numbers, CONFIG)
    found = Checkpoints(place).newest()
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
    assert (found.numbers, found.config, found.skipped) == (numbers, CONFIG, [])


@pytest.mark.parametrize("view", [np.arange(6.0).reshape(2, 3).T, np.arange(8)[::2]], ids=["transposed", "strided"])
def test_an_array_that_is_a_view_is_read_as_it_was(view: np.ndarray, place: str) -> None:
    Checkpoints(place).save({"view": view}, {"version": 1}, {})
    np.testing.assert_array_equal(Checkpoints(place).newest().arrays["view"], view)


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_are_kept_and_the_newest_of_them_is_read(place: str, keep: int) -> None:
    checkpoints = saved(place, versions=4, keep=keep)
    expected = [f"{version:08d}" for version in range(1, 5)][-keep:]
    assert checkpoints.names() == expected
    assert files(place) == {f"{name}.{kind}" for name in expected for kind in ("json", "safetensors")}
    assert checkpoints.newest().numbers == {"version": 4}


def test_versions_are_ordered_as_numbers(place: str) -> None:
    checkpoints = Checkpoints(place)
    for version in (9, 100, 20):
        checkpoints.save({}, {"version": version}, {})
    assert checkpoints.newest().numbers == {"version": 100}


def test_a_version_that_is_saved_again_is_replaced(place: str) -> None:
    checkpoints = saved(place, versions=1)
    checkpoints.save({"version": np.zeros(3)}, {"version": 1}, {"new": True})
    found = checkpoints.newest()
    assert found.arrays["version"].shape == (3,)
    assert found.config == {"new": True}


def damage(place: str, kind: str) -> None:
    """To the newest of two checkpoints."""
    fs, root = fsspec.core.url_to_fs(place)
    data, about = read(place, "00000002.safetensors"), json.loads(read(place, "00000002.json"))
    if kind == "truncated":
        write(place, "00000002.safetensors", data[:-7])
    elif kind == "empty":
        write(place, "00000002.safetensors", b"")
    elif kind == "tampered":
        write(place, "00000002.safetensors", data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    elif kind == "no arrays":
        fs.rm(f"{root}/00000002.safetensors")
    elif kind == "half a JSON":
        write(place, "00000002.json", read(place, "00000002.json")[:40])
    elif kind == "no JSON at all":
        write(place, "00000002.json", b"\xff\x00")
    elif kind == "an empty JSON":
        write(place, "00000002.json", b"")
    elif kind == "a list":
        write(place, "00000002.json", b"[]")
    elif kind == "without the sum":
        write(place, "00000002.json", json.dumps({k: v for k, v in about.items() if k != "sha256"}).encode())
    elif kind == "of a later format":
        write(place, "00000002.json", json.dumps(about | {"format": 99}).encode())


DAMAGES = [
    "truncated",
    "empty",
    "tampered",
    "no arrays",
    "half a JSON",
    "no JSON at all",
    "an empty JSON",
    "a list",
    "without the sum",
    "of a later format",
]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_skipped_for_the_one_before_it_and_that_is_said(place: str, kind: str) -> None:
    saved(place)
    damage(place, kind)
    found = Checkpoints(place).newest()
    assert found.numbers == {"version": 1}
    np.testing.assert_array_equal(found.arrays["version"], 1)
    (sentence,) = found.skipped
    assert "00000002" in sentence
    assert "expected" in sentence


def test_damage_is_named_for_what_it_is(place: str) -> None:
    for kind, part in (("truncated", "not whole"), ("tampered", "SHA-256"), ("of a later format", "is 99; expected 4")):
        saved(place)
        damage(place, kind)
        assert part in Checkpoints(place).newest().skipped[0], kind


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_run_whose_only_checkpoint_is_damaged_is_refused(place: str, kind: str) -> None:
    saved(place)
    fs, root = fsspec.core.url_to_fs(place)
    for ending in ("json", "safetensors"):
        fs.rm(f"{root}/00000001.{ending}")
    damage(place, kind)
    with pytest.raises(BadInput, match=r"00000002.*expected"):
        Checkpoints(place).newest()


def test_a_place_without_checkpoints_is_refused(place: str) -> None:
    with pytest.raises(BadInput, match=r"^no checkpoint in .*; expected the directory of a run\.$"):
        Checkpoints(place).newest()
    assert Checkpoints(place).names() == []


def test_a_crash_between_the_two_files_leaves_nothing_to_read(place: str) -> None:
    """The arrays are there, whole, but the JSON that is written last is not."""
    saved(place)
    fs, root = fsspec.core.url_to_fs(place)
    fs.rm(f"{root}/00000002.json")
    found = Checkpoints(place).newest()
    assert (found.numbers, found.skipped) == ({"version": 1}, [])


def test_a_crash_inside_a_file_leaves_nothing_to_read(place: str) -> None:
    saved(place)
    for ending in ("safetensors", "json"):
        write(place, f"00000003.{ending}.4711.part", read(place, f"00000002.{ending}")[:50])
    found = Checkpoints(place).newest()
    assert (found.numbers, found.skipped) == ({"version": 2}, [])


def test_the_json_is_written_after_the_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[str] = []
    real = os.replace

    def noted(source: str, target: str) -> None:
        replaced.append(os.path.basename(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", noted)
    saved(str(tmp_path), versions=1)
    assert replaced == ["00000001.safetensors", "00000001.json"]


def test_a_full_disk_leaves_the_last_checkpoint_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save({"version": np.full(200, 3)}, {"version": 3}, CONFIG)
    assert checkpoints.newest().numbers == {"version": 2}
    assert not [file for file in files(str(tmp_path)) if file.endswith(".part")]


def test_other_files_are_left_alone(place: str) -> None:
    saved(place)
    for file in ("config.json", "notes.txt", "00000001.txt"):
        write(place, file, b"{}")
    saved(place, versions=6, keep=1)
    assert files(place) == {"config.json", "notes.txt", "00000001.txt", "00000006.json", "00000006.safetensors"}
    Checkpoints(place).clear()
    assert files(place) == {"config.json", "notes.txt", "00000001.txt"}


def test_an_old_checkpoint_that_has_lost_its_arrays_does_not_stop_the_next_from_being_saved(place: str) -> None:
    checkpoints = saved(place, versions=2, keep=2)
    damage(place, "no arrays")
    for version in (3, 4, 5):
        checkpoints.save({"version": np.full(200, version)}, {"version": version}, CONFIG)
    assert checkpoints.names() == ["00000004", "00000005"]


@pytest.mark.parametrize("keep", [0, -1])
def test_at_least_one_is_kept(keep: int, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"^keep is {keep}; expected at least 1\.$"):
        Checkpoints(str(tmp_path), keep)


def test_a_url_that_cannot_be_opened_is_refused_in_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"^checkpoints is 'nowhere://x'; expected a path or a URL .*\.$"):
        Checkpoints("nowhere://x")


def full_disk(_: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_file_is_as_before_if_writing_fails(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(str(path), b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, lambda *_: full_disk(0))
        with pytest.raises(OSError, match="No space left"):
            write_whole(str(path), b"after, and longer")
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    write_whole(str(path), b"after")
    assert path.read_bytes() == b"after"


KIB = 2**10
PLENTY = 2**30


def grown(place: str, versions: int = 4, capacity: int = PLENTY, kib: int = 4) -> Pieces:
    """Pieces of versions 1, 2, ..., of so many KiB each."""
    pieces = Pieces(place, capacity)
    for version in range(1, versions + 1):
        pieces.save(version, {"trials": np.full(kib * KIB // 8, version)})
    return pieces


def versions_of(pieces: Pieces, version: int = 99) -> list[int]:
    return [int(arrays["trials"][0]) for arrays in pieces.read(version)]


def test_pieces_are_read_in_their_order_as_they_were_written(place: str) -> None:
    pieces = Pieces(place, PLENTY)
    for version in (9, 20, 100):
        pieces.save(version, ARRAYS | {"trials": np.array([version])})
    found = [*Pieces(place, PLENTY).read(100)]
    assert [int(arrays["trials"][0]) for arrays in found] == [9, 20, 100]
    for arrays in found:
        for name, array in ARRAYS.items():
            assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
            assert arrays[name].tobytes() == array.tobytes()


def test_where_nothing_was_written_there_is_nothing_to_read(place: str) -> None:
    pieces = Pieces(place, PLENTY)
    assert [*pieces.read(9)] == []
    pieces.clear()
    pieces.save(1, {})
    assert not fsspec.core.url_to_fs(place)[0].exists(place)
    assert [*grown(place, versions=1).read(9)] != []
    pieces.save(2, {})
    assert files(place) == {"00000001.json", "00000001.safetensors"}


@pytest.mark.parametrize("version", [0, 2, 3, 4])
def test_pieces_that_came_after_a_version_are_deleted_when_it_is_gone_back_to(place: str, version: int) -> None:
    pieces = grown(place)
    expected = [*range(1, version + 1)]
    assert versions_of(pieces, version) == expected
    assert files(place) == {f"{each:08d}.{kind}" for each in expected for kind in ("json", "safetensors")}
    assert versions_of(pieces) == expected
    pieces.save(version + 1, {"trials": np.array([70])})
    assert versions_of(pieces) == [*expected, 70]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_piece_is_left_out_and_that_is_said(place: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    pieces = grown(place)
    damage(place, kind)
    with caplog.at_level(logging.WARNING, logger="innerloop"):
        assert versions_of(pieces) == [1, 3, 4]
    (record,) = [each for each in caplog.records if each.name == "innerloop"]
    assert (record.name, record.levelname) == ("innerloop", "WARNING")
    assert "00000002" in record.getMessage()
    assert record.getMessage().endswith("The run goes on without what was in it.")


def test_a_crash_while_a_piece_is_written_leaves_those_before_it(place: str) -> None:
    pieces = grown(place, versions=3)
    fs, root = fsspec.core.url_to_fs(place)
    fs.rm(f"{root}/00000003.json")
    assert versions_of(pieces) == [1, 2]
    pieces.save(3, {"trials": np.array([30])})
    assert versions_of(pieces) == [1, 2, 30]


@pytest.mark.parametrize(
    ("capacity", "kept"), [(1, [6]), (5, [5, 6]), (7, [5, 6]), (9, [4, 5, 6]), (10**6, [*range(1, 7)])]
)
def test_old_pieces_are_deleted_once_newer_ones_hold_the_capacity(place: str, capacity: int, kept: list[int]) -> None:
    """In KiB, with 4 KiB in each."""
    pieces = grown(place, versions=6, capacity=capacity * KIB)
    assert versions_of(pieces) == kept
    assert files(place) == {f"{each:08d}.{kind}" for each in kept for kind in ("json", "safetensors")}


def test_what_is_not_arrays_does_not_count_towards_the_capacity(place: str) -> None:
    """Else what is left of many small pieces would be less than what they were written for can hold."""
    pieces = Pieces(place, KIB)
    for version in range(1, 60):
        pieces.save(version, {"trials": np.full(8, version)})  # 64 bytes
    assert sum(arrays["trials"].nbytes for arrays in pieces.read(99)) >= KIB


def test_an_old_piece_that_has_lost_its_arrays_does_not_stop_the_next_from_being_saved(place: str) -> None:
    pieces = grown(place, versions=2)
    damage(place, "no arrays")
    pieces.save(3, {"trials": np.array([3])})
    assert versions_of(pieces) == [1, 3]


def test_a_large_piece_makes_those_before_it_superfluous(place: str) -> None:
    pieces = grown(place, versions=5, capacity=16 * KIB)
    pieces.save(6, {"trials": np.full(3 * KIB, 6)})
    assert versions_of(pieces) == [6]


def test_all_pieces_can_be_deleted_and_nothing_else_is(place: str) -> None:
    pieces = grown(place)
    write(place, "notes.txt", b"{}")
    pieces.clear()
    assert files(place) == {"notes.txt"}
    assert [*pieces.read(99)] == []


def test_pieces_beside_checkpoints_do_not_mix_with_them(place: str) -> None:
    checkpoints = saved(place, versions=4, keep=2)
    pieces = grown(f"{place}/replay")
    assert checkpoints.names() == ["00000003", "00000004"]
    checkpoints.clear()
    assert versions_of(pieces) == [1, 2, 3, 4]

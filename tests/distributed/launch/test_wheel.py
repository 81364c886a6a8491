"""What is sent to a cluster: a wheel is one of ours, whole and of bounded size, or refused, and nothing is written."""

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from damage import ANY_JSON, tree
from dashboards import Answers, Dashboard, healthy

from innerloop import __version__
from innerloop.distributed.launch import wheel as module
from innerloop.distributed.launch.submit import Submit, submit
from innerloop.distributed.launch.wheel import copy, unpack
from innerloop.envs.errors import BadInput

ABOUT = f"innerloop-{__version__}.dist-info/METADATA"
METADATA = f"Metadata-Version: 2.1\nName: innerloop\nVersion: {__version__}\n"
OURS = {"innerloop/__init__.py": "", "innerloop/envs/api.py": "1", ABOUT: METADATA}


def packed(files: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def without(name: str) -> bytes:
    return packed({key: text for key, text in OURS.items() if key != name})


def twice() -> bytes:
    data = io.BytesIO(packed(OURS))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(data, "a") as archive:
        archive.writestr("innerloop/__init__.py", "other")
    return data.getvalue()


def flipped(text: bytes) -> bytes:
    """A stored file whose bytes are not those that its sum is of."""
    data = packed(OURS | {"innerloop/text.py": text.decode()}, zipfile.ZIP_STORED)
    return data.replace(text, b"X" + text[1:], 1)


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not a zip file"),
    "text": (lambda: b"hello", "not a zip file"),
    "cut": (lambda: packed(OURS)[:-30], "not a zip file"),
    "no files": (lambda: packed({}), "it holds no innerloop/__init__.py"),
    "no METADATA": (lambda: without(ABOUT), "no METADATA"),
    "two METADATA": (lambda: packed(OURS | {"other-1.dist-info/METADATA": METADATA}), "expected innerloop"),
    "METADATA below": (lambda: packed(OURS | {f"innerloop/{ABOUT}": METADATA}), "expected innerloop"),
    "another package": (lambda: packed(OURS | {ABOUT: "Name: torch\nVersion: 2\n"}), "torch 2"),
    "another version": (lambda: packed(OURS | {ABOUT: "Name: innerloop\nVersion: 0.0\n"}), "innerloop 0.0"),
    "METADATA without a name": (lambda: packed(OURS | {ABOUT: ""}), "None None"),
    "METADATA with control characters": (lambda: packed(OURS | {ABOUT: "Name: \x1b[2J\nVersion: 1\n"}), r"\x1b[2J"),
    "no package": (lambda: without("innerloop/__init__.py"), "it holds no innerloop/__init__.py"),
    "a path that climbs out": (lambda: packed(OURS | {"innerloop/../../x": ""}), "it holds 'innerloop/../../x'"),
    "a path from the root": (lambda: packed(OURS | {"/innerloop/x": ""}), "it holds '/innerloop/x'"),
    "a path with backslashes": (lambda: packed(OURS | {"innerloop\\..\\x": ""}), "it holds"),
    "a name with control characters": (lambda: packed(OURS | {"innerloop/\x1b[2J": ""}), r"\x1b[2J"),
    "a file twice": (twice, "it holds a file twice"),
    "a bomb": (lambda: packed(OURS | {"innerloop/x": "0" * 2**21}), "it unpacks to more than 1048576 bytes"),
    "too many files": (lambda: packed(OURS | {f"innerloop/{i}": "" for i in range(200)}), "or 100 files"),
    "a damaged file": (lambda: flipped(b"abcdefgh"), "is damaged"),
    "METADATA that is not UTF-8": (lambda: packed(OURS | {ABOUT: b"\xff"}), "can't decode byte 0xff"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_wheel_of_ours_is_refused_and_nothing_is_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST", 2**20)
    monkeypatch.setattr(module, "MOST_FILES", 100)
    make, sentence = WRONG[kind]
    (tmp_path / "w.whl").write_bytes(make())
    before = tree(tmp_path)
    with pytest.raises(BadInput) as refused:
        unpack(tmp_path / "w.whl", tmp_path / "code")
    assert sentence in str(refused.value)
    assert str(tmp_path / "w.whl") in str(refused.value)
    assert str(refused.value).isprintable()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["huge", "a directory", "a pipe", "a device", "a loop of links"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "w.whl").write_bytes(b"")
    ANY_JSON[kind](tmp_path / "w.whl")
    with pytest.raises(BadInput, match="expected a wheel of innerloop"):
        unpack(tmp_path / "w.whl", tmp_path / "code")


def test_a_wheel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a wheel of innerloop \(No such file or directory\)\.$"):
        unpack(tmp_path / "w.whl", tmp_path / "code")


def test_ours_is_unpacked_without_what_else_it_holds(tmp_path: Path) -> None:
    (tmp_path / "w.whl").write_bytes(packed(OURS | {"other/x.py": "1"}))
    unpack(tmp_path / "w.whl", tmp_path / "code")
    assert sorted(str(file.relative_to(tmp_path / "code")) for file in (tmp_path / "code").rglob("*.py")) == [
        "innerloop/__init__.py", "innerloop/envs/api.py",
    ]  # fmt: skip
    assert {file.name for file in (tmp_path / "code").iterdir()} == {"innerloop"}


def loop(place: Path) -> None:
    (place / "loop.py").symlink_to("loop.py")


@pytest.mark.parametrize("add", [loop, lambda place: os.mkfifo(place / "pipe")], ids=["a loop of links", "a pipe"])
def test_modules_that_cannot_be_copied_are_refused(add: Callable[[Path], Any], tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    copy(package, tmp_path / "whole")
    add(package)
    with pytest.raises(BadInput, match=r"cannot be sent .* expected a file"):
        copy(package, tmp_path / "code")


ANSWERS: dict[str, Any] = {
    "empty": b"", "a list": [], "null": None, "data is null": {"data": None}, "nothing": {"data": {}},
    "numbers": {"data": {"rayVersion": 2, "pythonVersion": 3}}, "deep": b"[" * 100_000, "not UTF-8": b'{"\xff": 1}',
    "nodes of another shape": {"data": {"result": {"result": [{"node_id": "n", "state": "ALIVE", "labels": [1]}]}}},
}  # fmt: skip


@pytest.mark.parametrize("endpoint", ["/api/v0/cluster_metadata", "/api/v0/nodes"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_a_cluster_that_answers_something_else_is_refused(
    endpoint: str, kind: str, serve: Callable[[Answers], Dashboard]
) -> None:
    at = serve(healthy() | {endpoint: ANSWERS[kind]})
    with pytest.raises(BadInput) as refused:
        submit(Submit(address=at.address), ["--preset", "first"])
    assert at.address in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b"null", (500, {}, b"\x1b[2J")], ids=str)
def test_a_cluster_that_does_not_take_jobs_is_refused(answer: Any, serve: Callable[[Answers], Dashboard]) -> None:
    at = serve(healthy() | {"/api/version": answer})
    with pytest.raises(BadInput, match="which does not take the job") as refused:
        submit(Submit(address=at.address), ["--preset", "first"])
    assert str(refused.value).isprintable()


def test_versions_of_others_cannot_move_the_cursor(serve: Callable[[Answers], Dashboard]) -> None:
    versions = {"data": {"rayVersion": "\x1b[2J", "pythonVersion": "3\n"}}
    at = serve(healthy() | {"/api/v0/cluster_metadata": versions})
    with pytest.raises(BadInput) as refused:
        submit(Submit(address=at.address), ["--preset", "first"])
    assert str(refused.value).isprintable()

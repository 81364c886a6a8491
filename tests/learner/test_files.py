"""Files that others wrote: read whole and once, or refused in one sentence; nothing waits, and nothing is too large."""

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from pydantic import TypeAdapter

from innerloop.envs.errors import BadInput
from innerloop.learner.files import Count, Finite, Number, parse, plain, read, read_json, reason, to_json

SHAPE: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, Number])


def sparse(file: Path) -> None:
    with file.open("wb") as handle:
        handle.truncate(10 * 2**30)


def listening(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(file))


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "directory": (Path.mkdir, "is a directory; expected figures."),
    "pipe": (os.mkfifo, "is a pipe, a socket or a device; expected figures."),
    "device": (lambda file: file.symlink_to("/dev/zero"), "is a pipe, a socket or a device; expected figures."),
    "socket": (listening, "is a pipe, a socket or a device; expected figures."),
    "loop of links": (lambda file: file.symlink_to("f"), "cannot be read (Too many levels of symbolic links)"),
    "larger than memory": (sparse, "has 10737418240 bytes; expected figures, of at most 268435456."),
    "below a file": (lambda file: file.parent.rmdir() or file.parent.touch(), "cannot be read (Not a directory)"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_file_that_ends_is_refused_without_waiting(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, sentence = UNREADABLE[kind]
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    make(Path("d/f"))
    for fs in (None, fsspec.filesystem("file")):
        with pytest.raises(BadInput) as refused:
            read("d/f", "f", "figures", fs=fs)
        assert sentence in str(refused.value)
        assert str(refused.value).startswith("f ")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\ud800"], ids=ascii)
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=r"^f cannot be read"):
        read(name, "f", "figures")


def test_a_file_that_is_not_there_is_the_callers_matter(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("nowhere", "dangling"):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / name, "f", "figures")


def test_without_permission_it_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        os.chmod(folder, 0o755)
        file = Path(folder) / "f"
        file.write_text("{}")
        file.chmod(0)
        me = os.geteuid()
        os.seteuid(me or 65534)  # root may read everything
        try:
            with pytest.raises(BadInput, match=r"^f cannot be read \(Permission denied\); expected figures\.$"):
                read(file, "f", "figures")
        finally:
            os.seteuid(me)


def test_a_file_is_read_up_to_the_bound_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/files/f", b"12345")
    for path, fs in ((tmp_path / "f", None), ("/files/f", memory)):
        assert read(path, "f", "figures", fs=fs, most=5) == b"12345"
        with pytest.raises(BadInput, match=r"^f has 5 bytes; expected figures, of at most 4\.$"):
            read(path, "f", "figures", fs=fs, most=4)
    with pytest.raises(FileNotFoundError):
        read("/files/nowhere", "f", "figures", fs=memory)


BROKEN = {
    "empty": b"",
    "cut": b'{"a": 1',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "another type": b"[]",
    "null": b"null",
    "text": b'{"a": "1"}',
    "bool": b'{"a": true}',
    "beyond 64 bits": b'{"a": 18446744073709551616}',
    "beyond all digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "not UTF-8": b'{"\xff": 1}',
    "half of a pair": b'{"\\ud800": 1}',
    "a mark of byte order": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NUL": b'{"a": 1}\0',
    "two": b'{"a": 1}{"a": 1}',
    "control characters": b'{"\\u001b[2J": "x"}',
    "a long key": b'{"' + b"k" * 10_000 + b'": "x"}',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_not_of_the_shape_is_one_short_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        parse(SHAPE, BROKEN[kind], "f", "figures")
    said = str(refused.value)
    assert said.startswith("f cannot be used (")
    assert said.endswith("; expected figures.")
    assert said.isprintable()
    assert len(said) < 400
    (tmp_path / "f").write_bytes(BROKEN[kind])
    with pytest.raises(BadInput, match=f"^'{tmp_path}/f' cannot be used"):
        read_json(SHAPE, tmp_path / "f", "figures")


def test_numbers_stay_what_they_are() -> None:
    found = parse(SHAPE, b'{"a": 1, "b": 1.0, "c": NaN, "d": -Infinity, "e": -9223372036854775808}', "f", "figures")
    assert str(found) == "{'a': 1, 'b': 1.0, 'c': nan, 'd': -inf, 'e': -9223372036854775808}"
    assert parse(SHAPE, to_json({"a": 1, "b": 2.5}), "f", "figures") == {"a": 1, "b": 2.5}


@pytest.mark.parametrize(
    ("kind", "given"), [(Count, b"-1"), (Count, b"1.0"), (Count, b"9223372036854775808"), (Finite, b"NaN"),
                        (Finite, b"1e400"), (Finite, b"true")]
)  # fmt: skip
def test_counts_and_finite_numbers(kind: type, given: bytes) -> None:
    with pytest.raises(BadInput):
        parse(TypeAdapter(kind), given, "f", "a number")


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    assert plain("a\x1b[2Jb\n²\u202e\ud800") == r"a\x1b[2Jb\n²\u202e\ud800"
    assert plain("x" * 1000) == "x" * 300 + "…"
    assert reason(ValueError("one.\ntwo")) == "ValueError: one"
    assert reason(KeyError()) == "KeyError"
    assert reason(PermissionError(13, "Permission denied")) == "Permission denied"

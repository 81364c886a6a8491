"""`metrics.jsonl`, written and read: what cannot be read is said, and neither ends the file nor leaves it unasked."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from logged import ours

from innerloop.distributed.runs.journal import Journal
from innerloop.distributed.runs.lines import LONGEST_LINE, read_lines, scan
from innerloop.envs.errors import BadInput


def line(iteration: int, **more: Any) -> dict[str, Any]:
    return {
        "iteration": iteration, "env_steps": 10 * iteration, "seconds": iteration / 2, "return": 1.5,
        "first_episode": 0.5, "last_episode": 1.0, **more,
    }  # fmt: skip


def text(*iterations: int) -> bytes:
    return b"".join(json.dumps(line(each)).encode() + b"\n" for each in iterations)


DAMAGED = {
    "text": (b"hello\n", "Invalid JSON"),
    "cut in the middle": (text(3)[:40] + b"\n", "Invalid JSON"),
    "empty object": (b"{}\n", "has no iteration"),
    "a list": (b"[1, 2]\n", "should be an object"),
    "null": (b"null\n", "should be an object"),
    "deep": (b"[" * 100_000 + b"\n", "recursion limit"),
    "huge": (b"[" + b"1," * LONGEST_LINE + b"1]\n", "has more than 1,048,576 bytes"),
    "not UTF-8": (b'{"\xff": 1}\n', "unicode"),
    "NULs": (b"\0" * 5_000 + b"\n", "Invalid JSON"),
    "text for a number": (json.dumps(line(3, loss="1")).encode() + b"\n", "loss: Input should be a number"),
    "null for a number": (json.dumps(line(3, loss=None)).encode() + b"\n", "loss: Input should be a number"),
    "bool for a number": (json.dumps(line(3, loss=True)).encode() + b"\n", "loss: Input should be a number"),
    "beyond 64 bits": (json.dumps(line(3, env_steps=2**64)).encode() + b"\n", "env_steps: Input should be a number"),
    "a negative count": (json.dumps(line(3, env_steps=-1)).encode() + b"\n", "has env_steps -1"),
    "a broken count": (json.dumps(line(3, env_steps=0.5)).encode() + b"\n", "has env_steps 0.5"),
    "iteration 0": (json.dumps(line(0)).encode() + b"\n", "has iteration 0"),
    "no time": (json.dumps(line(3, seconds=math.nan)).encode() + b"\n", "has seconds nan"),
    "another program's": (b'{"iteration": 3, "loss": 1.0}\n', "has no env_steps"),
    "control characters": (b'{"\\u001b[2J": "x"}\n', r"\x1b[2J"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_line_is_left_out_and_said_and_what_follows_is_read(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, (damage, sentence) = tmp_path / "metrics.jsonl", DAMAGED[kind]
    before = text(1, 2) + damage + text(4, 5)
    file.write_bytes(before)
    assert read_lines(file) == [line(each) for each in (1, 2, 4, 5)]
    [said] = ours(caplog)
    assert said.startswith(f"'{file}' is damaged: 1 of its lines left out (line 3 ")
    assert said.endswith("), 1 iterations missing.")
    assert sentence in said
    assert said.isprintable()
    caplog.clear()
    Journal(tmp_path, 5).close()  # a run that goes on does not delete what it cannot read
    assert file.read_bytes() == before
    [said] = ours(caplog)
    assert said.endswith(" They stay in the file.")


@pytest.mark.parametrize(
    ("order", "read", "missing"),
    [
        ([1, 2, 4], [1, 2, 4], 1),
        ([3, 4], [3, 4], 2),
        ([1, 2, 2, 3], [1, 2, 3], 0),
        ([1, 2, 3, 2, 3, 4], [1, 2, 3, 4], 0),
        ([1, 900, 2, 3, 4], [1, 2, 3, 4], 0),
        ([1, 2, 3, 1, 4, 5], [1, 2, 3, 4, 5], 0),
        ([3, 2, 1], [1], 0),
        ([9, 9], [9], 8),
    ],
    ids=str,
)
def test_lines_out_of_order_or_twice_are_said(
    order: list[int], read: list[int], missing: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(text(*order))
    assert [each["iteration"] for each in read_lines(file)] == read
    [said] = ours(caplog)
    assert (f"{missing} iterations missing" in said) == (missing > 0)
    if len(read) < len(order):
        assert f"{len(order) - len(read)} of its lines left out (line" in said
        assert "out of order" in said
    assert file.read_bytes() == text(*order)


@pytest.mark.parametrize("end", [text(3)[:-1][:-5], text(3)[:1], b"\0" * 300, b"\xc2"], ids=repr)
def test_a_last_line_that_a_crash_cut_short_is_left_out_without_a_word(
    end: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(text(1, 2) + end)
    assert read_lines(file) == [line(1), line(2)]
    journal = Journal(tmp_path, 2)
    journal.write(line(3))
    journal.close()
    assert file.read_bytes() == text(1, 2, 3)
    assert not ours(caplog)


def test_a_last_line_that_only_lacks_its_end_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(text(1, 2)[:-1])
    assert read_lines(file) == [line(1), line(2)]
    journal = Journal(tmp_path, 2)
    journal.write(line(3))
    journal.close()
    assert file.read_bytes() == text(1, 2, 3)
    file.write_bytes(text(1) + b"{}")  # it is whole, and not ours
    assert read_lines(file) == [line(1)]
    [said] = ours(caplog)
    assert "line 2 has no iteration" in said


def test_a_run_that_goes_on_drops_what_it_will_write_again_and_else_leaves_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(text(1, 2) + b"broken\n" + text(3, 4, 5))
    Journal(tmp_path, 3).close()
    assert file.read_bytes() == text(1, 2) + b"broken\n" + text(3)
    before = file.stat()
    Journal(tmp_path, 3).close()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [each["iteration"] for each in scan(file, 2).lines] == [1, 2]


def test_numbers_that_are_no_numbers_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path, 0)
    journal.write(line(1, loss=math.nan, kl=math.inf))
    journal.close()
    [found] = read_lines(tmp_path / "metrics.jsonl")
    assert (math.isnan(found["loss"]), found["kl"]) == (True, math.inf)
    assert (type(found["env_steps"]), type(found["seconds"])) == (int, float)
    assert not ours(caplog)


def test_a_file_that_is_not_there_has_no_lines_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "metrics.jsonl") == []
    with pytest.raises(BadInput, match="is a directory; expected the metrics of a run"):
        read_lines(tmp_path)
    with (tmp_path / "metrics.jsonl").open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(BadInput, match="of at most 4294967296"):
        read_lines(tmp_path / "metrics.jsonl")


def test_many_faults_are_counted_and_some_are_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(text(1) + 50 * b"x\n" + text(2) + b"\n\r\n" + text(3).replace(b"\n", b"\r\n"))
    assert len(read_lines(file)) == 3
    [record] = [each for each in caplog.records if each.name == "innerloop"]
    assert record.levelno == logging.WARNING
    assert "50 of its lines left out (line 2 cannot" in record.getMessage()
    assert record.getMessage().count("cannot be used") == 3

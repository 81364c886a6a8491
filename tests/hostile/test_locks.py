"""Two processes and one directory: one of them has it, the other is told who."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import processes
import pytest
from saved_runs import Ended, small, tree

from innerloop.distributed.opening import open_new, open_saved
from innerloop.distributed.runs import locking
from innerloop.distributed.runs.locking import LOCK, DirectoryLock, LockLost
from innerloop.envs.errors import BadInput

Made = Callable[..., Path]
HERE = Path(__file__).parent

RACER = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from saved_runs import small
from innerloop.distributed.opening import open_new, open_saved
from innerloop.envs.errors import BadInput
what, out, checkpoints = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
try:
    opening = open_saved(out, None, False) if what == "resume" else open_new(
        small(checkpoints=checkpoints), out, overwrite=what == "overwrite")
    with opening as (opened, _):
        opened.begin()
        print("mine", flush=True)
        sys.stdin.readline()
except BadInput as error:
    print("refused", error, flush=True)
"""


@contextmanager
def racing(number: int, what: str, out: Path, checkpoints: str = "") -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that open a run when they are told, and hold it until they are told again."""
    command = [sys.executable, "-c", RACER, what, str(out), checkpoints]
    with ExitStack() as stack:
        piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        racers = [stack.enter_context(processes.spawn(command, **piped)) for _ in range(number)]
        for racer in racers:
            assert heard(racer) == "ready\n"
        yield racers


def tell(racer: "subprocess.Popen[str]") -> None:
    assert racer.stdin is not None
    racer.stdin.write("go\n")
    racer.stdin.flush()


def heard(racer: "subprocess.Popen[str]") -> str:
    assert racer.stdout is not None
    return racer.stdout.readline()


@pytest.mark.parametrize("what", ["begin", "overwrite", "resume"])
def test_of_several_at_once_one_has_the_directory(what: str, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "run" if what == "begin" else made("run")
    with racing(3, what, out) as racers:
        for racer in racers:
            tell(racer)
        answers = [heard(racer) for racer in racers]
        assert sorted(answer.split()[0] for answer in answers) == ["mine", "refused", "refused"]
        winner = racers[[answer.split()[0] for answer in answers].index("mine")]
        assert sum(f"process {winner.pid} on " in answer for answer in answers) == 2, answers
        before = tree(out)
        with pytest.raises(BadInput, match=f"process {winner.pid} on "), open_saved(out, None, False):
            pass
        assert tree(out) == before
        tell(winner)
        assert winner.wait(processes.END_SECONDS) == 0
    assert LOCK not in tree(out)


def test_two_runs_do_not_share_a_place_of_checkpoints(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    with racing(1, "begin", tmp_path / "first", place) as [racer]:
        tell(racer)
        assert heard(racer) == "mine\n"
        before = tree(tmp_path)
        with (
            pytest.raises(BadInput, match=f"^checkpoints is .*process {racer.pid} on "),
            open_new(small(checkpoints=place), tmp_path / "second", overwrite=True),
        ):
            pass
        assert tree(tmp_path) == before


def test_after_kill_9_the_directory_is_free_at_once(made: Made) -> None:
    out = made("run")
    with racing(1, "resume", out) as [racer]:
        tell(racer)
        assert heard(racer) == "mine\n"
        os.kill(racer.pid, signal.SIGKILL)
        racer.wait()
        assert LOCK in tree(out)
        with open_saved(out, None, False) as (opened, _):
            opened.begin()
    assert LOCK not in tree(out)


def elsewhere(directory: Path) -> None:
    """Make the lock in a directory one of a process on another host."""
    file = directory / LOCK
    lines = ["host=another" if line.startswith("host=") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")


def test_a_host_that_is_gone_gives_it_up_and_one_that_lives_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "LEASE_S", 2.0)
    monkeypatch.setattr(locking, "POLL_S", 0.1)
    gone = DirectoryLock("out", tmp_path, "run")
    gone.acquire()
    record = (tmp_path / LOCK).read_text()
    gone.release()
    (tmp_path / LOCK).write_text(record)
    elsewhere(tmp_path)
    mine = DirectoryLock("out", tmp_path, "run")
    mine.acquire()  # nobody touched it for as long as a lease
    theirs = DirectoryLock("out", tmp_path, "run")
    monkeypatch.setattr(locking.socket, "gethostname", lambda: "a third")  # mine is touched, and is another host's
    with pytest.raises(BadInput, match=f"process {os.getpid()} on .* uses"):
        theirs.acquire()
    mine.check()
    mine.release()


def test_who_has_lost_the_lock_writes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "LEASE_S", 0.3)
    lock = DirectoryLock("out", tmp_path, "run")
    lock.acquire()
    lock.check()
    (tmp_path / LOCK).unlink()  # as whoever takes a lock over that has lapsed
    (tmp_path / LOCK).write_text("somebody else\n")
    processes.until(lambda: lock.lost)
    with pytest.raises(LockLost, match="no longer holds"):
        lock.check()
    lock.release()
    assert (tmp_path / LOCK).read_text() == "somebody else\n"


@pytest.mark.parametrize("content", ["", "garbage", "filelock/2\npid=x\n", "1\nvm\n"])
def test_a_lock_that_names_nobody_is_refused_and_kept(content: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(content)
    with pytest.raises(BadInput, match=r"uses .*expected a directory that no living run uses"):
        DirectoryLock("out", tmp_path, "run").acquire()
    assert (tmp_path / LOCK).read_text() == content


def test_what_was_made_for_a_run_that_is_refused_is_removed_again(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = command("train", "--out", str(tmp_path / "a" / "b"), "--checkpoints", str(tmp_path / "c" / "d"),
                    "--address", "127.0.0.1:1")  # fmt: skip
    assert ended.status == 2
    assert not tree(tmp_path)

"""Whatever the terminal is, what is printed does not end a run."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

KEPT = Path(__file__).parents[3] / "benchmarks" / "results" / "point-pearl"
MAIN = "from innerloop.distributed.terminal import use_any_terminal; use_any_terminal(); "
SAY = MAIN + "print('² … · ± \\N{SNOWMAN} \\udcff'); import sys; print('² …', file=sys.stderr)"
STATUS = MAIN + f"from innerloop.distributed.cli import main; main(['status', {str(KEPT)!r}])"
LIST = MAIN + "from innerloop.distributed.cli import main; main(['list'])"
HELP = MAIN + "from innerloop.distributed.cli import main; main(['status', '--help'])"
LINE = {
    "return": 1.5, "first_episode": 0.5, "last_episode": 1.0, "env_steps_per_s": 1e6, "dropped_stale": 1,
    "dropped_lost": 1, "restarts": 2, "diverged": 3, "iteration": 3, "seconds": 2.0,
}  # fmt: skip
DISPLAY = MAIN + (
    "from innerloop.distributed.runs.display import Display; from innerloop.distributed.run import Run\n"
    f"with Display(Run(iterations=3)) as display:\n    for _ in range(50): display({LINE!r})\n"
    "open('done', 'w')"
)


def run(code: str, tmp_path: Path, shell: str = "", **more: str) -> "subprocess.CompletedProcess[bytes]":
    """Python, with its streams redirected by a shell."""
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "PYTHONUTF8")} | more
    (tmp_path / "said.py").write_text(code)
    command = f"exec {sys.executable} said.py {shell}" if "|" not in shell else f"{sys.executable} said.py {shell}"
    return subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, timeout=120)


ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("shell", "more"),
    [
        ("", ASCII),
        ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        ("", {"PYTHONIOENCODING": "latin-1"}),
        ("", {"PYTHONIOENCODING": "utf-8"}),
        (">&-", {}),
        ("2>&-", {}),
        ("<&- >&- 2>&-", {}),
        ("2>&1 | head -c 1", {}),
        ("", {"TERM": "dumb", "COLUMNS": "abc"}),
        ("", {"NO_COLOR": "1", "COLUMNS": "0", "LINES": "0"}),
        ("", {"COLUMNS": "1", "LINES": "1"}),
        ("", {"COLUMNS": "²", "LINES": "²"}),
        ("", {"COLUMNS": "-5", "LINES": "x"}),
        ("", {"COLUMNS": "9" * 50}),
    ],
    ids=str,
)
def test_printing_works(shell: str, more: dict[str, str], tmp_path: Path) -> None:
    done = run("\n".join((DISPLAY, SAY, STATUS)), tmp_path, shell, **more)
    assert done.returncode == 0, done.stderr
    assert b"Error" not in done.stderr
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "done").exists()  # also where nobody listens
    if more == ASCII:
        assert done.stdout.startswith(b"? ? ? ? ? ?\n")
        assert done.stderr.endswith(b"? ?\n")
    elif more == {"PYTHONIOENCODING": "utf-8"}:
        assert done.stdout.decode().startswith("² … · ± ☃ ?\n")


@pytest.mark.parametrize(("shell", "more"), [("", ASCII), ("<&- >&- 2>&-", {}), ("", {"COLUMNS": "1", "LINES": "1"})])
def test_what_can_be_named_is_listed_anywhere(shell: str, more: dict[str, str], tmp_path: Path) -> None:
    done = run(LIST, tmp_path, shell, **more)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert (b"bernoulli-bandit" in done.stdout) == (not shell)


@pytest.mark.parametrize("columns", ["1", "5", "0", "abc", "9" * 50])
def test_help_is_laid_out_in_any_width(columns: str, tmp_path: Path) -> None:
    done = run(HELP, tmp_path, COLUMNS=columns)
    assert done.returncode == 0
    assert b"--watch" in done.stdout


def test_a_file_that_is_opened_does_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = MAIN + "file = open('mine', 'w'); import os; os.write(1, b'x'); os.write(2, b'x'); print('y')"
    assert run(code, tmp_path, "<&- >&- 2>&-").returncode == 0
    assert (tmp_path / "mine").read_text() == ""


WAITS = MAIN + (
    "from innerloop.distributed.runs.display import Display; from innerloop.distributed.run import Run\n"
    f"with Display(Run(iterations=3)) as display:\n    display.waits('starting actors'); display({LINE!r})\n"
)


@pytest.mark.parametrize(
    ("code", "word"), [(STATUS, b"loading innerloop status"), (WAITS, b"starting actors")], ids=["loading", "actors"]
)
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_is_told_what_is_waited_for(code: str, word: bytes, term: str, tmp_path: Path) -> None:
    """And a file or a pipe is not."""
    (tmp_path / "said.py").write_text(code)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": term}
    process = subprocess.Popen([sys.executable, "said.py"], cwd=tmp_path, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while piece := os.read(ours, 2**16):
            said += piece
    os.close(ours)
    assert process.wait(120) == 0
    assert (word in said) == (term == "xterm"), said
    quiet = run(code, tmp_path)
    assert (quiet.returncode, quiet.stderr.count(word), quiet.stdout.count(word)) == (0, 0, 0)


@pytest.mark.parametrize("code", [DISPLAY, STATUS, HELP], ids=["display", "status", "help"])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_may_be_narrow_and_may_hang_up(code: str, term: str, tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text(code)
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": term}
    for hang_up in (False, True):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 10, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "said.py"], cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        said = b""
        if not hang_up:
            try:
                while piece := os.read(ours, 2**16):
                    said += piece
            except OSError:  # the other end is closed
                pass
            assert b"Traceback" not in said, said
        os.close(ours)
        status = process.wait(120)
        assert status == 0 or (hang_up and code != DISPLAY), said
        if code == DISPLAY:
            (tmp_path / "done").unlink()

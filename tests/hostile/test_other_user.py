"""Another user of the machine: what is closed to them stays closed, what they may not write stays as it is, and what
they have put in the way is not followed. As `nobody`, where the tests run as root."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import run
from saved_runs import NOWHERE, Ended, metrics, small, tree

from innerloop.distributed.opening import open_new, open_saved
from innerloop.distributed.runs.journal import Journal
from innerloop.envs.errors import BadInput

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user too")
Made = Callable[..., Path]

NOBODY = 65534
AS_NOBODY = """
import contextlib, io, json, os, sys
from innerloop.distributed.cli import main

def run(words):
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
    return status, out.getvalue(), err.getvalue()

user, home, work, ours, before, commands = json.load(sys.stdin)
os.chdir(ours)
for words in before:
    run([word.replace("AT", "run") for word in words])
os.environ["HOME"] = home
os.chdir(work)
os.setgroups([])
os.setgid(user)
os.setuid(user)
print(json.dumps([run([word.replace("AT", "../run") for word in words]) for words in commands]))
"""
"""Command lines, one after the other, in a directory of another user. Before that some as ourselves in one of ours:
they import whatever is imported late, and the interpreter may be in a place that others cannot read."""
TRAIN = ["train", "--address", NOWHERE, "--arms", "3", "--episodes", "2"]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody can enter; `home` in it is the other user's."""
    directory = Path(tempfile.mkdtemp(prefix="shared-", dir="/tmp"))
    directory.chmod(0o755)
    (directory / "home").mkdir()
    os.chown(directory / "home", NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def as_nobody(shared: Path, made: Made, tmp_path: Path) -> Callable[..., list[Ended]]:
    """Runs command lines, in which AT is the run that both have."""
    made()  # ours, beside

    def run_all(*commands: list[str], home: str = "", before: tuple[list[str], ...] = ()) -> list[Ended]:
        work = str(shared / "home")
        given = [NOBODY, home or work, work, str(tmp_path), before or commands, commands]
        (tmp_path / "given").write_text(json.dumps(given))
        with (tmp_path / "given").open() as given:
            done = run([sys.executable, "-c", AS_NOBODY], stdin=given)
        assert done.returncode == 0, done.stderr
        return [Ended(*each) for each in json.loads(done.stdout)]

    return run_all


COMMANDS = [
    ["evaluate", "AT", "--tasks", "4"],
    ["status", "AT"],
    ["plot", "AT"],
    ["train", "--resume", "AT"],
    [*TRAIN, "--out", "AT"],
    [*TRAIN, "--out", "AT", "--overwrite"],
    [*TRAIN, "--out", "AT/new"],
    [*TRAIN, "--out", "other", "--start-from", "AT"],
    [*TRAIN, "--out", "other", "--checkpoints", "AT/checkpoints"],
    ["evaluate", "AT", "--tasks", "4", "--csv", "AT/x.csv"],
]
"""Every one that reads a run or writes to it."""


READING = {0, 1}
"""Which of them only read, and so are granted where reading is; as is `--start-from`."""


@pytest.mark.parametrize("closed", ["directory", "config.json", "checkpoints/00000004.json", "nothing"])
def test_what_is_closed_to_them_or_not_theirs_to_write(
    closed: str, shared: Path, made: Made, as_nobody: Callable[..., list[Ended]]
) -> None:
    at = Path(shutil.copytree(made("theirs"), shared / "run"))
    at.chmod(0o700 if closed == "directory" else 0o755)
    if closed not in ("directory", "nothing"):
        (at / closed).chmod(0)
    before = tree(shared)
    for words, ended in zip(COMMANDS, as_nobody(*COMMANDS), strict=True):
        readable = closed == "nothing" or closed.startswith("checkpoints")  # which has an older one beside it
        wanted = 0 if readable and words in COMMANDS[:2] else 2
        assert ended.status == wanted, (words, ended)
        said = [line for line in ended.err.splitlines() if line.startswith("innerloop: ")]
        assert len(said) == (wanted != 0), (words, ended)
        assert "unexpected" not in ended.err
        assert "Traceback" not in ended.err
    assert tree(shared) == before


@pytest.mark.parametrize("home", ["/root", "/nowhere", "/dev/null"])
def test_a_home_that_cannot_be_written(
    home: str, shared: Path, as_nobody: Callable[..., list[Ended]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    begin = ["train", "--arms", "3", "--out", "new"]
    [ended] = as_nobody(begin, home=home, before=([*begin, "--address", NOWHERE],))
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended
    assert ended.err.startswith(f"innerloop: HOME is '{home}'; expected a directory where Ray's token can be kept")
    assert not [*(shared / "home").iterdir()]


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "evaluation.json", "x.part"])
@pytest.mark.parametrize("text", ["", "mine", "mine\n"])
@pytest.mark.parametrize("resumed", [False, True], ids=["new", "resumed"])
def test_a_link_that_they_have_planted_is_not_followed(
    name: str, resumed: bool, text: str, shared: Path, made: Made, tmp_path: Path
) -> None:
    """Into a directory that everybody may write to."""
    mine, at = tmp_path / "mine", Path(shutil.copytree(made(), shared / "run")) if resumed else shared / "run"
    mine.write_text(text)
    at.mkdir(exist_ok=True)
    at.chmod(0o777)
    (at / name).unlink(missing_ok=True)
    (at / name).symlink_to(mine)
    os.lchown(at / name, NOBODY, NOBODY)
    try:
        with open_saved(at, None, False) if resumed else open_new(small(), at, overwrite=False) as (opened, _):
            opened.begin()
            journal = Journal(at, opened.learner.version)
            journal.write(metrics(opened.learner.version + 1))
            journal.close()
            opened.checkpoints.save(*opened.learner.state(), opened.saved_as)
    except (BadInput, OSError):
        pass  # as well
    assert mine.read_text() == text

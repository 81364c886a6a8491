"""Places as users give them, and runs that meet in one: nothing of another run is read, replaced or deleted."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from saved_runs import NOWHERE, Ended, newest, small, tree

from innerloop.distributed.opening import open_new, open_saved
from innerloop.envs.errors import BadInput
from innerloop.learner.checkpoint import Checkpoints

Made = Callable[..., Path]
Command = Callable[..., Ended]

TRAIN = ["train", "--address", NOWHERE, "--arms", "3", "--episodes", "2"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory, and another one to work in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path.parent))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    "given", ["~/run", "~//run/", "~/./run", "../run", "../link", "RUN", "RUN/", "file://RUN", "local://RUN"]
)
def test_a_run_is_found_whatever_it_is_called(given: str, made: Made, command: Command, home: Path) -> None:
    run = made()
    (home / "link").symlink_to(run)
    given = given.replace("RUN", str(run))
    before = tree(home)
    ended = command(*TRAIN, f"--out={given}")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "which holds a run" in ended.err
    assert tree(home) == before
    assert command("evaluate", given, "--tasks", "4").status == 0
    resumed = command("train", "--resume", given)
    assert NOWHERE in resumed.err
    assert tree(home) == before


def test_what_is_saved_is_found_from_elsewhere(command: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_new(small(checkpoints="saved/here"), "~/run", overwrite=False) as (opened, _):
        opened.begin()
        opened.checkpoints.save(*opened.learner.state(), opened.saved_as)
    monkeypatch.chdir(home)
    assert (home / "work" / "saved" / "here" / "00000000.json").is_file()
    assert json.loads((home / "run" / "config.json").read_text())["run"]["checkpoints"] == str(home / "work/saved/here")
    assert command("evaluate", "run", "--tasks", "4").status == 0


@pytest.mark.parametrize(
    "given",
    [
        "~nobody-of-that-name/run",
        "x" * 300,
        "a/" + "x" * 300,
        "foo://bar",
        "LOOP",
        "LOOP/run",
        "/dev/null/run",
        "/dev/null",
    ],
)
def test_what_is_no_place(given: str, command: Command, home: Path) -> None:
    (home / "loop").symlink_to(home / "loop")
    given = given.replace("LOOP", str(home / "loop"))
    before = tree(home)
    for words in (
        [*TRAIN, "--out", given], [*TRAIN, "--out", "new", "--checkpoints", given], [*TRAIN, "--start-from", given],
        ["train", "--resume", given], ["evaluate", given], ["status", given], ["plot", given],
    ):  # fmt: skip
        ended = command(*words)
        assert (ended.status, ended.err.count("\n")) == (2, 1), (words, ended)
        assert "unexpected" not in ended.err
    assert tree(home) == before


@pytest.mark.parametrize("words", [["--start-from"], ["--out", "new", "--checkpoints"]])
@pytest.mark.parametrize(
    "url", ["ftp://me:SECRET@127.0.0.1:1/a", "foo://me:SECRET@host/a", "ftp://me:SEC/RET@127.0.0.1:1/a"]
)
def test_a_password_is_not_repeated(url: str, words: list[str], command: Command, home: Path) -> None:
    ended = command(*TRAIN, *words, url)
    assert ended.status == 2
    for secret in ("SECRET", "SEC/RET", "RET@"):
        assert secret not in ended.err


OTHERS = [
    (["--tasks", "20"], "tasks is 20"),
    (["--seed", "1"], "seed is 1"),
    (["--episodes", "3"], "episodes is 3"),
    (["--arms", "4"], "arms is 4"),
    (["--hidden", "9"], "shape"),
    (["--memory", "lstm"], "weights"),
    (["--out", "x"], "out is 'x'"),
    (["--start-from", "x"], "start_from"),
    (["--overwrite"], "overwrite"),
    (["--preset", "first"], "preset"),
    (["--family", "tabular-mdp"], "family"),
    (["--algorithm", "maml"], "algorithm"),
    (["--iterations", "3"], "iterations is 3"),
    (["--max-staleness", "2"], "max_staleness is 2"),
    (["--replay-mb", "2"], "replay_mb is 2"),
    (["--checkpoints", "OTHER/checkpoints"], "without checkpoints of other runs"),
    (["--trials", "0"], "trials is 0"),
]


@pytest.mark.parametrize(("words", "said"), OTHERS, ids=lambda value: str(value)[:40])
def test_what_a_resumed_run_cannot_change(
    words: list[str], said: str, made: Made, command: Command, home: Path
) -> None:
    run, other = made("run", tasks=8), made("other", versions=(70, 80))
    before = tree(home)
    ended = command("train", "--resume", str(run), *(word.replace("OTHER", str(other)) for word in words))
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended
    assert said in ended.err
    assert tree(home) == before
    assert NOWHERE in command("train", "--resume", str(run)).err  # it can still be resumed


@pytest.mark.parametrize(
    "words",
    [["--iterations", "20"], ["--learning-rate", "0.001"], ["--trials", "6"], ["--seed", "0"], ["--episodes", "2"],
     ["--tasks", "8"], ["--mode", "overlapped"], ["--family", "bernoulli-bandit"], ["--checkpoints", "elsewhere"]],
    ids=" ".join,
)  # fmt: skip
def test_what_a_resumed_run_can_change(words: list[str], made: Made, command: Command, home: Path) -> None:
    run = made("run", tasks=8)
    before = tree(home)
    assert NOWHERE in command("train", "--resume", str(run), *words).err
    assert tree(home) == before  # not before there is a cluster


def test_a_run_that_moves_takes_its_checkpoints_along(made: Made, home: Path) -> None:
    run = made()
    with open_saved(run, small(checkpoints="elsewhere"), False) as (opened, _):
        opened.begin()
    assert newest(run) == 4  # what was there stays
    assert Checkpoints(home / "work" / "elsewhere").newest().numbers["version"] == 4


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "evaluation.json"])
def test_overwriting_deletes_runs_alone(name: str, command: Command, home: Path) -> None:
    """A config.json may be anybody's."""
    (home / "mine").mkdir()
    (home / "mine" / name).write_text('{"model_type": "bert"}')
    before = tree(home)
    for more in ([], ["--overwrite"]):
        ended = command(*TRAIN, "--out", "~/mine", *more)
        assert (ended.status, ended.err.count("\n")) == (2, 1)
        assert "mine" in ended.err
        assert tree(home) == before


def test_overwriting_leaves_what_is_not_the_runs(made: Made, home: Path) -> None:
    run = made()
    mine = {"notes.txt": b"a", "tensorboard/mine.txt": b"b", "checkpoints/20261127-notes.json": b"{}"}
    for name, data in mine.items():
        (run / name).write_bytes(data)
    with open_new(small(), run, overwrite=True) as (opened, _):
        opened.begin()
    assert mine.items() <= tree(run).items()
    assert {*tree(run)} == {*mine, "tensorboard", "checkpoints", "config.json"}


def test_a_checkpoint_of_another_run_is_never_this_runs_newest(made: Made, command: Command, home: Path) -> None:
    run, other = made("run"), made("other", versions=(70, 80), hidden=9)
    for file in (other / "checkpoints").iterdir():
        shutil.copy(file, run / "checkpoints" / file.name)
    assert command("evaluate", str(run), "--tasks", "4").status == 0
    with open_saved(run, None, False) as (opened, _):
        assert opened.learner.version == 4


def test_a_directory_that_cannot_be_written(made: Made) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere; test_other_user.py has it for another user")
    run = made()
    run.chmod(0o500)
    with pytest.raises(BadInput, match="can be written"), open_saved(run, None, False):
        pass

"""The command line: bad input is one sentence and status 2, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import processes
import psutil
import pytest

from innerloop.distributed.cli import main
from innerloop.distributed.runs.lines import read_lines
from innerloop.learner.checkpoint import Checkpoints

SMALL = [
    *("--iterations", "12", "--trials", "64", "--parts", "4", "--episodes", "5", "--hidden", "16", "--embedding", "0"),
    *("--learner-threads", "1", "--checkpoint-every", "2", "--evaluation-tasks", "200"),
]


def merged(*words: str) -> list[str]:
    """Options and their values; a later one takes the place of an earlier one."""
    given = dict(zip(words[::2], words[1::2], strict=True))
    return [word for pair in given.items() for word in pair]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return processes.run([sys.executable, "-m", "innerloop", *arguments], cwd=cwd)


def begin(*arguments: str) -> AbstractContextManager[psutil.Popen]:
    """A command that is ended with the block; what it says is piped."""
    command = [sys.executable, "-m", "innerloop", *arguments]
    return processes.spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(file: Path, count: int, process: psutil.Popen) -> None:
    """Of the run in a process; where that has ended, the wait has, too."""

    def there() -> bool:
        lines = len(read_lines(file))
        assert lines >= count or process.poll() is None, f"the run ended before it had written {count} lines"
        return lines >= count

    processes.until(there, what=f"{file} did not get {count} lines in time", pause=0.02)


def final(run: Path) -> dict[str, np.ndarray]:
    return Checkpoints(str(run / "checkpoints")).newest().arrays


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--family", "bernouli-bandit"], ["family", "'bernouli-bandit'", "tabular-mdp", "Did you mean"]),
        (["train", "--algorithm", "rl3"], ["algorithm", "'rl3'", "rl2"]),
        (["train", "--memory", "grru"], ["memory", "'grru'", "gru, lstm", "Did you mean 'gru'"]),
        (["train", "--preset", "frist"], ["preset", "'frist'", "first"]),
        (["train", "--family", "os:path"], ["family", "'os:path'", "sample"]),
        (["train", "--family", "no_such_module:thing"], ["family", "no_such_module", "importable"]),
        (["train", "--arms", "0"], ["arms is 0", "at least 1"]),
        (["train", "--arms", "x"], ["--arms", "'x'", "--help"]),
        (["train", "--discount", "1.5"], ["discount is 1.5", "[0, 1]"]),
        (["train", "--learning-rate", "nan"], ["learning_rate is nan", "finite"]),
        (["train", "--mode", "fast"], ["'fast'", "synchronous", "overlapped"]),
        (["train", "--iterations", "0"], ["iterations is 0", "at least 1"]),
        (["train", "--episodes", "0"], ["episodes is 0", "at least 1"]),
        (["train", "--trials", "2", "--parts", "3"], ["parts is 3", "at most"]),
        (["train", "--learning-rat", "3"], ["--learning-rat", "train --help"]),
        (["train", "--device", "warp"], ["device is 'warp'", "auto"]),
        (["train", "--address", "127.0.0.1:1"], ["address is '127.0.0.1:1'", "refused"]),
        (["train", "--address", "nonsense"], ["address is 'nonsense'", "host:port"]),
        (["train", "--checkpoints", "foo://bar"], ["checkpoints is 'foo://bar'", "fsspec"]),
        (["train", "--resume", "/nowhere"], ["/nowhere", "expected"]),
        (["train", "--resume", "/nowhere", "--family", "tabular-mdp"], ["/nowhere", "expected"]),
        (["train", "--out", "/proc/nowhere/run"], ["out is '/proc/nowhere/run'", "can be written"]),
        (["evaluate", "/nowhere"], ["/nowhere", "no checkpoint"]),
        (["evaluate", "/nowhere", "--tasks", "1"], ["tasks is 1", "at least 2"]),
        (["evaluate"], ["Directory of the run", "evaluate --help"]),
        (["reproduce", "rl2-mdps", "--address", "127.0.0.1:1"], ["address is '127.0.0.1:1'", "refused"]),
        (["plot", "/nowhere"], ["/nowhere", "metrics.jsonl"]),
        (["trian"], ["command is 'trian'", "train"]),
    ],
)
def test_bad_input_is_one_sentence_with_status_2_and_leaves_nothing(
    arguments: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith("innerloop: ")
    assert said.count("\n") == 1
    for part in expected:
        assert part in said
    assert not list(tmp_path.iterdir())


def test_help_explains_and_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert "innerloop train --preset first" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    explained = capsys.readouterr().out
    for option in ("--arms", "--memory", "--learning-rate", "--actors", "--resume", "Number of arms"):
        assert option in explained
    main(["list"])
    listed = capsys.readouterr().out
    for name in ("bernoulli-bandit", "tabular-mdp", "point-navigation", "rl2", "maml", "promp", "lstm", "first"):
        assert name in listed


@pytest.mark.usefixtures("own_ray")
def test_a_killed_run_resumed_ends_bit_for_bit_where_the_uninterrupted_one_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = merged(*SMALL, "--iterations", "40")
    with begin("train", *options, "--out", str(tmp_path / "killed"), "--actors", "1") as killed:
        wait_for_lines(tmp_path / "killed" / "metrics.jsonl", 5, killed)
        killed.kill()
        killed.wait()
    assert len(read_lines(tmp_path / "killed" / "metrics.jsonl")) < 40
    main(["train", "--resume", str(tmp_path / "killed")])
    main(["train", *options, "--out", str(tmp_path / "whole")])
    capsys.readouterr()
    a, b = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert [line["iteration"] for line in read_lines(tmp_path / "killed" / "metrics.jsonl")] == [*range(1, 41)]
    evaluations = [(tmp_path / name / "evaluation.json").read_text() for name in ("whole", "killed")]
    assert evaluations[0] == evaluations[1]

    main(["evaluate", str(tmp_path / "whole"), "--tasks", "200", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads(evaluations[0])
    assert set(result) >= {"return", "by_episode", "tasks", "family", "baselines"}
    assert len(result["by_episode"]) == 5
    for interval in (result["return"], *result["by_episode"], *result["baselines"].values()):
        assert interval["low"] <= interval["mean"] <= interval["high"]
    assert (tmp_path / "whole" / "learning.png").stat().st_size > 1000

    main(["evaluate", str(tmp_path / "whole"), "--tasks", "50", "--episodes", "2", "--csv", str(tmp_path / "a.csv")])
    assert "episode 2" in capsys.readouterr().out
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 51
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(tmp_path / "whole"), "--csv", str(tmp_path / "no" / "a.csv")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("innerloop: csv is ")

    newest = sorted((tmp_path / "whole" / "checkpoints").glob("*.safetensors"))
    for file in newest:
        file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(tmp_path / "whole")])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "not whole" in said
    assert said.count("\n") == 1


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    endless = ("--actors", "1", "--iterations", "100000", "--checkpoint-every", "100000")
    with begin("train", *merged(*SMALL, "--out", str(out), *endless)) as process:
        wait_for_lines(out / "metrics.jsonl", 3, process)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to Ray's processes too
        _, said = process.communicate(timeout=processes.LEAVE_SECONDS)
    assert process.returncode == 130
    assert f"go on with: innerloop train --resume {out}" in said
    assert "Traceback" not in said
    saved = Checkpoints(str(out / "checkpoints")).newest()
    assert saved.numbers["version"] == len(read_lines(out / "metrics.jsonl")) >= 3


@pytest.mark.parametrize("words", ["list", "train --help", "evaluate nowhere", "reproduce --help", "plot nowhere"])
def test_ctrl_c_while_the_program_is_imported(words: str) -> None:
    with begin(*words.split()) as process:

        def importing() -> bool:
            assert process.poll() is None
            return any("libtorch" in each.path for each in process.memory_maps())

        processes.until(importing, pause=0.01)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=processes.LEAVE_SECONDS)
    assert (process.returncode, said, printed) == (130, "innerloop: interrupted.\n", "")

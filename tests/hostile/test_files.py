"""Every file that decides what is played or learned, damaged in every way: one sentence, and nothing changed."""

import hashlib
import json
import os
import shutil
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logged import ours
from safetensors.numpy import save
from saved_runs import Ended, tree

from innerloop.distributed.opening import open_saved
from innerloop.learner.checkpoint import Checkpoints
from innerloop.learner.replay import Replay
from innerloop.learner.trajectory import Arrays, Trajectory

Made = Callable[..., Path]
Command = Callable[..., Ended]

DEEP = b"[" * 100_000
DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "list": lambda file: file.write_bytes(b"[]"),
    "number": lambda file: file.write_bytes(b"3"),
    "null": lambda file: file.write_bytes(b"null"),
    "text": lambda file: file.write_bytes(b'"run"'),
    "deep": lambda file: file.write_bytes(DEEP),
    "deep objects": lambda file: file.write_bytes(b'{"a":' * 100_000),
    "not UTF-8": lambda file: file.write_bytes(b"\xff\xfe{}"),
    "huge": lambda file: os.truncate(file, 2**40),
    "a directory": lambda file: (file.unlink(), file.mkdir())[1],
    "a loop of links": lambda file: (file.unlink(), file.symlink_to(file.name))[1],
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file))[1],
    "huge integer": lambda file: file.write_bytes(b'{"episodes": ' + b"9" * 5_000 + b"}"),
}


def refused(ended: Ended, status: int = 2) -> None:
    assert ended.status == status, ended
    assert ended.err.startswith("innerloop: "), ended
    assert ended.err.count("\n") == 1, ended
    assert "unexpected" not in ended.err, ended
    assert len(ended.err) < 1_500, ended


def sealed(about: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's JSON with the right seal, as somebody who wants to be believed would write it."""
    about = {name: value for name, value in about.items() if name != "seal"}
    return about | {"seal": hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()}


def rewritten(run: Path, change: Callable[[dict[str, Any]], None], data: bytes | None = None) -> None:
    """Give every checkpoint other JSON and, if given, other arrays; sums and seals are right."""
    for file in (run / "checkpoints").glob("*.json"):
        about = json.loads(file.read_text())
        if data is not None:
            file.with_suffix(".safetensors").write_bytes(data)
            about |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        change(about)
        file.write_text(json.dumps(sealed(about)))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("words", [["evaluate", "RUN"], ["train", "--resume", "RUN"]], ids=lambda words: words[0])
@pytest.mark.parametrize("name", ["config.json", "checkpoints/00000004.json", "checkpoints/00000004.safetensors"])
def test_a_damaged_file(name: str, words: list[str], damage: str, made: Made, command: Command, tmp_path: Path) -> None:
    run = made(versions=(4,))
    DAMAGES[damage](run / name)
    sizes = {path: path.lstat().st_size for path in run.rglob("*")}
    refused(command(*(str(run) if word == "RUN" else word for word in words)))
    assert {path: path.lstat().st_size for path in run.rglob("*")} == sizes


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
@pytest.mark.parametrize("name", ["00000004.json", "00000004.safetensors"])
def test_the_checkpoint_before_a_damaged_one_is_used_and_the_damaged_one_is_named(
    name: str, damage: str, made: Made, command: Command
) -> None:
    run = made(versions=(2, 4))
    if damage == "missing":
        (run / "checkpoints" / name).unlink()
    else:
        DAMAGES[damage](run / "checkpoints" / name)
    ended = command("evaluate", str(run), "--tasks", "4")
    assert ended.status == 0, ended
    assert ("00000004" in ended.err) == ((name, damage) != ("00000004.json", "missing"))


def tensors(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 4,
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 100) + b"{}",
        tensors(b"[]"),
        tensors(b"{"),
        tensors(DEEP),
        tensors({"a": 3}),
        tensors({"a": F32}, b"\0" * 7),
        tensors({"a": F32 | {"shape": [2**62, 2**62]}}, b"\0" * 8),
        tensors({"a": F32 | {"shape": [-2]}}, b"\0" * 8),
        tensors({"a": F32 | {"data_offsets": [8, 0]}}, b"\0" * 8),
        tensors({"a": F32 | {"data_offsets": [0, 2**40]}}, b"\0" * 8),
        tensors({"a": F32, "b": F32}, b"\0" * 8),
        tensors({"a": F32 | {"dtype": "PICKLE"}}, b"\0" * 8),
        tensors({"a": F32 | {"dtype": "BF16", "shape": [4]}}, b"\0" * 8),
        tensors({"a": F32 | {"dtype": "F8_E4M3", "shape": [8]}}, b"\0" * 8),
        tensors({"__metadata__": {"a": "b"}}),
        save({"model/none": np.zeros(3, np.float32)}),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_arrays_that_somebody_crafted(data: bytes, made: Made, command: Command) -> None:
    """Size and sums are right."""
    run = made()
    rewritten(run, lambda about: None, data)
    before = tree(run)
    for words in (["evaluate", str(run)], ["train", "--resume", str(run)]):
        refused(command(*words))
    assert tree(run) == before


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "format": (lambda about: about.update(format=7), "format"),
    "an older format": (lambda about: about.update(format=1), "another version of innerloop saved it"),
    "format text": (lambda about: about.update(format="1"), "format"),
    "no bytes": (lambda about: about.pop("bytes"), "bytes"),
    "bytes beyond memory": (lambda about: about.update(bytes=10**15), "memory"),
    "bytes negative": (lambda about: about.update(bytes=-1), "bytes"),
    "bytes beyond 64 bits": (lambda about: about.update(bytes=2**70), "bytes"),
    "sha256 number": (lambda about: about.update(sha256=3), "sha256"),
    "numbers list": (lambda about: about.update(numbers=[]), "numbers"),
    "no numbers": (lambda about: about.update(numbers={}), "version"),
    "version text": (lambda about: about["numbers"].update(version="4"), "version"),
    "version of another": (lambda about: about["numbers"].update(version=77), "version"),
    "version nan": (lambda about: about["numbers"].update(version=float("nan")), "version"),
    "steps negative": (lambda about: about["numbers"].update(env_steps=-5), "env_steps"),
    "steps text": (lambda about: about["numbers"].update(env_steps="many"), "env_steps"),
    "config null": (lambda about: about.update(config=None), "config"),
    "family text": (lambda about: about["config"].update(family="bernoulli-bandit"), "family"),
    "family null": (lambda about: about["config"].update(family=None), "family"),
    "no family": (lambda about: about["config"].pop("family"), "family"),
    "name number": (lambda about: about["config"]["family"].update(name=3), "family"),
    "name unknown": (lambda about: about["config"]["family"].update(name="slot-machine"), "slot-machine"),
    "option unknown": (lambda about: about["config"]["family"].update(legs=3), "legs"),
    "option text": (lambda about: about["config"]["family"].update(arms="3"), "arms"),
    "option bool": (lambda about: about["config"]["family"].update(arms=True), "arms"),
    "option beyond 64 bits": (lambda about: about["config"]["family"].update(arms=2**64), "arms"),
    "hidden beyond memory": (lambda about: about["config"]["algorithm"].update(hidden=100_000), "shape"),
    "hidden overflowing": (lambda about: about["config"]["algorithm"].update(hidden=2**62), "smaller"),
    "hidden of another": (lambda about: about["config"]["algorithm"].update(hidden=9), "shape"),
    "episodes 0": (lambda about: about["config"].update(episodes=0), "episodes"),
    "episodes text": (lambda about: about["config"].update(episodes="2"), "episodes"),
    "episodes beyond": (lambda about: about["config"].update(episodes=10**12), "episodes"),
    "rate nan": (lambda about: about["config"]["algorithm"].update(learning_rate=float("nan")), "learning_rate"),
    "rate infinite": (lambda about: about["config"]["algorithm"].update(learning_rate=float("inf")), "learning_rate"),
    "memory list": (lambda about: about["config"]["algorithm"].update(memory=["gru"]), "memory"),
    "layers": (lambda about: about["config"]["algorithm"].update(memory="transformer,layers=99999999"), "layers"),
    "deep": (lambda about: about["config"]["family"].update(arms=json.loads("[" * 150 + "]" * 150)), "arms"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_json_that_somebody_crafted(change: str, made: Made, command: Command) -> None:
    """The seal is right."""
    run = made()
    change_it, named = CHANGES[change]
    rewritten(run, change_it)
    before = tree(run)
    ended = command("evaluate", str(run))
    refused(ended)
    assert named in ended.err
    assert tree(run) == before


@pytest.mark.parametrize("seal", [None, "", "0" * 64, 3], ids=str)
def test_the_seal_is_not_optional(seal: Any, made: Made, command: Command) -> None:
    run = made()
    for file in (run / "checkpoints").glob("*.json"):
        about = json.loads(file.read_text())
        del about["seal"]
        file.write_text(json.dumps(about if seal is None else about | {"seal": seal}))
    refused(command("evaluate", str(run)))


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no run": (lambda config: config.pop("run"), "run"),
    "run list": (lambda config: config.update(run=[]), "run"),
    "option unknown": (lambda config: config["run"].update(legs=3), "legs"),
    "option text": (lambda config: config["run"].update(trials="4"), "trials"),
    "option null": (lambda config: config["run"].update(trials=None), "trials"),
    "option beyond 64 bits": (lambda config: config["run"].update(trials=2**64), "trials"),
    "option nan": (lambda config: config["run"].update(minutes=float("nan")), "minutes"),
    "trials beyond memory": (lambda config: config["run"].update(trials=10**13), "memory"),
    "checkpoints number": (lambda config: config["run"].update(checkpoints=3), "checkpoints"),
    "checkpoints elsewhere": (lambda config: config["run"].update(checkpoints="/nowhere/at/all"), "/nowhere/at/all"),
    "store": (lambda config: config["run"].update(store="http://x"), "store"),
    "address": (lambda config: config["run"].update(address="nonsense"), "address"),
    "saved before there were formats": (lambda config: config.pop("format"), "another version of innerloop saved it"),
    "a later format": (lambda config: config.update(format=99), "another version of innerloop saved it"),
    "text for the format": (lambda config: config.update(format="2"), "format"),
    "id number": (lambda config: config.update(id=3), "id"),
    "id of another run": (lambda config: config.update(id="another"), "no checkpoint"),
    "episodes": (lambda config: config.update(episodes=-1), "episodes"),
    "another family": (lambda config: config["family"].update(arms=4), "shape"),
}


@pytest.mark.parametrize("change", CONFIGS)
def test_a_configuration_that_somebody_changed(change: str, made: Made, command: Command) -> None:
    run = made()
    change_it, named = CONFIGS[change]
    config = json.loads((run / "config.json").read_text())
    change_it(config)
    (run / "config.json").write_text(json.dumps(config))
    before = tree(run)
    ended = command("train", "--resume", str(run))
    refused(ended)
    assert named in ended.err
    assert tree(run) == before


@pytest.mark.parametrize(
    "given", ["RUN/config.json", "RUN/checkpoints/00000004.json", "/dev/null", "/dev/zero", "RUN/no"]
)
@pytest.mark.parametrize(
    "words", [["evaluate"], ["train", "--resume"], ["train", "--start-from"], ["plot"], ["status"]]
)
def test_what_is_no_run(given: str, words: list[str], made: Made, command: Command, tmp_path: Path) -> None:
    run = made()
    before = tree(tmp_path)
    given = given.replace("RUN", str(run))
    out = ["--out", str(tmp_path / "new")] if "--start-from" in words else []
    refused(command(*words, given, *out))
    assert tree(tmp_path) == before


PIECES: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "no trials": (lambda arrays: arrays.pop("trials"), "arrays"),
    "no reward": (lambda arrays: arrays.pop("reward"), "arrays"),
    "another array": (lambda arrays: arrays.update(more=np.zeros(3)), "arrays"),
    "trials of another shape": (lambda arrays: arrays.update(trials=arrays["trials"][:, :2]), "trials"),
    "trials of floats": (lambda arrays: arrays.update(trials=arrays["trials"].astype(np.float64)), "trials"),
    "a task beyond": (lambda arrays: arrays["trials"].__setitem__((0, 0), 5), "task"),
    "a task before": (lambda arrays: arrays["trials"].__setitem__((0, 0), -1), "task"),
    "a length beyond": (lambda arrays: arrays["trials"].__setitem__((0, 1), 2**62), "length"),
    "a length of 0": (lambda arrays: arrays["trials"].__setitem__((0, 1), 0), "length"),
    "a length more": (lambda arrays: arrays["trials"].__setitem__((0, 1), 9), "rows"),
    "a version beyond": (lambda arrays: arrays["trials"].__setitem__((0, 2), 99), "version"),
    "fewer rows": (lambda arrays: arrays.update(reward=arrays["reward"][:-1]), "reward"),
    "reward nan": (lambda arrays: arrays["reward"].__setitem__(3, np.nan), "reward"),
    "reward of another width": (lambda arrays: arrays.update(reward=arrays["reward"][:, None]), "reward"),
    "observation infinite": (lambda arrays: arrays["observation"].__setitem__(3, np.inf), "observation"),
    "observation of another width": (lambda arrays: arrays.update(observation=arrays["action"][:, :1]), "observation"),
    "action out of bounds": (lambda arrays: arrays["action"].__setitem__(0, 1e6), "action"),
    "flags of numbers": (lambda arrays: arrays.update(terminated=arrays["reward"]), "terminated"),
    "episode beyond": (lambda arrays: arrays["episode"].__setitem__(0, 2), "episode"),
    "doubles": (lambda arrays: arrays.update(reward=arrays["reward"].astype(np.float64)), "layout"),
}


@pytest.mark.parametrize("change", PIECES)
def test_replay_that_somebody_crafted(
    change: str, made: Made, played: Callable[..., Trajectory], caplog: pytest.LogCaptureFixture
) -> None:
    """Sizes, sums and seals are right. It is left out, and that is said."""
    run = made(algorithm="pearl")
    with open_saved(run, None, False) as (opened, _):
        replay = Replay(10**6)
        replay.append([0, 1, 2, 3, 4], played(opened.config.experiment, opened.learner, n=5))
        good, crafted = replay.export(), replay.export()
        change_it, named = PIECES[change]
        change_it(crafted)
        for version, arrays in ((4, good), (5, crafted), (6, good)):
            opened.pieces.save(version, arrays)
        read = [version for version, _ in opened.pieces.whole(6)]
    assert read == [4, 6]
    [said] = ours(caplog)
    assert "replay/00000005' is no piece of this run: " in said
    assert named in said
    assert said.endswith("The run goes on without what was in it.")


def test_a_file_that_may_not_be_read(made: Made, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything; test_other_user.py has it for another user")
    run = made()
    (run / "config.json").chmod(0)
    refused(command("evaluate", str(run)))


def test_a_run_that_was_copied_is_a_run(made: Made, command: Command, tmp_path: Path) -> None:
    run = made()
    copied = shutil.copytree(run, tmp_path / "copy")
    assert command("evaluate", str(copied), "--tasks", "4").status == 0
    assert stat.S_IMODE((copied / "config.json").stat().st_mode) & 0o022 == 0


def test_what_is_not_ours_is_neither_read_nor_deleted(made: Made, tmp_path: Path) -> None:
    """Notes that begin with eight digits, other runs' checkpoints, folders: they look newer than what the run saves."""
    run = made("run")
    other = made("other", versions=(70, 80, 90))
    place = run / "checkpoints"
    strange = {
        "20261127-notes.json": b"{}",
        "20261128.json": b'{"mine": true}',
        "20261129.json.bak": b"x",
        "99999999.txt": b"x",
        "00000099.safetensors": b"x",
    }
    for name, data in strange.items():
        (place / name).write_bytes(data)
    (place / "20261130.json").mkdir()
    for file in (other / "checkpoints").iterdir():
        shutil.copy(file, place / file.name)
    config = json.loads((run / "config.json").read_text())
    checkpoints = Checkpoints(place, keep=1, run=config["id"])
    assert checkpoints.own() == ["00000002", "00000004"]
    assert checkpoints.others() == ["00000070", "00000080", "00000090"]
    saved = checkpoints.newest()
    assert saved.numbers["version"] == 4
    before = tree(place)
    checkpoints.save(saved.arrays, saved.numbers | {"version": 5}, saved.config)
    after = tree(place)
    assert {*before} - {*after} == {
        f"0000000{version}.{kind}" for version in (2, 4) for kind in ("json", "safetensors")
    }
    assert {*after} - {*before} == {"00000005.json", "00000005.safetensors"}
    checkpoints.clear()  # as --overwrite does: whichever run's, but nothing else
    assert {*tree(place)} == {*strange, "20261130.json"}

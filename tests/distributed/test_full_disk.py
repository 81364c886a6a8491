"""A disk that fills up under a run, and checkpoints that are damaged when it goes on."""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from logged import ours
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from test_trainer import final, same_bits, small

from innerloop.distributed.cli import main
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.saving import Unsaved
from innerloop.distributed.trainer import resume, train
from innerloop.learner.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("own_ray")


class Disk:
    """A small file system of its own. Where none can be mounted, the size of files is limited instead."""

    def __init__(self, place: Path) -> None:
        self.place, self._ballast = place, place / "ballast"
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "innerloop-test", str(place)]
        self.mounted = shutil.which("mount") and subprocess.run(command, capture_output=True).returncode == 0
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, leave: int = 0) -> None:
        """To the last byte, but for some."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, self._before[1]))
            return
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        if leave:
            with self._ballast.open("r+b") as file:
                file.truncate(self._ballast.stat().st_size - leave)

    def free(self) -> None:
        if self.mounted:
            self._ballast.unlink(missing_ok=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._before)

    def close(self) -> None:
        self.free()
        if self.mounted:
            subprocess.run(["umount", str(self.place)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    disk = Disk(place)
    yield disk
    disk.close()


def test_a_run_goes_on_while_the_disk_is_full_and_nothing_of_its_metrics_is_missing(
    disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, held = disk.place / "run", []
    config = small(iterations=8, checkpoint_every=1)

    def watch(line: dict[str, Any]) -> None:
        if line["iteration"] == 3:
            disk.fill()
        if line["iteration"] == 6:
            held.append(Checkpoints(str(out / "checkpoints")).newest().numbers["version"])
            held.append([file.suffix for file in (out / "checkpoints").iterdir() if file.name > "00000003"])
            disk.free()

    train(config, out, watch=watch)
    train(config, tmp_path / "quiet")
    assert same_bits(final(out), final(tmp_path / "quiet"))
    assert held == [2, []]  # the one before is whole, and nothing half-written takes room
    lines = read_lines(out / "metrics.jsonl")
    assert [line["iteration"] for line in lines] == [*range(1, 9)]
    assert [line["checkpoints_failed"] for line in lines] == [0, 0, 0, 1, 2, 3, 3, 3]
    assert final(out).keys() == final(tmp_path / "quiet").keys()
    said = ours(caplog)
    failed = [sentence for sentence in said if "could not be saved" in sentence]
    assert [sentence.partition(" could")[0] for sentence in failed] == [
        f"The checkpoint of iteration {iteration}" for iteration in (3, 4, 5)
    ]
    assert all(sentence.endswith("the newest is of iteration 2. The run goes on.") for sentence in failed)
    assert all("No space left on device" in s or "File too large" in s for s in failed)
    assert sum("metrics.jsonl cannot be written" in sentence for sentence in said) == 1
    assert sum("metrics.jsonl is written again; nothing of it is missing." in sentence for sentence in said) == 1
    [board] = (out / "tensorboard").iterdir()
    assert [event.step for event in EventFileLoader(str(board)).Load()] == [*range(9)]


def test_a_run_none_of_whose_checkpoints_fits_ends_in_one_sentence(
    disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Unsaved, match="so the run's 2 iterations are lost; expected room on the disk"):
        train(small(iterations=2, checkpoint_every=1), disk.place / "run", watch=lambda line: disk.fill())
    disk.free()
    shutil.rmtree(disk.place / "run")
    disk.fill(leave=2**15)  # room for everything but the weights
    options = "--iterations 2 --trials 64 --parts 4 --episodes 5 --hidden 64 --learner-threads 1 --evaluation-tasks 0"
    if not disk.mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(SystemExit) as stopped:
        main(["train", *options.split(), "--out", str(disk.place / "run")])
    assert stopped.value.code == 1
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("innerloop: ")]
    assert "so the run's 2 iterations are lost" in said


def test_a_full_disk_is_one_sentence_before_a_run_begins(disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    if not disk.mounted:
        pytest.skip("no file system can be mounted here")
    disk.fill()
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--iterations", "1", "--out", str(disk.place / "run")])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "expected a directory that can be written" in said
    assert "No space left on device" in said


def test_damaged_checkpoints_are_named_and_the_one_before_them_is_gone_on_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    train(small(iterations=4, checkpoint_every=1, keep=4), whole)
    shutil.copytree(whole, hurt)
    place = hurt / "checkpoints"
    arrays = place / "00000004.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-100])  # cut short
    arrays = place / "00000003.safetensors"
    data = bytearray(arrays.read_bytes())
    data[-1] ^= 1  # one bit
    arrays.write_bytes(data)
    about = place / "00000002.json"
    about.write_text(about.read_text().replace('"trials": 128', '"trials": 129'))  # a counter
    resume(hurt)
    said = [
        record.getMessage() for record in caplog.records if "The checkpoint before it is used." in record.getMessage()
    ]
    assert [f"0000000{version}" in sentence for version, sentence in zip((4, 3, 2), said, strict=True)] == [True] * 3
    assert "the file is not whole" in said[0]
    assert "is not what was written; expected SHA-256" in said[1]
    assert "its JSON was changed" in said[2]
    assert same_bits(final(whole), final(hurt))
    assert [line["iteration"] for line in read_lines(hurt / "metrics.jsonl")] == [1, 2, 3, 4]

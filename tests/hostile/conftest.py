"""Runs to be damaged, and the command line in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from saved_runs import Ended, metrics, small

from innerloop.distributed.cli import main
from innerloop.distributed.opening import open_new
from innerloop.distributed.runs.journal import Journal


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command line in this process."""

    def run(*words: str) -> Ended:
        capsys.readouterr()
        status = 0
        try:
            main([*words])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        said = capsys.readouterr()
        return Ended(status, said.out, said.err)

    return run


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """A run as training leaves it, without Ray: configuration, metrics of some iterations, checkpoints of versions."""

    def make(name: str = "run", algorithm: str = "rl2", versions: tuple[int, ...] = (2, 4), **options: Any) -> Path:
        out = tmp_path / name
        with open_new(small(algorithm, **options), out, overwrite=False) as (opened, _):
            opened.begin()
            journal = Journal(out, 0)
            for iteration in range(1, versions[-1] + 1):
                journal.write(metrics(iteration))
            journal.close()
            for version in versions:
                opened.learner.version = version
                arrays, numbers = opened.learner.state()
                counts = opened.counts | {"env_steps": 10 * version, "trials": 4 * version}
                opened.checkpoints.save(arrays | opened.order.state(), numbers | counts, opened.saved_as)
        return out

    return make

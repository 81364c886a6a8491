"""A job that cannot be followed is given up on, and one that can be followed again is not."""

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from innerloop.distributed.launch import submit

RUNS, OVER = JobStatus.RUNNING, JobStatus.SUCCEEDED
AWAY = ConnectionError("the dashboard is away")


class Client:
    """Ray's client of a dashboard whose answers are given: states, and logs as pieces; an error is raised."""

    def __init__(self, states: Iterator[JobStatus | Exception], logs: Iterator[list[str | Exception]]) -> None:
        self._states, self._logs = states, logs

    def get_job_info(self, job: str) -> Any:
        state = next(self._states)
        if isinstance(state, Exception):
            raise state
        return SimpleNamespace(status=state, message=None, driver_exit_code=0)

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for piece in next(self._logs):
            if isinstance(piece, Exception):
                raise piece
            yield piece


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Seconds pass only while it waits, a hundred times as fast."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 100 * seconds
        assert now[0] < 10_000, "it never gives up"

    monkeypatch.setattr(submit, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return lambda states, logs: submit.Follower(Client(iter(states), iter(logs)), "the-job").follow()


@pytest.mark.parametrize(
    ("states", "logs"),
    [
        (repeat(AWAY), repeat([])),
        (repeat(OVER), repeat([AWAY])),
        (repeat(OVER), repeat(["begun\n", AWAY])),
        (chain([RUNS], repeat(AWAY)), repeat(["begun\n"])),
        (chain([RUNS] * 100, repeat(OVER)), repeat(["begun\n", AWAY])),
        (chain([RUNS, RUNS], repeat(AWAY)), repeat([AWAY])),
    ],
    ids=["no answer", "no log", "no more of the log", "no answer any more", "ended without a log", "neither"],
)
def test_what_fails_for_long_is_given_up_with_one_sentence(
    states: Any, logs: Any, follow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert follow(states, logs) == 1
    shown, said = capsys.readouterr()
    assert shown in ("", "begun\n")
    assert said == "innerloop: job the-job cannot be followed, for 60 seconds now (the dashboard is away).\n"


def test_what_fails_in_between_is_tried_again_from_where_it_was(
    follow: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that runs may be silent behind a connection that breaks for as long as it likes."""
    states = chain([AWAY, RUNS, AWAY, RUNS, RUNS], [RUNS] * 100, repeat(OVER))
    logs = chain([["a"], ["ab", "c", AWAY]], repeat(["abc", AWAY], 50), [[AWAY], ["abcd", "e"]])
    logs = chain(logs, repeat(["abcde"]))
    assert follow(states, logs) == 0
    assert capsys.readouterr() == ("abcde", "")

"""The model of docs/scaling.md: its bottlenecks, and that the page says what the kept figures give."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import scaling

MODEL = scaling.Model(
    steps=100_000, trials=1_000, step_bytes=100.0, weights=10**6, actor=1_000.0, learner=32_000.0, answer=0.001,
    publish=0.0, network=1e6,
)  # fmt: skip


def test_at_a_bottleneck_both_sides_take_as_long() -> None:
    bottlenecks = MODEL.bottlenecks()
    assert bottlenecks == pytest.approx({"learner": 32, "coordinator": 316.23, "network": 10}, rel=1e-4)
    work = MODEL.seconds(32)
    assert work["actors"] == pytest.approx(work["learner"])
    assert MODEL.seconds(10)["actors"] == pytest.approx(MODEL.seconds(10)["network"])
    work = MODEL.seconds(316)
    assert work["actors"] == pytest.approx(work["coordinator"], rel=0.01)


def test_updates_are_those_of_the_slowest_or_of_all_in_turns() -> None:
    # 5 actors: 20 s of playing, 3.125 s of learning, 10 s of network
    assert MODEL.updates(5, overlapped=True) == pytest.approx(1 / 20)
    assert MODEL.updates(5, overlapped=False) == pytest.approx(1 / 23.125)
    assert MODEL.binds(5) == "actors"
    assert MODEL.updates(500, overlapped=True) == pytest.approx(1 / 16)  # 16 nodes' copies of 1 MB, more than 10 MB
    assert MODEL.binds(500) == "network"


def test_the_page_says_what_the_kept_figures_give() -> None:
    page = scaling.DOCS.read_text()
    assert scaling.with_tables(page, scaling.kept_tables()) == page

"""The loop: repeatable, resumable, bounded in staleness, unmoved by the death of actors."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from families import BreakingPoints, NaNBandit, SuicidalBandit
from small_runs import adapting, cut_short, final, mixing, replaying, same_bits, small

from innerloop.actors.agent import Agent
from innerloop.actors.baselines import baselines
from innerloop.actors.evaluate import play_tasks
from innerloop.distributed.config import MEGABYTE, Config, configure
from innerloop.distributed.launch.stopping import Interrupted
from innerloop.distributed.rollouts.failures import ActorsDied
from innerloop.distributed.rollouts.pool import Pool
from innerloop.distributed.rollouts.tasks import assignments
from innerloop.distributed.runs.lines import read_lines
from innerloop.distributed.store.ray import RayStore
from innerloop.distributed.trainer import Components, make_pool, resume, train
from innerloop.envs.errors import BadInput

pytestmark = pytest.mark.usefixtures("own_ray")


def test_the_same_seed_gives_the_same_bits_with_any_number_of_actors(tmp_path: Path) -> None:
    """With as many parts as there are by default."""
    said: list[str] = []
    for name, options in {
        "one": {"actors": 1},
        "two": {"actors": 2},
        "three": {"actors": 3, "actor_cpus": 0.5},
        "other": {"seed": 1},
    }.items():
        train(small(parts=0, **options), tmp_path / name, say=said.append)
        wanted = [line["actors_wanted"] for line in read_lines(tmp_path / name / "metrics.jsonl")]
        assert wanted == [options.get("actors", 1)] * 4
    for name in ("two", "three"):
        assert same_bits(final(tmp_path / "one"), final(tmp_path / name))  # the stated tolerance is none
    assert not same_bits(final(tmp_path / "one"), final(tmp_path / "other"))
    assert said == ["starting Ray", "starting actors"] * 4


def test_an_interrupted_run_ends_where_the_uninterrupted_one_ends(tmp_path: Path) -> None:
    def interrupt(line: dict[str, Any]) -> None:
        if line["iteration"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    train(small(), tmp_path / "whole")
    with pytest.raises(Interrupted, match="iteration 3"):
        train(small(), tmp_path / "cut", watch=interrupt)
    resume(tmp_path / "cut")
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "cut"))
    whole, cut = (read_lines(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    clocks = {n for n in whole[0] if "second" in n or n.endswith("per_s") or n == "actors_alive"}  # as Ray starts them
    for a, b in zip(whole, cut, strict=True):
        assert {k: v for k, v in a.items() if k not in clocks} == {k: v for k, v in b.items() if k not in clocks}


def test_a_curriculum_lengthens_trials_and_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    def interrupt(line: dict[str, Any]) -> None:
        if line["iteration"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    train(small(episodes_start=1), tmp_path / "whole")
    with pytest.raises(Interrupted, match="iteration 1"):
        train(small(episodes_start=1), tmp_path / "cut", watch=interrupt)
    resume(tmp_path / "cut")
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "cut"))
    for name in ("whole", "cut"):
        lines = read_lines(tmp_path / name / "metrics.jsonl")
        assert [line["episodes"] for line in lines] == [1, 2, 5, 5]
        assert [line["trials"] for line in lines] == [320, 480, 544, 608]
        assert [line["env_steps"] for line in lines] == [320, 640, 960, 1280]


@pytest.mark.parametrize(
    ("algorithm", "family", "steps", "diverged"),
    [("maml", "point-navigation", 5, 0), ("promp", f"{BreakingPoints.__module__}:BreakingPoints", 2, 1)],
    ids=["maml", "promp"],
)
def test_a_run_that_adapts_by_gradient_ends_alike_with_any_number_of_actors_and_after_a_crash(
    algorithm: str, family: str, steps: int, diverged: int, tmp_path: Path
) -> None:
    train(adapting(algorithm, family=family), tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "dead")
    assert not same_bits(final(tmp_path / "whole"), final(tmp_path / "dead"))
    resume(tmp_path / "dead", adapting(algorithm, family=family, actors=2))
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "dead"))
    for name in ("whole", "dead"):
        lines = read_lines(tmp_path / name / "metrics.jsonl")
        assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
        for line in lines:
            assert line["trials"] == 4 * line["iteration"]
            assert line["env_steps"] == 4 * 3 * 3 * steps * line["iteration"]  # trials, rollouts, episodes, steps
            assert line["diverged"] == 4 * 3 * 3 * diverged * line["iteration"]
    agent = Agent.load(tmp_path / "dead", trust_plugins=True)
    assert agent.rollouts_per_task == 3
    assert play_tasks(agent, agent.experiment.family, 3, tasks=2, seed=0).shape == (2, 3)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("strokes", {"algorithm": "supervised", "memory": "gru", "hidden": 8, "embedding": 8}),
        ("omniglot", {"algorithm": "protonet", "encoder": "conv4,channels=8", "loss_from": 0}),
        ("omniglot", {"algorithm": "supervised-maml", "encoder": "conv4,channels=8", "layers": 0, "loss_from": 0}),
    ],
    ids=["supervised", "protonet", "maml"],
)
def test_a_run_that_learns_from_answers_ends_alike_with_any_number_of_actors_and_after_a_crash(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    few: dict[str, Any] = {"family": family, "ways": 3, "shots": 2, "episodes": 3, "checkpoint_every": 1}
    few |= {"iterations": 4, "trials": 12, "evaluate_every": 2, "evaluation_tasks": 0, "learner_threads": 1}
    options = few | options
    train(configure(**options, actors=1), tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "dead")
    resume(tmp_path / "dead", configure(**options, actors=2))
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "dead"))
    agent = Agent.load(tmp_path / "dead")
    held_out = []
    for name in ("whole", "dead"):
        lines = read_lines(tmp_path / name / "metrics.jsonl")
        assert lines[0]["return"] == pytest.approx(sum(lines[0][f"return_episode_{each}"] for each in (1, 2, 3)))
        held_out.append([line["held_out_return"] for line in lines if "held_out_return" in line])
    assert held_out[0] == held_out[1]
    assert len(held_out[0]) == 2
    assert play_tasks(agent, agent.experiment.family, 3, tasks=4, seed=0).shape == (4, 3)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("pearl", {"posterior_share": 0.5, "replay_shards": 2}),
        ("pearl", {"task_order": "prioritised"}),
        ("recurrent-sac", {"memory": "gru"}),
    ],
    ids=["pearl", "prioritised", "recurrent-sac"],
)
def test_a_run_that_replays_ends_alike_with_any_number_of_actors_and_after_a_crash(
    algorithm: str, options: dict[str, Any], tmp_path: Path
) -> None:
    train(replaying(algorithm, **options), tmp_path / "whole")
    cut_short(tmp_path / "whole", tmp_path / "dead")
    resume(tmp_path / "dead", replaying(algorithm, actors=2, **options))
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "dead"))
    for name in ("whole", "dead"):
        lines = read_lines(tmp_path / name / "metrics.jsonl")
        assert [line["gradient_steps"] for line in lines] == [0, 3, 3, 3]  # a twentieth of what came after warm-up
        assert [line["replay_trials"] for line in lines] == [6, 12, 18, 24]
        assert [line["env_steps"] for line in lines] == [60, 120, 180, 240]
        returning = [line.get("trials_from_context", 0) for line in lines]
        assert (sum(returning) > 0) == ("posterior_share" in options)
        assert returning[0] == 0  # nothing is known yet
    agent = Agent.load(str(tmp_path / "dead"))
    assert play_tasks(agent, agent.experiment.family, 2, tasks=3, seed=0).shape == (3, 2)


def test_replay_while_it_plays_holds_the_ratio_of_gradient_steps(tmp_path: Path) -> None:
    train(replaying(mode="overlapped", iterations=8, replay_shards=2), tmp_path / "run")
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["iteration"] for line in lines] == [*range(1, 9)]
    assert sum(line["gradient_steps"] for line in lines) == 0.05 * (8 * 60 - 60)
    assert any(line["staleness"] > 0 for line in lines)


def test_a_shard_killed_in_the_middle_costs_its_trials_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stores: list[RayStore] = []

    def make(config: Config) -> RayStore:
        stores.append(RayStore(config.run.replay_shards, config.run.replay_mb * MEGABYTE))
        return stores[-1]

    def kill(line: dict[str, Any]) -> None:
        if line["iteration"] == 2:
            ray.kill(stores[0].replay.shards[1])

    train(replaying(replay_shards=2), tmp_path / "shot", watch=kill, components=Components(store=make))
    last = read_lines(tmp_path / "shot" / "metrics.jsonl")[-1]
    assert last["iteration"] == 4
    assert last["gradient_steps"] == 3
    assert 0 < last["replay_lost"] < 12
    assert last["replay_lost"] + last["replay_trials"] == 24
    assert f"{last['replay_lost']} trials of 2 tasks are lost" in caplog.text


def test_fresh_trajectories_and_replay_are_consumed_together(tmp_path: Path) -> None:
    train(mixing(), tmp_path / "both")
    lines = read_lines(tmp_path / "both" / "metrics.jsonl")
    assert [line["fresh"] for line in lines] == [64 * 5] * 4
    assert [line["replay_trials"] for line in lines] == [64, 128, 192, 256]
    assert lines[-1]["behind"] > 0
    train(small(tasks=10), tmp_path / "fresh")
    learned, plain = (final(tmp_path / name) for name in ("both", "fresh"))
    assert learned.keys() == plain.keys()


def test_overlapped_staleness_is_bounded_and_measured(tmp_path: Path) -> None:
    train(small(mode="overlapped", iterations=8, max_staleness=2, actors=2), tmp_path / "run")
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["iteration"] for line in lines] == [*range(1, 9)]
    assert all(line["staleness_max"] <= 2 for line in lines)
    assert any(line["staleness"] > 0 for line in lines)  # it did play while it learned
    assert all(line["env_steps"] == 320 * line["iteration"] for line in lines)


def test_an_actor_killed_in_the_middle_changes_no_bit(tmp_path: Path) -> None:
    train(small(actors=2), tmp_path / "quiet")
    pools: list[Pool] = []

    def make(*given: Any) -> Pool:
        pools.append(make_pool(*given))
        return pools[-1]

    def kill(line: dict[str, Any]) -> None:
        if line["iteration"] == 2:
            ray.kill(pools[0].playing[0].actor)

    train(small(actors=2), tmp_path / "shot", watch=kill, components=Components(pool=make))
    assert same_bits(final(tmp_path / "quiet"), final(tmp_path / "shot"))
    assert read_lines(tmp_path / "shot" / "metrics.jsonl")[-1]["restarts"] == 1


def test_actors_that_keep_dying_end_the_run(tmp_path: Path) -> None:
    config = small(family=f"{SuicidalBandit.__module__}:SuicidalBandit", max_restarts=2, actors=1)
    with pytest.raises(ActorsDied, match="max_restarts is 2"):
        train(config, tmp_path / "run")


def test_an_environment_that_returns_nan_is_one_sentence(tmp_path: Path) -> None:
    config = small(family=f"{NaNBandit.__module__}:NaNBandit")
    with pytest.raises(BadInput, match=r"^the environment's reward is nan; expected a finite number\.$"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_memory_can_be_a_plug_in(tmp_path: Path) -> None:
    train(small(iterations=1, memory="families:Echo"), tmp_path / "run")
    agent = Agent.load(str(tmp_path / "run"), trust_plugins=True)
    agent.begin_trial(3)
    assert agent.act(np.zeros(3, np.int64), np.zeros(3), np.zeros(3, np.bool_)).shape == (3,)


def test_training_works_outside_the_main_thread(tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=(small(iterations=1), tmp_path / "run"))
    thread.start()
    thread.join(60)
    assert len(read_lines(tmp_path / "run" / "metrics.jsonl")) == 1


def test_parts_cover_an_iterations_trials() -> None:
    parts = assignments(7, 10, 3)
    assert [p.trials for p in parts] == [4, 3, 3]
    assert len({*parts}) == 3


def test_a_short_training_beats_epsilon_greedy(tmp_path: Path) -> None:
    """The `first` preset, cut to half its length, on 100,000 tasks that both play: better by three standard errors."""
    config = configure("first", iterations=100, learner_threads=2)
    train(config, tmp_path / "run")
    family, tasks = config.experiment.family, 100_000
    learned = play_tasks(Agent.load(str(tmp_path / "run")), family, 10, tasks=tasks, seed=1).sum(1)
    greedy = play_tasks(baselines(family, 10)["e-greedy"], family, 10, tasks=tasks, seed=1).sum(1)
    gain = learned - greedy
    assert gain.mean() > 3 * gain.std() / tasks**0.5, f"{learned.mean():.3f} against {greedy.mean():.3f}"


def test_an_actor_for_which_this_machine_is_too_small_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(BadInput, match=r"actor_cpus is 1000\.0; expected at most \d+, the CPUs of this machine"):
        train(configure("first", actor_cpus=1000.0), "never-made")
    assert not Path("never-made").exists()

"""What others could write to the server, with a right checksum: put aside, counted and named; the run goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import BreakingPoints
from logged import ours
from redis_server import RedisServer
from redis_stores import Open, needs_redis, wait_for, wait_until
from test_trainer import final, replaying, same_bits, small

from innerloop.actors.actor import Actor, Assignment
from innerloop.distributed.config import Config, configure
from innerloop.distributed.store.api import summarise
from innerloop.distributed.store.redis import wire
from innerloop.distributed.store.redis.store import RedisStore
from innerloop.distributed.store.schema import Schema
from innerloop.distributed.trainer import resume, train
from innerloop.envs.errors import BadInput
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

pytestmark = needs_redis

Pair = tuple[Assignment, Trajectory]
Change = Callable[[Assignment, Trajectory], Pair]

GRADIENT = {"rollouts": 3, "hidden": 4, "episodes": 3, "trials": 4, "parts": 2, "horizon": 5}
RUNS: dict[str, dict[str, Any]] = {
    "bandit": {"arms": 3, "episodes": 4, "hidden": 8, "embedding": 0, "trials": 6, "parts": 2},
    "regret": {"family": "tabular-mdp", "states": 4, "episodes": 3, "regret": True, "hidden": 8, "embedding": 0},
    "maml": GRADIENT | {"family": "point-navigation", "algorithm": "maml"},
    "promp": GRADIENT | {"family": f"{BreakingPoints.__module__}:BreakingPoints", "algorithm": "promp", "tasks": 7},
    "pearl": {"family": "sparse-point-navigation", "dense": True, "algorithm": "pearl", "hidden": 8, "layers": 1,
              "context_hidden": 8, "episodes": 3, "trials": 4, "parts": 2, "tasks": 5, "horizon": 6},
    "recurrent-sac": {"family": "point-navigation", "algorithm": "recurrent-sac", "memory": "gru", "hidden": 8,
                      "episodes": 2, "trials": 4, "parts": 2, "tasks": 5, "horizon": 6},
    "walker": {"family": "walker2d-params", "episodes": 2, "hidden": 8, "embedding": 0, "trials": 2, "parts": 2},
}  # fmt: skip


def genuine(config: Config, iteration: int = 3, part: int = 1) -> Pair:
    """What an actor plays and writes."""
    run, experiment = config.run, config.experiment
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    actor = Actor(experiment, run.seed, run.tasks)
    actor.load(learner.weights(), 2)
    trials = max(2, run.trials // run.part_count)
    tasks = tuple(i % run.tasks for i in range(trials)) if run.tasks else ()
    assignment = Assignment(iteration, part, trials, tasks, experiment.episodes)
    trajectory = actor.collect(assignment)
    return assignment, trajectory


def schema_of(config: Config) -> Schema:
    run, experiment = config.run, config.experiment
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    return Schema.of(experiment, learner.model, iterations=run.iterations, parts=run.part_count, tasks=run.tasks)


@pytest.mark.parametrize("name", RUNS)
def test_what_actors_play_is_what_is_expected(name: str) -> None:
    config = configure(**RUNS[name])
    schema = schema_of(config)
    for shorter in (0, 1):  # as in a curriculum
        assignment, _ = genuine(config)
        assignment = assignment._replace(episodes=assignment.episodes - shorter)
        actor = Actor(config.experiment, config.run.seed, config.run.tasks)
        learner = Learner(config.experiment.algorithm, config.experiment.problem, seed=0, device="cpu", threads=1)
        actor.load(learner.weights(), 2)
        trajectory = actor.collect(assignment)
        schema.check(*wire.decode(wire.encode(assignment, trajectory)))


def of_assignment(**change: Any) -> Change:
    return lambda assignment, trajectory: (assignment._replace(**change), trajectory)


def of_trajectory(**change: Any) -> Change:
    return lambda assignment, trajectory: (assignment, replace(trajectory, **change))


def put(name: str, value: Any, place: Any = (0, 0)) -> Change:
    """Another number in an array."""

    def change(assignment: Assignment, trajectory: Trajectory) -> Pair:
        array = getattr(trajectory, name).copy()
        array[place] = value
        return assignment, replace(trajectory, **{name: array})

    return change


def turn(name: str, into: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Another array."""
    return lambda assignment, trajectory: (assignment, replace(trajectory, **{name: into(getattr(trajectory, name))}))


def noted(into: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Change:
    return lambda assignment, trajectory: (assignment, replace(trajectory, note=into(dict(trajectory.note))))


def first(note: dict[str, np.ndarray], into: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    name = sorted(note)[0]
    return note | {name: into(note[name])}


def as_(kind: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array.astype(kind)


def cut(assignment: Assignment, trajectory: Trajectory) -> Pair:
    """Without its last step."""
    short = {name: getattr(trajectory, name)[:-1] for name in ("observation", "action", "reward")}
    short |= {name: getattr(trajectory, name)[:-1] for name in ("terminated", "truncated", "valid")}
    privileged = {name: array[:-1] for name, array in trajectory.privileged.items()}
    note = {name: array[:-1] for name, array in trajectory.note.items()}
    return assignment, replace(trajectory, **short, privileged=privileged, note=note)


def longer(assignment: Assignment, trajectory: Trajectory) -> Pair:
    """With a step that nobody plays."""

    def one_more(array: np.ndarray, value: Any = None) -> np.ndarray:
        return np.concatenate([array, array[-1:] if value is None else np.full_like(array[-1:], value)])

    names = ("observation", "action", "reward", "terminated", "truncated")
    more = {name: one_more(getattr(trajectory, name)) for name in names}
    privileged = {name: one_more(array) for name, array in trajectory.privileged.items()}
    note = {name: one_more(array) for name, array in trajectory.note.items()}
    return assignment, replace(
        trajectory, **more, valid=one_more(trajectory.valid, False), privileged=privileged, note=note
    )


def narrower(assignment: Assignment, trajectory: Trajectory) -> Pair:
    """Without its last column."""
    return assignment, trajectory.columns(np.arange(trajectory.reward.shape[1] - 1))


WRONG: dict[str, Change] = {
    "no notes": of_trajectory(note={}),
    "another note": noted(lambda note: note | {"more": next(iter(note.values()), np.zeros((1, 1)))}),
    "a note missing": noted(lambda note: {name: note[name] for name in sorted(note)[1:]}),
    "a note's type": noted(lambda note: first(note, as_(np.float16))),
    "a note's shape": noted(lambda note: first(note, lambda array: array[..., None])),
    "a note's NaN": noted(lambda note: first(note, lambda array: np.full_like(array, np.nan, np.float32))),
    "episodes 0": of_assignment(episodes=0),
    "too many episodes": of_assignment(episodes=50),
    "another number of episodes": lambda a, t: (a._replace(episodes=a.episodes - 1), t),
    "no trials": of_assignment(trials=0, tasks=()),
    "more trials": lambda a, t: (a._replace(trials=2 * a.trials, tasks=a.tasks * 2), t),
    "many trials": of_assignment(trials=2**62, tasks=()),
    "fewer columns": narrower,
    "a task too many": lambda a, t: (a._replace(tasks=(99,) * a.trials), t),
    "tasks or none": lambda a, t: (a._replace(tasks=() if a.tasks else (0,) * a.trials), t),
    "a flag of 2": lambda a, t: (a._replace(from_context=(2,) * a.trials), t),
    "a flag without a task": lambda a, t: (a._replace(tasks=(), from_context=(1,) * a.trials), t),
    "a part too many": of_assignment(part=2),
    "an iteration far ahead": of_assignment(iteration=2**50),
    "a version far ahead": of_trajectory(version=2**50),
    "diverged": of_trajectory(diverged=10**6),
    "observation shape": turn("observation", lambda array: array[..., None]),
    "observation type": turn("observation", as_(np.float16)),
    "action shape": turn("action", lambda array: array[..., None]),
    "action type": turn("action", as_(np.int8)),
    "reward NaN": put("reward", np.nan),
    "reward infinite": put("reward", -np.inf, (-1, -1)),
    "dense or none": lambda a, t: (a, replace(t, privileged={} if t.privileged else {"reward": t.reward})),
    "nothing valid": turn("valid", np.zeros_like),
    "a gap": put("valid", False),
    "never done": lambda a, t: (a, replace(t, terminated=np.zeros_like(t.valid), truncated=np.zeros_like(t.valid))),
    "one done more": lambda a, t: put("terminated", True)(*put("truncated", True)(*cut(a, t))),
    "cut": cut,
    "longer": longer,
}
OF_INTEGERS = {
    "observation too high": put("observation", 5),
    "observation too low": put("observation", -1),
    "action too high": put("action", 3, (-1, -1)),
    "action too low": put("action", -1),
}
OF_BOXES = {
    "observation NaN": put("observation", np.nan, (0, 0, 0)),
    "observation infinite": put("observation", np.inf, (-1, -1, -1)),
    "action NaN": put("action", np.nan, (0, 0, 0)),
    "action too high": put("action", 1e30, (-1, -1, -1)),
    "dense NaN": lambda a, t: (a, replace(t, privileged={"reward": np.full_like(t.reward, np.nan)})),
}
WITHOUT_NOTES = {name: change for name, change in WRONG.items() if "note" not in name}
"""Of trajectories for replay, which keeps none."""
CASES = {
    "bandit": WRONG | OF_INTEGERS,
    "maml": WRONG | OF_BOXES,
    "promp": WRONG | OF_BOXES,
    "pearl": WITHOUT_NOTES | OF_BOXES,
}
NOT_OF_REPLAY = {"a part too many"}
"""Says nothing of what is in replay."""


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for name in CASES for wrong in CASES[name]])
def test_what_no_actor_plays_is_refused_in_one_sentence(name: str, wrong: str) -> None:
    config = configure(**RUNS[name])
    pair = CASES[name][wrong](*genuine(config))
    with pytest.raises(wire.Undecodable, match=r"^it.*\.$") as caught:
        schema_of(config).check(*wire.decode(wire.encode(*pair)))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["bandit", "pearl"])
def test_what_is_none_of_the_runs_is_put_aside_counted_and_named(
    name: str, server: RedisServer, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """In a run that goes on: what waits, what is in replay, and what comes later."""
    config = configure(**RUNS[name])
    schema, pair, on_policy = schema_of(config), genuine(config), name == "bandit"
    bad = {wrong: wire.encode(*change(*pair)) for wrong, change in CASES[name].items()}
    older = pair[0]._replace(iteration=1)
    bad_older = {wrong: wire.encode(*change(older, pair[1])) for wrong, change in CASES[name].items()}
    for wrong in () if on_policy else NOT_OF_REPLAY:
        del bad_older[wrong]
    store = open_store(server, f"foreign-{name}", consumes="fresh" if on_policy else "replay")
    store.begin(3, schema)
    store.close()
    trajectories, kept = store.writer.keys.trajectories, store.writer.keys.kept
    with server.client() as client:

        def add(data: bytes) -> str:
            return client.xadd(trajectories, {"session": b"before", "0": data}).decode()  # pyright: ignore

        ids = [add(data) for data in bad.values()]
        good = add(wire.encode(*pair))
        expected = 0
        if not on_policy:
            records = [f"{add(data)} 1" for data in bad_older.values()] + [f"{add(wire.encode(older, pair[1]))} 1"]
            records += [f"{add(wire.encode(older, pair[1]))} 2"]  # of another iteration than it says
            client.xgroup_setid(trajectories, "learner", "$")
            for id in (*ids, good):
                client.xclaim(trajectories, "learner", "learner", 0, [id], force=True, justid=True)
            odd = [b"", b"\xff\xfe", b"1-0", b"1-0 x", b"x 1", b"99999999999999999999-0 1", b"1-0 1 1", b"1-0 -1"]
            twice = f"{records[-2].split()[0]} 0"
            client.rpush(kept, *odd, *records, twice)
            expected = len(bad_older) + len(odd) + 1
        store = open_store(server, f"foreign-{name}", consumes="fresh" if on_policy else "replay")
        assert store.begin(3, schema) == [pair[0]]
        expected += len(bad)
        assert store.counts["quarantined"] == expected
        said = [line for line in ours(caplog) if "put aside" in line or "was deleted" in line]
        assert len(said) == expected
        for id, wrong in zip(ids, bad, strict=True):
            assert any(line.startswith(f"entry {id} of {trajectories} is no traj") for line in said), wrong
        if on_policy:
            assert [*store.take(9, 0).trajectories] == [pair[0]]
        else:
            assert len(store.replay) == pair[0].trials
            assert [*store.keep(9).kept] == [pair[0]]
            wait_until(lambda: client.llen(kept) == 2)
        for data in bad.values():
            client.xadd(trajectories, {"session": b"later", "0": data})
        wait_until(lambda: store.counts["quarantined"] == expected + len(bad))
        store.writer.write(pair[0]._replace(part=0), pair[1])
        store.append(pair[0]._replace(part=0), summarise(pair[1]), None)
        wait_for(store, 1)


@pytest.mark.parametrize("name", ["trajectories", "kept", "quarantine", "format"])
@pytest.mark.parametrize("kind", ["set", "string"])
def test_a_key_of_another_type_is_refused_in_one_sentence_and_can_be_deleted(
    name: str, kind: str, server: RedisServer, open_store: Open
) -> None:
    run = f"types-{name}-{kind}"
    key = f"innerloop:{run}:{name}"
    with server.client() as client:
        client.sadd(key, "member") if kind == "set" else client.set(key, b"\xff" * 10_000)
    store = open_store(server, run)
    assert store.exists()
    with pytest.raises(BadInput, match=rf"^the (type|format) of {key} in Redis is .*, or --overwrite\.$") as caught:
        store.begin(0)
    assert len(str(caught.value)) < 300
    store.delete()
    assert store.begin(0) == []


@pytest.mark.parametrize("change", [turn("reward", as_(np.float64)), turn("observation", as_(np.float32))])
def test_what_an_actor_itself_gives_and_the_run_cannot_use_is_not_played_for_ever(
    change: Change, server: RedisServer, open_store: Open, request: pytest.FixtureRequest
) -> None:
    config = configure(**RUNS["bandit"])
    store: RedisStore = open_store(server, lost_after=0.2)
    store.begin(3, schema_of(config))
    assignment, trajectory = change(*genuine(config))
    store.writer.write(assignment, trajectory)
    store.append(assignment, summarise(trajectory), None)
    wait_for(store, 1)
    with pytest.raises(BadInput, match=r"^part 1 of iteration 3 is no trajectory of this run's .* its .*\.$"):
        store.take(1, 0)


@pytest.mark.usefixtures("own_ray")
@pytest.mark.parametrize("make", [small, replaying], ids=["rl2", "pearl"])
def test_a_run_among_what_is_none_of_its_own_ends_in_the_same_bits(
    make: Callable[..., Config], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def die(line: dict[str, Any]) -> None:
        if line["iteration"] == 3:
            raise RuntimeError("dies")

    config = make()
    wrong = WRONG if config.experiment.learns_fresh else WITHOUT_NOTES
    pairs = [genuine(config, iteration, part) for iteration in (0, 3) for part in (0, 1)]
    with RedisServer(durable=True) as server:
        train(make(store=server.url), tmp_path / "whole")
        with pytest.raises(RuntimeError, match="dies"):
            train(make(store=server.url, name="among"), tmp_path / "dead", watch=die)
        with server.client() as client:
            for change in wrong.values():
                for pair in pairs:
                    client.xadd("innerloop:among:trajectories", {"0": wire.encode(*change(*pair))})
        resume(tmp_path / "dead")
    assert same_bits(final(tmp_path / "whole"), final(tmp_path / "dead"))
    assert len([line for line in ours(caplog) if "was put aside" in line]) >= 2 * len(wrong)

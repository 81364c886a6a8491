"""The laws of a family of MDPs (`envs.api`)."""

import copy
from collections.abc import Callable

import numpy as np
from gymnasium import spaces

from ...envs.api import Split, Step, TaskFamily, Tasks, VectorEnv
from ...envs.boundary import name_of, parse_count, parse_rows, parse_step
from ...envs.checked import make
from ...envs.errors import ask
from ...envs.measures import parse_measures
from ...envs.seeding import SideBySide, streams
from ...envs.spaces import Composite, check_action_space, check_observation_space, inside, leaf_arrays
from ...envs.trials import Trials, sample_tasks
from ...learner.options import check_parts
from ..baselines.uniform import Random
from ..evaluate import fingerprints, test_set
from ..rollout import play
from .fault import demand, options_survive, other_global_randomness, same

N = 7
"""MDPs side by side."""
MOST = 2_000
"""Steps of a batch that a law takes, at most."""
ALL = np.ones(N, np.bool_)
SPLITS: tuple[Split, ...] = ("train", "test")


def it_has_its_parts(family: TaskFamily) -> None:
    check_parts("family", name_of(family), family)
    check_observation_space("the observation space", family.observation_space)
    check_action_space("the action space", family.action_space)
    parse_count("the horizon", family.horizon)
    parse_measures("the family", getattr(family, "measures", {}))


def its_options_survive_their_file(family: TaskFamily) -> None:
    options_survive("family", family)


def tasks_are_arrays_with_one_row_each(family: TaskFamily) -> None:
    for split in SPLITS:
        for n in (1, N):
            sample_tasks(family, np.random.default_rng(0), n, split)


def tasks_come_from_the_generator_alone(family: TaskFamily) -> None:
    drawn = []
    for number in (1, 2):
        with other_global_randomness(number):
            sample_tasks(family, np.random.default_rng(9), 3, "test")
            drawn.append(sample_tasks(family, np.random.default_rng(1), 50, "train"))
    for name in drawn[0]:
        same(
            drawn[0][name], drawn[1][name], f"{name!r} of 50 tasks differs though they came from generators of one seed"
        )
    other = sample_tasks(family, np.random.default_rng(2), 50, "train")
    different = any(not np.array_equal(other[name], drawn[0][name]) for name in other)
    demand(different or len(rows_of(other)) == 1, "generators of two seeds drew the same 50 tasks.")


def training_and_test_tasks_are_disjoint(family: TaskFamily) -> None:
    """Over a few thousand draws, from the streams that actors and evaluation use; a family that shares them, as was
    published, says so in an attribute `same_tasks`."""
    train: set[bytes] = set()
    for iteration in range(3):
        train |= rows_of(sample_tasks(family, streams(0, "train", iteration, 0).tasks, 1_000, "train"))
    test = rows_of(sample_tasks(family, streams(0, "test", 0).tasks, 3_000, "test"))
    shared = len(train & test)
    if not getattr(family, "same_tasks", False):
        demand(not shared, f"{shared} of {len(test)} different test tasks are training tasks too.")


def a_finite_test_set_is_as_large_as_it_says(family: TaskFamily) -> None:
    """And one sample gives every task of it equally often."""
    if size := test_set(family):
        drawn = sample_tasks(family, np.random.default_rng(3), 2 * size, "test")
        different, counts = np.unique(fingerprints(drawn), return_counts=True)
        sentence = f"task_count('test') is {size}, and twice as many test tasks are {len(different)} different ones"
        demand(len(different) == size and (counts == 2).all(), f"{sentence}; expected each of all twice.")


def what_a_step_gives_is_in_the_spaces(family: TaskFamily) -> None:
    for split in SPLITS:
        env = begin(family, split=split)
        members(family, "the first observation", reset(family, env, ALL))
        for t, action in enumerate(actions(family, 2 * family.horizon)):
            step = take(family, env, action)
            members(family, f"the observation of step {t}", step.observation)
            if (over := ended(step)).any():
                members(family, f"the observation of the reset after step {t}", reset(family, env, over))


def an_episode_ends_by_the_horizon_whatever_happens_to_other_rows(family: TaskFamily) -> None:
    """Row 0 is begun again early, over and over: the clocks of the other rows must not notice."""
    env = begin(family)
    reset(family, env, ALL)
    length = np.zeros(N, np.int64)
    for t, action in enumerate(actions(family, 4 * family.horizon)):
        again = ended(take(family, env, action))
        length += 1
        late = np.flatnonzero((length >= family.horizon) & ~again)
        demand(not late.size, f"row {late[:1]} goes on after {family.horizon} steps, its horizon, in step {t}.")
        again[0] |= t % max(family.horizon // 2, 1) == 0
        if again.any():
            reset(family, env, again)
            length[again] = 0


def a_reset_leaves_the_other_rows_where_they_are(family: TaskFamily) -> None:
    env, rows = begin(family), np.arange(N) % 2 == 0
    reset(family, env, ALL)
    for t, action in enumerate(actions(family, max(family.horizon // 2, 1))):
        before = take(family, env, action).observation
        after = reset(family, env, rows)
        same(after[~rows], before[~rows], f"a reset of other rows after step {t} changed a row's observation")


def a_row_whose_episode_has_ended_can_be_stepped(family: TaskFamily) -> None:
    """Its steps are ignored, and the next reset starts a new episode."""
    env = begin(family)
    reset(family, env, ALL)
    for action in actions(family, 2 * family.horizon):
        take(family, env, action)
    reset(family, env, ALL)
    over = np.zeros(N, np.bool_)
    for action in actions(family, family.horizon):
        over |= ended(take(family, env, action))
    demand(over.all() or family.horizon > MOST, "an episode that began after others had been stepped on did not end.")


def the_same_generator_gives_the_same_bits(family: TaskFamily) -> None:
    records = []
    for number in (1, 2):
        with other_global_randomness(number):
            records.append(record(family, begin(family, 1)))
    alike(records, "two batches of one seed and the same actions differ")


def batches_do_not_see_each_other(family: TaskFamily) -> None:
    """Two of them, step by step in turns, are as each of them alone."""
    alone = record(family, begin(family, 1))
    other = begin(family, 2)
    reset(family, other, ALL)
    moves = iter(actions(family, 2 * family.horizon))

    def between() -> None:
        if (action := next(moves, None)) is not None and (over := ended(take(family, other, action))).any():
            reset(family, other, over)

    alike([alone, record(family, begin(family, 1), between)], "a batch differs when another one is played beside it")


def batches_are_the_same_side_by_side_as_alone(family: TaskFamily) -> None:
    """Where the family says that it makes several as one."""
    if not getattr(family, "side_by_side", False):
        return
    sizes = 2, 3, N - 5
    tasks = sample_tasks(family, np.random.default_rng(0), N, "train")
    seeds = [np.random.SeedSequence(number) for number in range(len(sizes))]
    everyone = SideBySide(seeds, sizes)
    together = _steps(family, tasks, everyone, slice(None))
    for seed, size, columns in zip(seeds, sizes, everyone.columns, strict=True):
        alone = _steps(family, tasks, SideBySide([seed], [size]), columns)
        alike([[array[columns] for array in together], alone], "a batch differs when others are made with it as one")


def _steps(family: TaskFamily, tasks: Tasks, rng: SideBySide, columns: slice) -> list[np.ndarray]:
    """All that the MDPs of some of the tasks give, each beginning an episode where the last one has ended."""
    name = name_of(family)
    measures = parse_measures(name, getattr(family, "measures", {}))
    env = make(family, {name: array[columns] for name, array in tasks.items()}, rng, measures)
    arrays = [env.reset(ALL[columns])]
    for action in actions(family, 2 * family.horizon):
        step = env.step(action[columns])
        arrays += [*step[:4], *step.privileged.values(), *step.measures.values()]
        over = ended(step)
        # Of rows without a reset, what comes is as before.
        arrays.append(env.reset(over) if over.any() else step.observation)
    return arrays


def some_of_the_tasks_make_the_same_kind_of_mdps(family: TaskFamily) -> None:
    tasks = sample_tasks(family, np.random.default_rng(0), N, "train")
    env = family.make({name: array[2:3] for name, array in tasks.items()}, np.random.default_rng(0))
    parse_rows("the first observation of one task alone", env.reset(np.ones(1, np.bool_)), family.observation_space, 1)
    parse_step(name_of(family, "one task alone"), env.step(actions(family, 1)[0][:1]), family.observation_space, 1)


def it_travels(family: TaskFamily) -> None:
    """A copy, as an actor gets one, makes the same MDPs."""
    alike([record(family, begin(each, 4)) for each in (family, copy.deepcopy(family))], "a copy of the family differs")


def whole_trials_can_be_played(family: TaskFamily) -> None:
    for split in SPLITS:
        rng = streams(0, split)
        trials = Trials(family, sample_tasks(family, rng.tasks, N, split), 2, rng.env)
        if trials.steps <= MOST:
            found = play(Random(family.action_space), trials, rng.agent)
            demand((found.done & found.valid).sum(0).min() == 2, "a trial of two episodes has fewer.")


FAMILY = (
    it_has_its_parts,
    its_options_survive_their_file,
    tasks_are_arrays_with_one_row_each,
    tasks_come_from_the_generator_alone,
    training_and_test_tasks_are_disjoint,
    a_finite_test_set_is_as_large_as_it_says,
    what_a_step_gives_is_in_the_spaces,
    an_episode_ends_by_the_horizon_whatever_happens_to_other_rows,
    a_reset_leaves_the_other_rows_where_they_are,
    a_row_whose_episode_has_ended_can_be_stepped,
    the_same_generator_gives_the_same_bits,
    batches_do_not_see_each_other,
    batches_are_the_same_side_by_side_as_alone,
    some_of_the_tasks_make_the_same_kind_of_mdps,
    it_travels,
    whole_trials_can_be_played,
)


def begin(family: TaskFamily, seed: int = 0, split: Split = "train") -> VectorEnv:
    rng = np.random.default_rng(seed)
    return ask(name_of(family), "make", family.make, sample_tasks(family, rng, N, split), rng)


def actions(family: TaskFamily, steps: int) -> list[np.ndarray]:
    """The same for everyone, [N, ...] each."""
    agent = Random(family.action_space)
    agent.begin_trial(N, np.random.default_rng(5))
    nothing = np.zeros(N, np.float32)
    return [agent.act(nothing, nothing, ~ALL) for _ in range(min(steps, MOST))]


def reset(family: TaskFamily, env: VectorEnv, rows: np.ndarray) -> np.ndarray:
    """As stored."""
    given = ask(name_of(family), "reset", env.reset, rows.copy())
    return parse_rows("an observation of reset", given, family.observation_space, N)


def take(family: TaskFamily, env: VectorEnv, action: np.ndarray) -> Step:
    given = ask(name_of(family), "step", env.step, action.copy())
    return parse_step(name_of(family, "the environment"), given, family.observation_space, N)


def ended(step: Step) -> np.ndarray:
    return step.terminated | step.truncated


def members(family: TaskFamily, what: str, stored: np.ndarray) -> None:
    """Within the bounds, too: what else the boundary has looked at."""
    for leaf, array in leaf_arrays(family.observation_space, stored):
        if isinstance(leaf.space, spaces.Box):
            where = f"{leaf.path[-1]!r} of {what}" if isinstance(family.observation_space, Composite) else what
            demand(inside(leaf.space, array), f"{where} is not in its space, {leaf.space}.")


def record(family: TaskFamily, env: VectorEnv, between: Callable[[], None] = lambda: None) -> list[np.ndarray]:
    """All that a batch gives."""
    arrays = [reset(family, env, ALL)]
    for action in actions(family, 2 * family.horizon):
        between()
        step = take(family, env, action)
        arrays += [*step[:4], *step.privileged.values(), *step.measures.values()]
        if (over := ended(step)).any():
            arrays.append(reset(family, env, over))
    return arrays


def alike(records: list[list[np.ndarray]], sentence: str) -> None:
    one, other = records
    for array, its in zip(one, other, strict=False):
        same(array, its, sentence)
    demand(len(one) == len(other), f"{sentence} (in when their episodes end).")


def rows_of(tasks: Tasks) -> set[bytes]:
    """Every task as its bits."""
    n = len(next(iter(tasks.values())))
    return {b"".join(np.ascontiguousarray(tasks[name][i]).tobytes() for name in sorted(tasks)) for i in range(n)}

"""What every memory does beyond the contract (`actors.contract`)."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium import spaces
from memories import every_kind, every_memory, gradients, inputs, made, remembering

from innerloop.actors.contract.memory import B, stepped, where
from innerloop.actors.rollout import play
from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.navigation import PointNavigation
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.algorithms.latent import LatentPolicy
from innerloop.learner.algorithms.pearl import PEARL
from innerloop.learner.api import Problem
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.memory import MEMORIES, gated
from innerloop.learner.memory.api import unroll_from
from innerloop.learner.policy import RecurrentPolicy
from innerloop.learner.sampling import Steps
from innerloop.learner.trajectory import Trajectory


@every_memory
def test_step_by_step_equals_unroll_over_hundreds_of_steps(name: str) -> None:
    memory, x = made(name, 300), inputs(300)[:, :2]
    torch.testing.assert_close(stepped(memory, x), memory.unroll(x), atol=1e-5, rtol=0)


@every_kind
def test_in_double_precision_step_and_unroll_agree_to_twelve_digits(name: str) -> None:
    memory, x = made(name, dtype=torch.float64), inputs(20, torch.float64)
    unrolled = memory.unroll(x)
    assert unrolled.dtype == torch.float64
    torch.testing.assert_close(stepped(memory, x), unrolled, atol=1e-12, rtol=0)
    torch.testing.assert_close(made(name).unroll(x.float()).double(), unrolled, atol=1e-4, rtol=0)


@every_kind
def test_rows_whose_state_is_reset_begin_a_new_trial_while_the_others_go_on(name: str) -> None:
    """Every row at times of its own; each piece between is what `unroll` makes of it alone."""
    memory, x = made(name), inputs(20)
    begins = torch.rand(20, B, generator=torch.Generator().manual_seed(2)) < 0.15
    begins[0] = True
    assert begins[1:].any(0).sum() > 2
    state, outputs = memory.initial(B), []
    for each, begin in zip(x, begins, strict=True):
        output, state = memory.step(each, where(begin, memory.initial(B), state))
        outputs.append(output)
    for row in range(B):
        starts = [*torch.nonzero(begins[:, row]).squeeze(1).tolist(), 20]
        for start, end in pairwise(starts):
            piece = torch.stack(outputs)[start:end, row]
            alone = memory.unroll(x[start:end, row : row + 1])[:, 0]
            torch.testing.assert_close(piece, alone, atol=1e-5, rtol=0)


@every_kind
def test_rows_that_leave_steps_out_are_as_if_those_had_not_been(name: str) -> None:
    """As PEARL leaves out what says nothing of the task."""
    memory, x = made(name), inputs(30)
    counts = torch.rand(30, B, generator=torch.Generator().manual_seed(3)) < 0.6
    state, outputs = memory.initial(B), []
    for each, count in zip(x, counts, strict=True):
        output, after = memory.step(each, state)
        state = where(count, after, state)
        outputs.append(output)
    for row in range(B):
        counted = counts[:, row]
        alone = memory.unroll(x[counted, row : row + 1])[:, 0]
        torch.testing.assert_close(torch.stack(outputs)[counted, row], alone, atol=1e-5, rtol=0)


@remembering
def test_an_output_depends_on_the_past_and_not_on_the_future(name: str) -> None:
    memory, x = made(name, dtype=torch.float64), inputs(dtype=torch.float64)
    changed = x.clone()
    changed[3] += 1
    one, other = memory.unroll(x), memory.unroll(changed)
    torch.testing.assert_close(one[:3], other[:3], rtol=0, atol=1e-12)
    assert ((one[3:] - other[3:]).abs().amax(-1) > 1e-6).all()


@every_kind
def test_gradients_through_unroll_are_those_of_steps_one_after_the_other(name: str) -> None:
    """The steps' caches are written over, so each step is given copies of them."""
    found = []
    for by_steps in (False, True):
        memory, x = made(name, dtype=torch.float64).requires_grad_(), inputs(dtype=torch.float64).requires_grad_()
        if by_steps:
            state, outputs = memory.initial(B), []
            for each in x:
                output, state = memory.step(each, tuple(tensor.clone() for tensor in state))
                state = tuple(tensor.clone() for tensor in state)
                outputs.append(output)
            y = torch.stack(outputs)
        else:
            y = memory.unroll(x)
        found.append(gradients(y, x, memory))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@every_memory
@pytest.mark.parametrize("family", [BernoulliBandit, "pendulum"], indirect=True, ids=["bandit", "pendulum"])
def test_a_policy_with_any_memory_learns_from_what_it_played(
    family: TaskFamily,
    name: str,
    experiment_on: Callable[..., Experiment],
    played: Callable[..., Trajectory],
) -> None:
    """Several updates, each of what the newest weights played; evaluated on longer trials than it was trained for."""
    experiment = experiment_on(family, memory=name)
    learner = Learner(experiment.algorithm, experiment.problem, seed=0, device="cpu", threads=1)
    before = learner.weights()
    for seed in range(3):
        found = learner.update(played(experiment, learner, seed=seed), 0.0)
        assert all(np.isfinite(value) for value in found.values())
    after = learner.weights()
    moved = {key for key, array in after.items() if not np.array_equal(array, before[key])}
    assert moved >= {key for key, _ in learner.model.named_parameters()}
    rng = streams(0, "test", 0)
    trials = Trials(family, family.sample(rng.tasks, 4, "test"), 2 * experiment.episodes, rng.env)
    longer = play(experiment.algorithm.inner_loop(learner.model, experiment.problem), trials, rng.agent)
    assert longer.valid.sum(0).min() > experiment.episodes
    assert np.isfinite(longer.note["value"]).all()


@remembering
def test_pearls_encoder_can_be_any_memory(name: str) -> None:
    """What an agent believes after each step is what the learner infers from the transitions that counted."""
    family, rows = PointNavigation(horizon=4), 3
    problem = Problem(family.observation_space, family.action_space, 3, family.horizon)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        algorithm = PEARL(context_encoder=name, context_hidden=8, hidden=8, layers=1, next_observation=True)
        model = algorithm.build(problem).requires_grad_(False)
    assert isinstance(model, LatentPolicy)
    agent = algorithm.inner_loop(model, problem)
    rng = np.random.default_rng(0)
    agent.begin_trial(rows, rng)
    seen = [rng.standard_normal((rows, 2), np.float32) for _ in range(10)]
    reward = rng.standard_normal((10, rows), np.float32)
    done = rng.random((10, rows)) < 0.3
    done[0] = False
    taken = [agent.act(seen[0], np.zeros(rows, np.float32), done[0])]
    for t in range(1, 10):
        taken.append(agent.act(seen[t], reward[t], done[t]))
        for row in range(rows):
            counted = [s for s in range(1, t + 1) if not done[s, row]]
            if not counted:
                continue
            before, after = (torch.tensor(np.stack([seen[s - d][row] for s in counted])) for d in (1, 0))
            action = torch.tensor(np.stack([taken[s - 1][row] for s in counted]))
            gained, never = torch.tensor(reward[counted, row]), torch.zeros(len(counted), dtype=torch.bool)
            context = model.context(Steps(before, action, gained, gained, after, never))
            mean, variance = model.posterior(context[None])
            np.testing.assert_allclose(agent.note["mean"][row], mean[0], atol=1e-5)
            np.testing.assert_allclose(agent.note["variance"][row], variance[0], atol=1e-5)
    assert np.ptp(agent.note["mean"], axis=0).min() > 1e-3


def test_an_lstm_is_unrolled_in_float32_where_the_cpu_knows_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, x = made("lstm"), inputs(dtype=torch.bfloat16)
    expected = memory.unroll(x.float())
    monkeypatch.setattr(gated, "kernel_takes_bfloat16", lambda: False)
    with torch.autocast("cpu", torch.bfloat16):
        found = memory.unroll(x)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


@every_kind
def test_gradients_through_pieces_are_those_of_the_whole(name: str) -> None:
    found = []
    for pieces in ([20], [7, 1, 12]):
        memory, x = made(name, dtype=torch.float64).requires_grad_(), inputs(20, torch.float64).requires_grad_()
        state, outputs = memory.initial(B), []
        for piece in x.split(pieces):
            y, state = unroll_from(memory, piece, state)
            outputs.append(y)
        y = torch.cat(outputs) if len(pieces) > 1 else memory.unroll(x)
        found.append(gradients(y, x, memory))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@remembering
def test_truncation_keeps_the_values_and_cuts_the_gradients(name: str) -> None:
    """A step's output depends on what lies before its segment, whose inputs no gradient reaches."""
    torch.manual_seed(0)
    policy = RecurrentPolicy(
        Problem(spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2), 2, 5), MEMORIES[name], 8, 4
    )
    observation, outcome = torch.randn(10, B, 3).requires_grad_(), torch.randn(10, B, 4)
    whole, _ = policy.unroll(observation, outcome)
    for truncation in (1, 3, 4, 10, 99):
        cut, _ = policy.unroll(observation, outcome, truncation)
        torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)
        for t in (0, 5, 9):
            (gradient,) = torch.autograd.grad(cut[t].sum(), observation, retain_graph=True)
            first = t - t % truncation
            assert not gradient[:first].any()
            assert gradient[first : t + 1].abs().amax((1, 2)).min() > 0
            assert not gradient[t + 1 :].any()

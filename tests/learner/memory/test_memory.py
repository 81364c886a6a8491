"""What every memory does beyond the contract (`actors.contract`), and what each of them is."""

import functools
import math
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from innerloop.actors.contract import memory as contract
from innerloop.actors.contract.memory import HIDDEN, INPUT, B, T, stepped, where
from innerloop.actors.rollout import play
from innerloop.envs.api import TaskFamily
from innerloop.envs.bandit import BernoulliBandit
from innerloop.envs.errors import BadInput
from innerloop.envs.navigation import PointNavigation
from innerloop.envs.seeding import streams
from innerloop.envs.trials import Trials
from innerloop.learner.algorithms.pearl import PEARL, LatentPolicy
from innerloop.learner.algorithms.rl2 import RL2
from innerloop.learner.api import Problem
from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.memory import MEMORIES, MakeMemory, Memoryless, constructor, gated, observation_only
from innerloop.learner.memory.api import Chain, unroll_from
from innerloop.learner.memory.attention import MOST
from innerloop.learner.policy import RecurrentPolicy
from innerloop.learner.sampling import Steps
from innerloop.learner.trajectory import Trajectory

WINDOW = 4
BOUNDED = ["snail,window=4", "transformer,window=4"]
OTHERWISE = [
    "deepset,layers=2,features=5",
    "mingru,layers=1",
    "snail,blocks=1,filters=3,keys=5",
    "transformer,layers=3,heads=3",
]
every_memory = pytest.mark.parametrize("name", MEMORIES)
every_kind = pytest.mark.parametrize("name", [*MEMORIES, *BOUNDED, *OTHERWISE])
remembering = pytest.mark.parametrize("name", [name for name in MEMORIES if name != "none"])
lengths = pytest.mark.parametrize("steps", [1, 5, T, 40])


def made(name: str, steps: int = T, dtype: torch.dtype = torch.float32) -> Any:
    return contract.made(constructor("memory", name), steps).to(dtype)


def inputs(steps: int = T, dtype: torch.dtype = torch.float32) -> Tensor:
    return contract.inputs(steps).to(dtype)


def gradients(y: Tensor, x: Tensor, memory: nn.Module) -> tuple[Tensor, ...]:
    """Of a sum in which every output has a weight of its own, for the inputs and every parameter."""
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return torch.autograd.grad((y * weight).sum(), [x, *memory.parameters()])


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


@remembering
def test_a_deep_set_alone_does_not_see_in_which_order_the_past_came(name: str) -> None:
    memory, x = made(name, dtype=torch.float64), inputs(dtype=torch.float64)
    other = torch.cat([x[:-1].flip(0), x[-1:]])
    difference = (memory.unroll(x)[-1] - memory.unroll(other)[-1]).abs().amax(-1)
    assert (difference < 1e-12).all() if name == "deepset" else (difference > 1e-6).all()


def test_a_deep_set_reads_its_sums_as_logarithms() -> None:
    """Nothing but the sum of positive features is kept, and a step adds to it."""
    memory, x = made("deepset,features=5"), inputs()
    assert isinstance(memory, Chain)
    sums = memory.parts[0].part
    hidden = torch.randn(T, B, HIDDEN)
    features = (sums.features.weight @ hidden.unsqueeze(-1)).squeeze(-1) + sums.features.bias
    expected = (1 + features.exp().log1p().cumsum(0)).log()
    torch.testing.assert_close(sums.unroll(hidden), expected)  # pyright: ignore[reportCallIssue]
    state = memory.initial(B)
    assert [tensor.shape for tensor in state] == [(B, 1), (B, 5)]
    _, after = memory.step(x[0], state)
    assert (after[1] > state[1]).all()


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("by_steps", [False, True])
def test_attention_sees_its_window_and_nothing_before_it(name: str, by_steps: bool) -> None:
    """One layer of attention: an input changes the outputs while it is in the window; then it is as if never seen."""
    one_layer = {"snail": "snail,blocks=1", "transformer": "transformer,layers=1"}[name.partition(",")[0]]
    memory = made(f"{one_layer},window={WINDOW}", steps=1, dtype=torch.float64)  # SNAIL's convolution reaches back 1
    x = inputs(20, torch.float64)
    changed = x.clone()
    changed[3] += 1
    one, other = (stepped(memory, each) if by_steps else memory.unroll(each) for each in (x, changed))
    reach = WINDOW + (1 if name.startswith("snail") else 0)
    difference = (one - other).abs().amax((1, 2))
    assert (difference[3 : 3 + reach] > 1e-6).all()
    assert difference[:3].max() < 1e-12
    assert difference[3 + reach :].max() < 1e-12


@pytest.mark.parametrize("name", ["snail", "transformer"])
def test_a_window_is_the_trial_and_bounded(name: str) -> None:
    """A row's cache grows with the trial, up to a bound."""

    def size(steps: int, options: str = "") -> int:
        memory = constructor("memory", f"{name},{options}" if options else name)(INPUT, HIDDEN, steps)
        assert isinstance(memory, Chain)
        caches = [part.initial(1)[0].shape[1] for part in memory.parts if part.caches == 2]  # pyright: ignore
        slot = 4 * 2 if name == "transformer" else 16
        assert caches == [caches[0]] * 2
        return caches[0] // slot - 1

    assert size(100) == 101  # with the input behind the last step
    assert size(100_000) == MOST
    assert size(100, "window=7") == 7


def test_snail_reaches_back_over_the_whole_trial_by_its_convolutions_alone() -> None:
    """ceil(log2 T) layers with dilations 1, 2, 4 ..., each beside its input; kernel 2 (Mishra et al. 2017)."""
    for steps, dilations in ((1, [1]), (7, [1, 2, 4]), (8, [1, 2, 4, 8]), (100, [1, 2, 4, 8, 16, 32, 64])):
        memory = constructor("memory", "snail,blocks=1,filters=2,window=1")(INPUT, HIDDEN, steps)
        assert isinstance(memory, Chain)
        *convolutions, read = memory.parts
        assert [part.dilation for part in convolutions] == dilations
        assert [part.taps.in_features for part in convolutions] == [INPUT + 2 * i for i in range(len(dilations))]
        assert read.attention.query.in_features == INPUT + 2 * len(dilations)
        x = torch.randn(steps + 1, 1, INPUT).requires_grad_()
        (gradient,) = torch.autograd.grad(memory.unroll(x)[-1].sum(), x)
        assert (gradient.abs().amax(-1) > 0).all()


def test_a_dense_layer_is_a_gated_causal_convolution_beside_its_input() -> None:
    """As torch's own convolution computes it, with zeros before the trial."""
    memory = constructor("memory", "snail,blocks=1,filters=2")(INPUT, HIDDEN, 7)
    assert isinstance(memory, Chain)
    layer: Any = memory.parts[1]  # dilation 2
    x = torch.randn(T, B, INPUT + 2)
    later, earlier = layer.taps.weight.split(4)  # pyright: ignore[reportCallIssue]
    kernel = torch.stack([earlier, later], -1)  # [4, width, 2]
    padded = nn.functional.pad(x.permute(1, 2, 0), (2, 0))
    out, gate = nn.functional.conv1d(padded, kernel, layer.bias, dilation=2).permute(2, 0, 1).chunk(2, -1)
    torch.testing.assert_close(layer.unroll(x), torch.cat([x, out.tanh() * gate.sigmoid()], -1))  # pyright: ignore


@pytest.mark.parametrize("name", ["snail", "transformer"])
def test_attention_is_the_softmax_in_the_paper(name: str) -> None:
    """Step by step, query by query; positions only where they are rotary, and then only their differences."""
    memory = constructor("memory", name)(INPUT, HIDDEN, T)
    assert isinstance(memory, Chain)
    attention: Any = memory.parts[-1].attention if name == "snail" else memory.parts[0].part
    x = torch.randn(T, 1, attention.query.in_features)
    heads, size = attention.heads, attention.size
    q, k, v = (part(x).view(T, heads, size) for part in (attention.query, attention.key, attention.value))

    def turned(vector: Tensor, position: int) -> Tensor:
        if name == "snail":
            return vector
        pairs, out = size // 2, torch.empty(size)  # pyright: ignore[reportCallIssue]
        for i in range(pairs):
            angle = position * 10_000 ** (-2 * i / size)
            rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            out[[i, i + pairs]] = rotation @ vector[[i, i + pairs]]
        return out

    found = attention.unroll(x)[:, 0].view(T, heads, size)  # pyright: ignore[reportCallIssue]
    for t in range(T):
        for head in range(heads):
            scores = [turned(q[t, head], t + 100) @ turned(k[s, head], s + 100) / size**0.5 for s in range(t + 1)]
            expected = torch.stack(scores).softmax(0) @ v[: t + 1, head]
            torch.testing.assert_close(found[t, head], expected, atol=1e-4, rtol=1e-4)


def test_a_memory_is_named_with_its_options() -> None:
    memory = constructor("memory", "transformer,layers=3,window=7")(INPUT, HIDDEN, 100)
    assert isinstance(memory, Chain)
    assert len(memory.parts) == 3
    assert memory.parts[0].part.window == 7
    assert constructor("memory", "none") is Memoryless
    assert RL2(memory="snail,filters=8").memory == "snail,filters=8"


class Odd(Memoryless):
    """A memory with an option of each plain type, and one of none."""

    def __init__(
        self,
        input_size: int,
        hidden: int,
        steps: int = 0,
        *,
        skip: bool = False,
        rate: float = 0.5,
        kind: str = "a",
        layers: int = 1,
        sizes: tuple[int, ...] = (1,),
    ) -> None:
        super().__init__(input_size, hidden, steps)
        self.chosen = skip, rate, kind, layers, sizes  # fmt: skip


@pytest.mark.parametrize(
    ("make", "alone"),
    [(Memoryless, True), (Odd, True), (functools.partial(Odd, skip=True), True)]
    + [(make, False) for name, make in MEMORIES.items() if name != "none"],
)
def test_a_memory_says_whether_it_is_shown_the_observation_alone(make: MakeMemory, alone: bool) -> None:
    assert observation_only(make) == alone
    policy = RecurrentPolicy(Problem(spaces.Discrete(3), spaces.Discrete(2), 2, 5), make, HIDDEN, 0)
    shown = policy.inputs(torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 2 + 2))
    assert shown.shape[-1] == (3 if alone else 3 + 2 + 2)


def odd(options: str) -> Odd:
    memory = constructor("memory", f"test_memory:Odd{options}")(INPUT, HIDDEN, 3)
    assert isinstance(memory, Odd)
    return memory


def test_options_of_a_memory_are_of_any_plain_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_memory", sys.modules[__name__])
    assert odd("").chosen == (False, 0.5, "a", 1, (1,))
    assert odd(",skip=true,rate=-2.5e-3,kind=b c,layers=7").chosen == (True, -2.5e-3, "b c", 7, (1,))
    assert odd(",skip=false,rate=3,kind=").chosen == (False, 3.0, "", 1, (1,))
    for text, expected in {
        "skip=1": "true or false", "skip=": "true or false", "rate=nan": "a finite number", "rate=1e999": "a finite",
        "rate=": "a finite number", "rate=0x1": "a finite", "rate=١": "a finite", "layers=true": "a whole number",
        "layers=-1": "a whole number", "sizes=1": "an option whose default is a bool, int, float or str",
    }.items():  # fmt: skip
        with pytest.raises(BadInput, match=rf"^{text.partition('=')[0]} of memory 'test_memory:Odd' is .*{expected}"):
            odd(f",{text}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("snale", r"^memory is 'snale'; expected one of deepset, gru, .*Did you mean 'snail'\?$"),
        ("snail,filter=3", r"^'filter' is not an option of memory 'snail'; expected .*Did you mean 'filters'\?$"),
        ("gru,layers=2", r"^'layers' is not an option of memory 'gru'; expected one of none\.$"),
        ("snail,steps=2", r"^'steps' is not an option of memory 'snail'"),
        (
            "snail,filters=0",
            r"^filters of memory 'snail' is '0'; expected a whole number of at least 1, at most 1,048,576\.$",
        ),
        ("snail,filters=1.5", r"^filters of memory 'snail' is '1\.5'; expected a whole number"),
        ("transformer,heads", r"^heads of memory 'transformer' is ''; expected a whole number"),
        ("transformer,", r"^'' is not an option of memory 'transformer'; expected one of layers, heads, window\.$"),
        ("math:pi", r"^memory is 'math:pi'; expected a constructor \(input size, hidden, steps\) of an nn.Module\.$"),
    ],
)
def test_a_memory_that_cannot_be_is_refused_in_one_sentence(given: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        RL2(memory=given)


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

"""What each memory is: sums, windows, convolutions, attention."""

import math
from typing import Any

import pytest
import torch
from memories import BOUNDED, WINDOW, inputs, made, remembering
from torch import Tensor, nn

from innerloop.actors.contract.memory import HIDDEN, INPUT, B, T, stepped
from innerloop.learner.memory import constructor
from innerloop.learner.memory.api import Chain
from innerloop.learner.memory.attention import MOST


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

"""The contract that every memory keeps. A new memory is in `MEMORIES`, so it is tested here too."""

import pytest
import torch
from torch import Tensor, nn

from innerloop.learner.memory import MEMORIES

T, B, INPUT, HIDDEN = 9, 5, 3, 8
every_memory = pytest.mark.parametrize("name", MEMORIES)
remembering = pytest.mark.parametrize("name", [name for name in MEMORIES if name != "none"])


def made(name: str) -> nn.Module:
    """A memory with weights large enough to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        memory = MEMORIES[name](INPUT, HIDDEN)
        for parameter in memory.parameters():
            parameter.detach().add_(0.5 * torch.randn_like(parameter))
    return memory.requires_grad_(False)


def inputs() -> Tensor:
    return torch.randn(T, B, INPUT, generator=torch.Generator().manual_seed(1))


def stepped(memory: nn.Module, x: Tensor) -> Tensor:
    state, outputs = memory.initial(x.shape[1]), []
    for each in x:
        output, state = memory.step(each, state)
        outputs.append(output)
    return torch.stack(outputs)


@every_memory
def test_step_by_step_equals_unroll(name: str) -> None:
    memory = made(name)
    unrolled = memory.unroll(inputs())
    assert unrolled.shape == (T, B, HIDDEN)
    torch.testing.assert_close(stepped(memory, inputs()), unrolled, atol=1e-5, rtol=0)


@every_memory
def test_the_state_before_a_trial_is_the_same_for_every_row(name: str) -> None:
    memory = made(name)
    for tensor in memory.initial(B):
        assert tensor.shape[0] == B
        torch.testing.assert_close(tensor, tensor[:1].expand_as(tensor), rtol=0, atol=0)
    same = inputs()[:, :1].expand(T, B, INPUT).contiguous()
    unrolled = memory.unroll(same)
    torch.testing.assert_close(unrolled, unrolled[:, :1].expand_as(unrolled), atol=1e-6, rtol=0)


@every_memory
def test_rows_do_not_see_each_other(name: str) -> None:
    memory, x = made(name), inputs()
    changed = x.clone()
    changed[:, 1] += 10
    one, other = memory.unroll(x), memory.unroll(changed)
    others = [0, 2, 3, 4]
    torch.testing.assert_close(one[:, others], other[:, others], atol=1e-6, rtol=0)
    assert (one[:, 1] - other[:, 1]).abs().max() > 0.1
    torch.testing.assert_close(memory.unroll(x[:, 2:3]), one[:, 2:3], atol=1e-6, rtol=0)


@remembering
def test_an_output_depends_on_the_past_and_not_on_the_future(name: str) -> None:
    memory, x = made(name), inputs()
    changed = x.clone()
    changed[3] += 1
    one, other = memory.unroll(x), memory.unroll(changed)
    torch.testing.assert_close(one[:3], other[:3], rtol=0, atol=0)
    assert ((one[3:] - other[3:]).abs().amax(-1) > 1e-6).all()


@remembering
def test_gradients_reach_the_first_input_and_every_parameter(name: str) -> None:
    memory, x = made(name).requires_grad_(), inputs().requires_grad_()
    memory.unroll(x)[-1].square().sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs().amax(-1) > 0).all()
    for parameter in memory.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0

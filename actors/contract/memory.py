"""The laws of a memory (`learner.memory.api`); what is checked is its constructor."""

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from ...learner.memory import MakeMemory, State, observation_only
from ...learner.memory.api import unroll_from
from .fault import demand

T, B, INPUT, HIDDEN = 9, 5, 3, 8
CLOSE = 1e-4


def its_options_have_plain_types(make: MakeMemory) -> None:
    for parameter in inspect.signature(make).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            plain = type(parameter.default) in (bool, int, float, str)
            option = f"the option {parameter.name!r} has the default {parameter.default!r}"
            demand(plain, f"{option}; expected a bool, int, float or str.")


def it_has_its_parts(make: MakeMemory) -> None:
    memory = made(make)
    missing = [part for part in ("initial", "step", "unroll") if not callable(getattr(memory, part, None))]
    demand(not missing, f"it has no {', '.join(missing)}.")


def its_state_has_a_row_for_each_trial(make: MakeMemory) -> None:
    memory = made(make)
    state = memory.initial(B)
    demand(isinstance(state, tuple), f"its initial state is a {type(state).__name__}; expected a tuple of tensors.")
    for index, tensor in enumerate(state):
        shape = tuple(tensor.shape)
        demand(
            tensor.ndim == 2 and len(tensor) == B, f"tensor {index} of its state has shape {shape}; expected ({B}, n)."
        )
        demand(
            (tensor == tensor[:1]).all(), f"tensor {index} of its state before a trial is not the same in every row."
        )


def outputs_have_the_width_that_was_asked_for(make: MakeMemory) -> None:
    memory, x = made(make), inputs()
    expected = (T, B, HIDDEN)
    demand(memory.unroll(x).shape == expected, f"unroll gives {tuple(memory.unroll(x).shape)}; expected {expected}.")
    found = memory.step(x[0], memory.initial(B))[0].shape
    demand(found == expected[1:], f"step gives {tuple(found)}; expected {expected[1:]}.")


def step_by_step_equals_unroll(make: MakeMemory) -> None:
    """For trials that are shorter than the memory was built for, equally long, and longer."""
    for steps in (1, 5, T, 40):
        memory, x = made(make, steps), inputs(20)
        close(stepped(memory, x), memory.unroll(x), f"step by step and unroll differ (made for {steps} steps)")


def pieces_one_after_the_other_are_the_whole(make: MakeMemory) -> None:
    """Each piece is unrolled from the state that the previous piece ended in; `step` goes on from that state too."""
    for steps in (1, T):
        memory, x = made(make, steps), inputs(20)
        whole, state, start = memory.unroll(x), memory.initial(B), 0
        for length in (4, 1, 9, 6):
            piece, state = unroll_from(memory, x[start : start + length], state)
            close(
                piece, whole[start : start + length], f"a piece of {length} steps from step {start} is not the whole's"
            )
            start += length
            if start < len(x):
                copies = tuple(tensor.clone() for tensor in state)
                close(
                    memory.step(x[start], copies)[0], whole[start], f"a step from the state behind step {start} differs"
                )


def pieces_can_begin_in_any_state(make: MakeMemory) -> None:
    """Of rows that began at times of their own."""
    memory, x, rows = made(make), inputs(20), torch.arange(B)
    state = memory.initial(B)
    for t, each in enumerate(x[:11]):
        _, state = memory.step(each, where(rows == t % 7, memory.initial(B), state))
    copies = tuple(tensor.clone() for tensor in state)
    outputs = []
    for each in x[11:]:
        output, state = memory.step(each, state)
        outputs.append(output)
    found, after = unroll_from(memory, x[11:], copies)
    close(found, torch.stack(outputs), "a piece from a state of rows that began at different times differs")
    close(memory.step(x[0], after)[0], memory.step(x[0], state)[0], "the state behind such a piece differs")


def rows_do_not_see_each_other(make: MakeMemory) -> None:
    memory, x = made(make), inputs()
    changed = x.clone()
    changed[:, 1] += 10
    others = [0, 2, 3, 4]
    close(
        memory.unroll(x)[:, others],
        memory.unroll(changed)[:, others],
        "unroll: a row changes with another one's inputs",
    )
    close(
        stepped(memory, x)[:, others], stepped(memory, changed)[:, others], "step: a row changes with another's inputs"
    )
    close(memory.unroll(x[:, 2:3]), memory.unroll(x)[:, 2:3], "unroll: a row alone is not what it is beside others")


def an_output_does_not_depend_on_the_future(make: MakeMemory) -> None:
    memory, x = made(make), inputs()
    changed = x.clone()
    changed[3] += 1
    close(memory.unroll(x)[:3], memory.unroll(changed)[:3], "an input changes outputs before it")


def it_remembers(make: MakeMemory) -> None:
    if observation_only(make):
        return
    memory, x = made(make), inputs()
    changed = x.clone()
    changed[3] += 1
    later = (memory.unroll(x)[4] - memory.unroll(changed)[4]).abs().max()
    demand(
        later > 1e-6, "an input changes no output after it (a memory that means that has `observation_only = True`)."
    )


def rows_can_be_restarted_and_can_leave_steps_out(make: MakeMemory) -> None:
    """By `torch.where` on the state, row by row, at times of their own."""
    memory, x = made(make), inputs(20)
    rows = torch.arange(B)
    state, outputs = memory.initial(B), []
    for t, each in enumerate(x):
        begin = rows == t % 7
        output, after = memory.step(each, where(begin, memory.initial(B), state))
        counts = (rows + t) % 3 != 0
        state = where(counts, after, where(begin, memory.initial(B), state))
        outputs.append((begin, counts, output))
    for row in range(B):
        start = max(t for t in range(20) if t % 7 == row)
        counted = [t for t in range(start, 20) if outputs[t][1][row]]
        alone = memory.unroll(x[counted, row : row + 1])[:, 0]
        found = torch.stack([outputs[t][2][row] for t in counted])
        close(found, alone, f"row {row}, reset at step {start} and skipping steps, differs from the same row alone")


def gradients_reach_every_parameter(make: MakeMemory) -> None:
    memory, x = made(make).requires_grad_(), inputs().requires_grad_()
    names, parameters = zip(*memory.named_parameters(), strict=True) if [*memory.parameters()] else ((), ())
    found = torch.autograd.grad(memory.unroll(x)[-1].square().sum(), [x, *parameters], allow_unused=True)
    for name, gradient in zip(("the inputs", *names), found, strict=True):
        demand(gradient is not None and gradient.abs().max() > 0, f"no gradient reaches {name}.")
        demand(gradient is None or gradient.isfinite().all(), f"the gradient of {name} is not finite.")


MEMORY = (
    its_options_have_plain_types,
    it_has_its_parts,
    its_state_has_a_row_for_each_trial,
    outputs_have_the_width_that_was_asked_for,
    step_by_step_equals_unroll,
    pieces_one_after_the_other_are_the_whole,
    pieces_can_begin_in_any_state,
    rows_do_not_see_each_other,
    an_output_does_not_depend_on_the_future,
    it_remembers,
    rows_can_be_restarted_and_can_leave_steps_out,
    gradients_reach_every_parameter,
)


def made(make: MakeMemory, steps: int = T) -> Any:
    """With weights large enough to matter: each sum of a layer is moved by about as much as its inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        memory: Any = make(INPUT, HIDDEN, steps)
        demand(isinstance(memory, nn.Module), f"it makes a {type(memory).__name__}; expected an nn.Module.")
        for parameter in memory.parameters():
            width = parameter.shape[1] if parameter.ndim == 2 else 4
            parameter.detach().add_(torch.randn_like(parameter) / math.sqrt(width))
    return memory.requires_grad_(False)


def inputs(steps: int = T) -> Tensor:
    return torch.randn(steps, B, INPUT, generator=torch.Generator().manual_seed(1))


def stepped(memory: Any, x: Tensor) -> Tensor:
    state, outputs = memory.initial(x.shape[1]), []
    for each in x:
        output, state = memory.step(each, state)
        outputs.append(output)
    return torch.stack(outputs)


def where(rows: Tensor, one: State, other: State) -> State:
    return tuple(torch.where(rows[:, None], a, b) for a, b in zip(one, other, strict=True))


def close(one: Tensor, other: Tensor, sentence: str) -> None:
    difference = (one - other).abs()
    finite = bool(difference.isfinite().all())
    if finite and difference.max() <= CLOSE:
        return
    place = [int(each) for each in torch.nonzero(~(difference <= CLOSE))[0]]
    demand(False, f"{sentence} (by {difference.nan_to_num(float('inf')).max():.2g}, first at {place}).")

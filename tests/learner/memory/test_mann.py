"""The external memory: a step as the paper has it, slot by slot; where it writes; and that it binds labels."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, softplus

from innerloop.envs.errors import BadInput
from innerloop.learner.memory import constructor
from innerloop.learner.memory.mann import MANN

SLOTS, WIDTH, HEADS, HIDDEN = 6, 3, 2, 5


def made(**options: Any) -> MANN:
    torch.manual_seed(0)
    memory = MANN(4, HIDDEN, slots=SLOTS, width=WIDTH, heads=HEADS, **options)
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.5)
    return memory


@torch.no_grad()
def test_a_step_is_the_papers() -> None:
    """Equations 2 to 8, for one row, slot by slot."""
    model = made()
    state = model.initial(1)
    for x in torch.randn(9, 1, 4):
        h, c, memory, usage, reading, read = (each.clone() for each in state)
        y, state = model.step(x, state)

        h, c = torch.lstm_cell(torch.cat([x, read], -1), (h, c), *model.controller.lstm.parameters())
        slots, before = memory.reshape(SLOTS, WIDTH).clone(), reading.reshape(HEADS, SLOTS)
        least = sorted(range(SLOTS), key=lambda i: (float(usage[0, i]), i))[:HEADS]
        numbers = model.interface(h).reshape(HEADS, 2 * WIDTH + 2)
        writing = torch.zeros(HEADS, SLOTS)
        for head in range(HEADS):
            gate = numbers[head, -2].sigmoid()
            writing[head] = gate * before[head]
            writing[head, least[head]] += 1 - gate
        slots[least] = 0
        for slot in range(SLOTS):
            for head in range(HEADS):
                slots[slot] = slots[slot] + writing[head, slot] * numbers[head, WIDTH : 2 * WIDTH].tanh()
        now = torch.zeros(HEADS, SLOTS)
        for head in range(HEADS):
            alike = [cosine_similarity(numbers[head, :WIDTH].tanh(), slot, dim=0, eps=1e-6) for slot in slots]
            now[head] = ((1 + softplus(numbers[head, -1])) * torch.stack(alike)).softmax(0)
        read = torch.cat([now[head] @ slots for head in range(HEADS)])
        expected = model.output(torch.cat([h[0], read]))
        torch.testing.assert_close(y[0], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state[3][0], 0.95 * usage[0] + (now + writing).sum(0))
        torch.testing.assert_close(state[2].reshape(SLOTS, WIDTH), slots)


def test_it_writes_over_what_was_used_least() -> None:
    model = made()
    h, c, memory, _, reading, read = model.initial(1)
    usage = torch.arange(SLOTS, 0, -1.0).reshape(1, SLOTS)
    _, after = model.step(torch.randn(1, 4), (h, c, memory + 1, usage, reading, read))
    changed = (after[2] != memory + 1).reshape(SLOTS, WIDTH).all(1)
    assert changed.tolist() == [False] * (SLOTS - HEADS) + [True] * HEADS


def test_it_learns_to_bind_a_label_to_what_it_belongs_to() -> None:
    """Each row is shown two random patterns with random labels, then one of the patterns without its label."""
    torch.manual_seed(0)
    model, out = MANN(9, 32, slots=16, width=16, heads=1), torch.nn.Linear(32, 1)
    optimiser = torch.optim.Adam([*model.parameters(), *out.parameters()], lr=3e-3)
    rng, right = np.random.default_rng(0), []
    for _ in range(400):
        patterns = rng.choice([-1.0, 1.0], (3, 64, 8))
        first = rng.choice([-1.0, 1.0], 64)
        asked = rng.integers(2, size=64)
        patterns[2] = patterns[asked, np.arange(64)]
        label = np.stack([first, -first, np.zeros(64)])
        x = torch.tensor(np.concatenate([patterns, label[..., None]], -1), dtype=torch.float32)
        answer = torch.tensor(label[asked, np.arange(64)], dtype=torch.float32)
        logit = out(model.unroll(x)[-1])[:, 0]
        loss = torch.nn.functional.softplus(-answer * logit).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        right.append(float((answer * logit > 0).float().mean()))
    assert np.mean(right[-40:]) > 0.9


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("mann,slots=2", r"^heads is 4; expected at most as many as slots, 2"),
        ("mann,decay=1.0", r"^decay is 1\.0; expected a number in \[0, 1\)"),
        ("mann,keys=3", "keys"),
    ],
)
def test_options_that_cannot_be(given: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        constructor("memory", given)(4, 5, 6)

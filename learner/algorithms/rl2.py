"""RL²: the policy's memory is the learning algorithm (Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016,
arXiv:1611.05763).

A trial is several episodes of one task. Memory survives the episodes, so what is maximised is the return of the trial,
and exploring early pays. The outer update is PPO-clip (Schulman et al. 2017, arXiv:1707.06347) on minibatches of whole
trials: the memory is unrolled again from the trial's beginning, so gradients reach every step that informed a decision.
Arrays are [T, B, ...], time first.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...envs.errors import require
from ..api import Consumes, Metrics, Optimise, Problem, linear
from ..encoders import parse_encoder
from ..memory import constructor
from ..policy import RecurrentAgent, RecurrentPolicy, spread
from ..returns import advantages, steps_left
from ..trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class RL2:
    """RL² with PPO. The defaults are those of the `first` preset: 5-armed bandits, 10 pulls."""

    memory: str = "lstm"
    """Memory: deepset, gru, lstm, mann, mingru, none (a policy of the observation alone), snail, transformer, or a
    plug-in as package.module:attribute; with its options as in transformer,layers=4,window=128."""
    hidden: int = 128
    """Width of the memory."""
    embedding: int = 128
    """Width of a layer between the inputs and the memory; 0 for none."""
    encoder: str = "auto"
    """Encoder of the observation: auto (cnn for images, else flat), cnn, flat, mlp, or package.module:attribute; with
    its options as in mlp,width=64,layers=2."""
    transitions: bool = False
    """Also give the memory the previous observation, so that each of its inputs is a whole transition: attention can
    then find the effect of an action in a state with one layer instead of two."""
    learning_rate: float = 7e-3
    """Adam's step size at the start; falls linearly to `learning_rate_end`."""
    learning_rate_end: float = 1e-4
    """Adam's step size at the end of the run."""
    epochs: int = 4
    """Passes over the trials of an iteration."""
    minibatches: int = 4
    """Optimiser steps per epoch, each on a share of the trials; trials are not split."""
    clip: float = 0.2
    """PPO's clipping range of the probability ratio around 1."""
    discount: float = 0.99
    """Per step, across the episodes of a trial."""
    discount_end: float = 0.0
    """Discount at the end of the run, reached linearly; 0 to keep `discount`. Evaluation measures a discount of 1, with
    which learning starts slowly."""
    trace: float = 0.3
    """Lambda of the generalised advantage estimates."""
    entropy: float = 0.005
    """Weight of the entropy bonus at the start; falls linearly to `entropy_end`."""
    entropy_end: float = 0.0
    """Weight of the entropy bonus at the end of the run."""
    value_weight: float = 1.0
    """Weight of the value loss: the squared error in units of the targets' variance."""
    max_gradient_norm: float = 1.0
    """Gradients are clipped to this norm."""
    truncation: int = 0
    """Truncated backpropagation through time: length of the segments that gradients do not leave, while the memory
    reaches back to the trial's beginning; 0 for whole trials."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the learner's unrolls; parameters and optimiser stay in float32. A GRU is always unrolled in
    float32, and so is an LSTM on a GPU or on a CPU without bfloat16 instructions, where bfloat16 is slower."""
    compile: bool = False
    """Compile the loss with torch.compile. It starts more slowly, and is not known to be faster anywhere."""

    @property
    def consumes(self) -> Consumes:
        return "fresh"

    def __post_init__(self) -> None:
        constructor("memory", self.memory)
        parse_encoder(self.encoder)
        for field in ("hidden", "epochs", "minibatches"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        for field in ("embedding", "learning_rate_end", "entropy", "entropy_end", "value_weight"):
            given = getattr(self, field)
            require(0 <= given < float("inf"), field, given, "a finite number of at least 0")
        require(self.truncation >= 0, "truncation", self.truncation, "at least 0")
        for field in ("learning_rate", "clip", "max_gradient_norm"):
            given = getattr(self, field)
            require(0 < given < float("inf"), field, given, "a finite number above 0")
        for field in ("discount", "discount_end", "trace"):
            require(0 <= getattr(self, field) <= 1, field, getattr(self, field), "a number in [0, 1]")
        require(self.precision in ("float32", "bfloat16"), "precision", self.precision, "float32 or bfloat16")

    def build(self, problem: Problem) -> RecurrentPolicy:
        memory = constructor("memory", self.memory)
        return RecurrentPolicy(problem, memory, self.hidden, self.embedding, self.encoder, self.transitions)

    def inner_loop(self, model: nn.Module, problem: Problem, greedy: bool = False) -> RecurrentAgent:
        assert isinstance(model, RecurrentPolicy)
        return RecurrentAgent(model, greedy)

    def optimisers(self, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {"adam": torch.optim.Adam(model.parameters(), lr=self.learning_rate, eps=1e-5, fused=True)}

    def acts_with(self, name: str) -> bool:
        return True

    def update(
        self, model: nn.Module, batch: Trajectory, optimise: Optimise, progress: float, rng: np.random.Generator
    ) -> Metrics:
        """One iteration of PPO: `epochs` x `minibatches` optimiser steps.

        Returns:
            Means over the optimiser steps of policy_loss, value_loss (in units of the targets' variance), entropy and
            kl (nats per step), clipped (share of steps), gradient_norm; explained_variance of the values that played.
        """
        assert isinstance(model, RecurrentPolicy)
        discount = linear(self.discount, self.discount_end or self.discount, progress)
        learning_rate = linear(self.learning_rate, self.learning_rate_end, progress)
        entropy_weight = linear(self.entropy, self.entropy_end, progress)
        rewards, known = torch.from_numpy(batch.reward[batch.valid]), bool(model.reward_updates)
        if not known:  # before the first loss: a memory that has seen them in another unit has learned nothing of them
            model.reward_update(rewards)
        data, explained_variance = prepare(model, batch, discount, self.trace)
        valid = data.valid.bool()
        model.popart_update((data.target / data.left)[valid])
        size = model.spread_of(data.target[valid])
        surrogate = torch.compile(ppo_terms) if self.compile else ppo_terms

        def loss(rows: np.ndarray, total: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            index = torch.from_numpy(rows).to(data.valid.device)
            part = data.trials(index)
            # No cache of rounded weights: threads would share it, and sum gradients in the order of their race.
            rounded = self.precision == "bfloat16"
            with torch.autocast(part.valid.device.type, torch.bfloat16, enabled=rounded, cache_enabled=False):
                parameters, value = model.unroll(part.observation, part.outcome, self.truncation)
            parameters, value = parameters.float(), value.float() * part.left
            log_prob, entropy = model.head.measure(parameters, part.draw)
            terms = surrogate(log_prob, entropy, value, part.log_prob, part.advantage, part.target, self.clip)
            terms["value_loss"] = terms["value_loss"] / size.square()
            weight = part.valid / total
            sums = {name: (term * weight).sum() for name, term in terms.items()}
            objective = sums["policy_loss"] + self.value_weight * sums["value_loss"] - entropy_weight * sums["entropy"]
            return objective, sums

        trials = batch.valid.shape[1]
        steps: list[Metrics] = []
        for _ in range(self.epochs):
            for rows in np.array_split(rng.permutation(trials), min(self.minibatches, trials)):
                total = data.valid[:, torch.from_numpy(rows).to(data.valid.device)].sum()
                steps.append(
                    optimise(
                        lambda part, total=total: loss(part, total),
                        rows,
                        learning_rate=learning_rate,
                        max_norm=self.max_gradient_norm,
                    )
                )
        if known:  # for what is played next
            model.reward_update(rewards)
        means = {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
        return means | {"explained_variance": explained_variance, "learning_rate": learning_rate}


def ppo_terms(
    log_prob: Tensor, entropy: Tensor, value: Tensor, old: Tensor, advantage: Tensor, target: Tensor, clip: float
) -> dict[str, Tensor]:
    """PPO's terms at every step, before averaging (Schulman et al. 2017, eq. 7).

    Args:
        log_prob: of the draws under the weights now, nats.
        entropy: of the policy now, nats.
        value: predicted now, in the task's units.
        old: log-probabilities under the weights that played.
        advantage: normalised.
        target: what the value should have been.
        clip: epsilon.

    All arrays have one shape, which the results have too.
    """
    log_ratio = log_prob - old
    ratio = log_ratio.exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    with torch.no_grad():
        kl = ratio - 1 - log_ratio
        clipped = ((ratio - 1).abs() > clip).float()
    value_loss = (value - target).square()
    return {"policy_loss": -gain, "value_loss": value_loss, "entropy": entropy, "kl": kl, "clipped": clipped}


class Batch(NamedTuple):
    """Whole trials as PPO reads them, on the model's device: [T, B, ...] each."""

    observation: Tensor
    """As stored: a minibatch of it is encoded at a time."""
    outcome: Tensor
    """Of the previous action, across the boundaries of episodes; see `heads.outcome`."""
    draw: Tensor
    log_prob: Tensor
    """Of the draws, under the weights that played."""
    advantage: Tensor
    """Normalised over the whole trajectory."""
    target: Tensor
    """Of the value, in the task's units."""
    left: Tensor
    """Steps that are left, see `returns.steps_left`: the value is that of a step times these."""
    valid: Tensor

    def trials(self, index: Tensor) -> "Batch":
        """The columns in `index`."""
        return Batch(*(array.index_select(1, index) for array in self))


def prepare(model: RecurrentPolicy, trajectory: Trajectory, discount: float, trace: float) -> tuple[Batch, float]:
    """A trajectory as PPO reads it, and the share of the targets' variance that the values had explained."""
    device, steps = model.output.weight.device, len(trajectory.reward)

    def put(array: np.ndarray) -> Tensor:
        # A copy: arrays from the object store are read-only, which torch does not know.
        return torch.tensor(array, device=device)

    value, valid = put(trajectory.note["value"][:steps]), put(trajectory.valid)
    if not model.value_updates:  # it was predicted in no unit
        value = torch.zeros_like(value)
    left = put(steps_left(trajectory, model.problem, discount))
    value = value * left
    advantage = advantages(
        put(trajectory.outer_reward),
        value,
        put(trajectory.trial_end),
        discount=discount,
        trace=trace,
    )
    target = advantage + value
    none = model.head.none(trajectory.reward.shape[1])
    seen, *previous = (put(array[:-1]) for array in trajectory.inputs(none))
    scale = spread(advantage[valid])
    unexplained = (scale / spread(target[valid])).square()
    batch = Batch(
        observation=seen,
        outcome=model.outcome(*previous),
        draw=put(trajectory.note["draw"][:steps]),
        log_prob=put(trajectory.note["log_prob"][:steps]),
        advantage=(advantage - advantage[valid].mean()) / scale,
        target=target,
        left=left,
        valid=valid.float(),
    )
    return batch, 1 - float(unexplained)

"""Black-box supervised meta-learning: a network with a memory reads examples and answers, and is taught to answer the
next (Santoro et al. 2016, arXiv:1605.06065; Mishra et al. 2017, arXiv:1707.03141).

f(D_train, x) -> y: the memory is what it makes of D_train, and adaptation is a forward pass.
"""

from dataclasses import dataclass

from torch import nn

from ...envs.errors import require
from ..answers import Answers
from ..api import Problem
from ..encoders import build_encoder, parse_encoder
from ..heads import head
from ..memory import constructor
from .taught import Taught


@dataclass(frozen=True, kw_only=True)
class Supervised(Taught):
    """A memory that is taught the right answers."""

    memory: str = "lstm"
    """Memory: deepset, gru, lstm, mann, mingru, none (of the newest example alone), snail, transformer, or a plug-in as
    package.module:attribute; with its options as in transformer,layers=4,window=128."""
    hidden: int = 128
    """Width of the memory."""
    embedding: int = 128
    """Width of a layer between the inputs and the memory; 0 for none."""
    encoder: str = "auto"
    """Encoder of the examples: auto (cnn for images, else flat), cnn, conv4, flat, mlp, or package.module:attribute;
    with its options as in mlp,width=64,layers=2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        constructor("memory", self.memory)
        parse_encoder(self.encoder)
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")
        require(self.embedding >= 0, "embedding", self.embedding, "at least 0")

    def build(self, problem: Problem) -> Answers:
        self.check(problem)
        observation = build_encoder(self.encoder, problem.observation_space)
        wide, own = 2 * observation.width, head(problem.action_space)
        embedding = nn.Sequential(nn.Linear(wide, self.embedding), nn.Tanh()) if self.embedding else nn.Identity()
        memory = constructor("memory", self.memory)(self.embedding or wide, self.hidden, problem.steps)
        output = nn.Linear(self.hidden, own.size - own.state_independent)
        return Answers(problem, observation, memory, output, embedding)

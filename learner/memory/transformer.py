"""A causal transformer: norms before the layers, rotary positions, cached keys and values, a bounded window."""

from torch import nn

from .api import Chain, Residual
from .attention import Attention, whole_trial


class Transformer(Chain):
    """Causal transformer (Vaswani et al. 2017, arXiv:1706.03762) over the trial, or the newest part of it.

    A step costs as much as the window holds; it is never computed again for earlier inputs.
    """

    def __init__(
        self, input_size: int, hidden: int, steps: int = 255, *, layers: int = 2, heads: int = 4, window: int = 0
    ) -> None:
        """Args:
        layers: of attention, each followed by a small network.
        heads: of each.
        window: inputs that each layer sees; 0 for the whole trial, 1,024 at most.
        """
        size = 2 * -(-hidden // (2 * heads))  # rotary positions need pairs
        window = whole_trial(window, steps)
        parts = [
            Residual(Attention(hidden, heads, size, window, rotary=True), hidden, heads * size) for _ in range(layers)
        ]
        super().__init__(nn.Linear(input_size, hidden), parts, nn.LayerNorm(hidden))

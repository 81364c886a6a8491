"""What an actor is asked to play."""

from typing import NamedTuple


class Assignment(NamedTuple):
    """A part to play: some of an iteration's trials, each on its own task. The same assignment with the same weights
    gives the same bits, whichever actor plays it and whatever is played beside it."""

    iteration: int
    part: int
    """Of the iteration."""
    trials: int
    tasks: tuple[int, ...] = ()
    """Of the run's fixed training or held-out tasks, one index per trial; empty where every trial is of a new task."""
    episodes: int = 0
    """Of each trial; 0 for as many as the experiment's."""
    from_context: tuple[int, ...] = ()
    """1 for each trial that begins from the context of its task, 0 for the others; empty where none does. The context
    itself travels beside the assignment."""
    held_out: bool = False
    """Played on the run's held-out tasks, to evaluate the weights: nothing learns from it."""

"""What the fixtures of several folders give: functions that make what is named."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from innerloop.learner.experiment import Experiment
from innerloop.learner.learner import Learner
from innerloop.learner.trajectory import Trajectory

AdaptingOn = Callable[..., Experiment]
ExperimentOn = Callable[..., Experiment]
Gapped = Callable[..., Trajectory]
InDouble = Callable[..., Trajectory]
Made = Callable[..., Learner]
Numerical = Callable[..., dict[str, Tensor]]
Played = Callable[..., Trajectory]
Slowly = Callable[..., Any]

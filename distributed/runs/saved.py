"""What a run's directory says, read as plain values: nothing that it names is imported."""

from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from ...envs.errors import BadInput, require
from ...learner.files import Count, Finite, Number, read_json

OPEN = with_config(ConfigDict(extra="allow"))
"""Another version may say more."""
Positive = Annotated[Count, Field(ge=1)]

Line = dict[str, Any]
"""One iteration's metrics: entry to number."""
LINE: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, Number])


@OPEN
class Named(TypedDict):
    """A family or an algorithm, and its options."""

    name: str


@OPEN
class SavedRun(TypedDict):
    """Of a `config.Run`, what is used of one that is not constructed."""

    name: NotRequired[str]
    iterations: Positive
    minutes: NotRequired[Annotated[Finite, Field(ge=0)]]
    mode: str


@OPEN
class SavedConfig(TypedDict):
    """`config.json`."""

    id: NotRequired[str]
    """Of the run, which its checkpoints carry too."""
    format: NotRequired[int]
    """See `learner.checkpoint.FORMAT`; 1 where it is missing."""
    family: Named
    algorithm: Named
    episodes: Positive
    trial_steps: NotRequired[Count]
    run: SavedRun


@OPEN
class SavedInterval(TypedDict):
    """A mean over tasks and its 95 % interval."""

    mean: Finite
    low: Finite
    high: Finite


@OPEN
class Baseline(SavedInterval):
    """A trial's return, and each episode's."""

    by_episode: NotRequired[list[SavedInterval]]


@OPEN
class Evaluation(TypedDict):
    """`evaluation.json`: of what `report.evaluation` returned, what is drawn."""

    family: str
    algorithm: str
    episodes: Positive
    trial_steps: NotRequired[Count]
    by_episode: list[SavedInterval]
    by_window: NotRequired[list[SavedInterval]]
    rollouts: NotRequired[Positive]
    baselines: dict[str, Baseline]


CONFIG: TypeAdapter[SavedConfig] = TypeAdapter(SavedConfig)
_EVALUATION: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)


def read_config(run: Path) -> SavedConfig | None:
    """Of a run's directory, as saved; None if it is not there.

    Raises:
        BadInput: it cannot be used.
    """
    try:
        return read_json(CONFIG, run / "config.json", "the configuration of a run")
    except FileNotFoundError:
        return None


def read_evaluation(run: Path, config: SavedConfig | None) -> Evaluation | None:
    """Of a run's directory; None if it is not there.

    Args:
        run: the directory.
        config: of the run, whose family and algorithm it must be of.

    Raises:
        BadInput: it cannot be used, or is another run's.
    """
    file, expected = run / "evaluation.json", "the evaluation of a run"
    try:
        found = read_json(_EVALUATION, file, expected)
    except FileNotFoundError:
        return None
    curves = {"by_episode": found["by_episode"]}
    curves |= {name: each["by_episode"] for name, each in found["baselines"].items() if "by_episode" in each}
    if found.get("trial_steps"):  # then each agent has as many episodes as it could play
        curves = {"by_episode": found["by_episode"]}
    for name, curve in curves.items():
        field = f"the number of episodes of {name} in {str(file)!r}"
        require(len(curve) == found["episodes"], field, len(curve), f"{found['episodes']}, as it says itself")
    if config is not None:
        of, own = (found["family"], found["algorithm"]), (config["family"]["name"], config["algorithm"]["name"])
        if of != own:
            raise BadInput(
                f"{str(file)!r} is of {of[1]!r} on {of[0]!r}; expected {own[1]!r} on {own[0]!r}, this run's."
            )
    return found

"""The single environments behind an adapted family: each a different one, used again, closed once."""

import errno
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gymnasium

from .errors import BadInput, EnvironmentRaised, ask, brief, describe
from .spaces import check_action_space, check_observation_space, same_structure

log = logging.getLogger("innerloop")

FULL = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
"""What the system says when it has room for no more."""

KINDS = "observation", "action"
CHECKS = check_observation_space, check_action_space


class Instances:
    """Makes environments with spaces as the first one's, and keeps those that are not in use.

    All are closed when nobody uses any of them: the family, or a batch made from it.
    """

    def __init__(self, make: Callable[[], gymnasium.Env]) -> None:
        self.make = make
        self._open: dict[int, gymnasium.Env] = {}
        self._own_spaces: dict[int, list[Any]] = {}
        self.spare: list[gymnasium.Env] = []
        self.name = "the environment"
        """How sentences call it."""
        self.observation_space: Any = None
        self.action_space: Any = None
        self._closing = weakref.finalize(self, _close_all, self._open)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}, "_own_spaces": {}, "spare": [], "_closing": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._closing = weakref.finalize(self, _close_all, self._open)

    def take(self, n: int) -> list[gymnasium.Env]:
        """n environments; `give_back` them.

        Raises:
            BadInput: what was made cannot be used, or there is no room for so many.
            EnvironmentRaised: `make` raised.
        """
        taken: list[gymnasium.Env] = []
        try:
            while len(taken) < n:
                taken.append(self.spare.pop() if self.spare else self._new(n))
        except BaseException:
            self.give_back(taken)
            raise
        return taken

    def give_back(self, envs: Iterable[gymnasium.Env]) -> None:
        """They can be taken again, unless they were discarded."""
        self.spare.extend(env for env in envs if id(env.unwrapped) in self._open)

    def discard(self, env: gymnasium.Env) -> None:
        """Close one that failed."""
        if self._open.pop(id(env.unwrapped), None) is not None:
            self._own_spaces.pop(id(env.unwrapped), None)
            _close(env)

    def close(self) -> None:
        """Close all."""
        self.spare.clear()
        self._closing()

    def check_spaces(self, env: gymnasium.Env) -> None:
        """Refuse an environment whose spaces, once its task is set, no longer fit the first one's. The bounds of
        observations may depend on the task.

        Raises:
            BadInput: naming the space.
        """
        before = self._own_spaces[id(env.unwrapped)]
        own = [getattr(env, f"{what}_space", None) for what in KINDS]
        if own[0] is before[0] and own[1] is before[1]:  # to compare them takes much longer
            return
        if not same_structure(own[0], self.observation_space):
            raise self._another("observation", own[0], self.observation_space)
        if own[1] != self.action_space:
            raise self._another("action", own[1], self.action_space)

    def _new(self, n: int) -> gymnasium.Env:
        try:
            env = ask(self.name, "make", self.make)
        except EnvironmentRaised as error:
            if _is_full(error):
                made = f"there is room for {len(self._open)} ({describe(error.__cause__ or error)})"
                raise BadInput(
                    f"the number of environments ({self.name}) at once is {n}; expected fewer, as {made}: lower trials "
                    "in training, the family's rows in evaluation."
                ) from error
            raise
        if not isinstance(env, gymnasium.Env):
            raise BadInput(f"what make returned is {brief(env)}; expected a gymnasium.Env.")
        inner = env.unwrapped
        if id(inner) in self._open:
            raise BadInput(
                f"what make returned is {brief(env)} again; expected a new {self.name} at every call, not the same one "
                "or another wrapper around it."
            )
        self._open[id(inner)] = env
        try:
            self._check_new(env)
        except BaseException:
            self.discard(env)
            raise
        return env

    def _check_new(self, env: gymnasium.Env) -> None:
        own = [ask(self.name, f"{what}_space", getattr, env, f"{what}_space", None) for what in KINDS]
        if self.observation_space is None:
            spec = ask(self.name, "spec", lambda: env.spec)
            self.name = spec.id if spec is not None else type(env.unwrapped).__name__
            for what, space, check in zip(KINDS, own, CHECKS, strict=True):
                check(f"the {what} space of {self.name}", space)
            self.observation_space, self.action_space = own
        for what, space, first in zip(KINDS, own, (self.observation_space, self.action_space), strict=True):
            if space != first:
                raise self._another(what, space, first)
        self._own_spaces[id(env.unwrapped)] = own

    def _another(self, what: str, space: object, first: object) -> BadInput:
        return BadInput(
            f"the {what} space of {self.name} is {brief(space)}; expected {first}, as the first environment has."
        )


def running_statistics(env: gymnasium.Env) -> Iterator[str]:
    """The names of the layers of an environment that normalise by what they have seen of all its episodes."""
    while True:
        attributes: dict[str, Any] = getattr(env, "__dict__", {})
        if any(name.endswith("_rms") or type(value).__name__ == "RunningMeanStd" for name, value in attributes.items()):
            yield type(env).__name__
        if not isinstance(env, gymnasium.Wrapper):
            return
        env = env.env


def _is_full(error: BaseException | None) -> bool:
    """The system, or memory, had no room left."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def _close(env: gymnasium.Env) -> None:
    try:
        env.close()
    except (Exception, SystemExit) as error:  # the environment's own code; others still have to be closed
        log.warning("An environment could not be closed: %s.", describe(error))


def _close_all(envs: dict[int, gymnasium.Env]) -> None:
    while envs:
        _close(envs.popitem()[1])

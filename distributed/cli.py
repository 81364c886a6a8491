"""The command `innerloop`: train, submit, status, evaluate, plot, compare, reproduce, list, check."""

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from ..envs.errors import FULL, BadInput, RunFailed, hide_password, raised_by, without_passwords
from .launch.stopping import Interrupted, while_importing
from .terminal import use_any_terminal
from .words import refuse_odd

USAGE = """\
usage: innerloop COMMAND [OPTIONS]

innerloop trains agents that learn to learn.

commands
  train      train an agent, evaluate it against the baselines, save the plots
  submit     train on a Ray cluster, as one of its jobs
  status     how a run is doing, in a directory or on a cluster
  evaluate   evaluate a trained agent on fresh held-out tasks
  plot       draw the curves of one or several runs
  compare    several systems' runs: aggregates over seeds and tasks, with intervals
  reproduce  train and evaluate a paper's table, published and measured side by side
  list       families, algorithms, memories, encoders, presets and tables that can be named
  check      whether a family, memory, encoder or algorithm of yours keeps the contract of ours

innerloop COMMAND --help explains a command's options.
To begin:  innerloop train --preset first
"""

COMMANDS = {
    "train": "train",
    "submit": "submit",
    "status": "status",
    "evaluate": "evaluate",
    "plot": "plot",
    "compare": "compare",
    "reproduce": "reproduce",
    "list": "listing",
    "check": "check",
}
"""Name to module."""
INTERNAL = {"beside": "beside"}
"""What our own processes call."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exits with 0; with 2 for input that cannot be used; with 130 when interrupted; with 1 for whatever else ended it. It
    never ends in a traceback: what nobody expected becomes a sentence, with the file that has the rest.
    """
    use_any_terminal()
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    command, *rest = given
    try:
        if command not in COMMANDS | INTERNAL:
            raise BadInput(f"command is {command!r}; expected one of {', '.join(COMMANDS)}.")
        refuse_odd(rest)
        with while_importing(), _said(f"loading innerloop {command}"):
            module = importlib.import_module(f"..commands.{(COMMANDS | INTERNAL)[command]}", __name__)
        module.run(rest)
    except BadInput as error:
        _end(str(error), 2, given)
    except Interrupted as stopped:
        _end(f"{stopped}.", 130, given)
    except KeyboardInterrupt:
        _end("interrupted.", 130, given)
    except RunFailed as error:
        _end(str(error), 1, given)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in FULL:
            _unexpected(error, given)
        _end(f"{error}; expected room on the disk.", 1, given)
    except Exception as error:
        _unexpected(error, given)


@contextmanager
def _said(text: str) -> Iterator[None]:
    """A word in a terminal, within the block."""

    def write(text: str) -> None:
        if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            with suppress(OSError):  # the terminal has hung up
                print(text, end="", file=sys.stderr, flush=True)

    write(text)
    try:
        yield
    finally:
        write("\r\033[K")


def _end(sentence: str, status: int, words: list[str]) -> NoReturn:
    shown = without_passwords(hide_password(" ".join(sentence.split())), words)
    print(f"innerloop: {''.join(each if each.isprintable() else '?' for each in shown)}", file=sys.stderr)
    sys.exit(status)


def _unexpected(error: Exception, words: list[str]) -> NoReturn:
    """Whatever nobody expected: a sentence, and the traceback in a file."""
    text = "".join(traceback.format_exception(error))
    sentence = f"{raised_by(error)}. This is unexpected"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="innerloop-", suffix=".log", delete=False) as file:
            file.write(without_passwords(hide_password(text), words))
        sentence += f"; the whole traceback is in {file.name}"
    except OSError:
        sentence += ", and there is no room for its traceback"
    _end(f"{sentence}.", 1, words)

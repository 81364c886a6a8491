"""A process beside the driver that outlives it.

Once its cluster has died, Ray's core may end the driver before that can do anything about it; and kill -9 leaves nobody
to tidy up. Then the guard ends what is left of a cluster of ours, removes its files, and says what has happened. It is
started as a script, and imports nothing that takes long.
"""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping

import psutil

CLUSTER = "INNERLOOP_CLUSTER"
"""In the environment of all processes of a cluster of ours: the directory of its files."""
STOP_SECONDS = 30.0
"""For processes that have been killed to be gone."""
TOGETHER_SECONDS = 1.0
"""Between the end of a driver and that of the cluster that was the cause, or that goes with it."""
SAVED = "what was saved last is whole"


class Guard:
    """Its end that is in the driver."""

    def __init__(self, processes: Mapping[int, str], directories: Collection[str]) -> None:
        """Args:
        processes: without which the cluster is lost, by their numbers: what each is called. The raylet comes first.
        directories: of clusters that end with this process.
        """
        command = [sys.executable, "-P", __file__, json.dumps({**processes}), *directories]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def dismiss(self) -> None:
        """The driver sees to everything itself from now on."""
        self._process.communicate(b"dismissed")


def sentence(missing: str, saved: str = SAVED) -> str:
    """What ends a run whose cluster has died."""
    return (
        f"{missing} has ended, and the run's Ray cluster with it; {saved}. "
        "Go on with: innerloop train --resume, and the run's directory."
    )


def end_cluster(directory: str, *, keep: bool = False) -> None:
    """End every process that was started with files in a directory, and what it started, as Ray forgets some; and
    remove the directory, unless it is to be kept."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(CLUSTER) == directory:
                found |= {process, *process.children(recursive=True)}
    for process in found - {psutil.Process()}:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found - {psutil.Process()}, timeout=STOP_SECONDS)
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)


def open_all(processes: Mapping[int, str]) -> tuple[dict[int, str], list[str]]:
    """Descriptors that can be read when a process has ended: what each is called; and those that have ended."""
    descriptors, ended = {}, []
    for pid, name in processes.items():
        try:
            descriptors[os.pidfd_open(pid)] = name
        except ProcessLookupError:
            ended.append(name)
        except OSError:  # a kernel that has none
            continue
    return descriptors, ended


def _stay(processes: Mapping[int, str], directories: Iterable[str]) -> None:
    descriptors, ended = open_all(processes)
    poll = select.poll()
    for descriptor in (driver := sys.stdin.fileno(), *descriptors):
        poll.register(descriptor, select.POLLIN)
    while driver not in (ready := [descriptor for descriptor, _ in poll.poll()]):
        for descriptor in ready:
            ended.append(descriptors[descriptor])
            poll.unregister(descriptor)
    if os.read(driver, 1):
        return
    poll.unregister(driver)
    if not ended and poll.poll(1000 * TOGETHER_SECONDS):
        # Whichever is gone first now, it was the raylet: a driver outlives its GCS, and its end takes both along.
        ended.append(next(iter(processes.values())))
    for directory in directories:
        end_cluster(directory)
    if ended:
        with contextlib.suppress(OSError):
            print(f"innerloop: {sentence(ended[0])}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    _stay({int(pid): name for pid, name in json.loads(sys.argv[1]).items()}, sys.argv[2:])

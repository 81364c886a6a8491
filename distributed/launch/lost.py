"""A cluster that dies under its driver ends the run in a sentence, with its state saved where Ray leaves time for that.

Left to itself, Ray's core ends the process: at once when it next needs the raylet, after a minute when it needs the
GCS, and nothing is saved. So the driver notices first, asks the loop to stop, and does not let it call Ray again. On a
busy machine Ray's core may be faster when the raylet dies. Then, and where an answer does not come, the guard says the
sentence, and the last checkpoint is what was saved.
"""

import contextlib
import logging
import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import ray
from ray._private import auto_init_hook, state, worker
from ray.util.client import ray as client

from ...envs.errors import BadInput
from .guard import SAVED, Guard, open_all, sentence
from .local import ClusterFailed, abandon, replaced, running
from .stopping import Interrupted, stop_all

ANSWER_SECONDS = 20.0
"""For the run to stop and to save its state, while Ray's core still waits."""
UNREACHABLE_SECONDS = 30.0
"""How long a GCS on another machine may refuse connections: it may be restarted."""
RAYLET_ENDED = "Raylet is terminated"
"""What Ray's error message begins with."""
_POLL_SECONDS = 0.5
_log = logging.getLogger("innerloop")


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Watch the cluster that this driver is connected to.

    Raises:
        ClusterFailed: it died meanwhile; whatever else came of that is the cause.
    """
    watch = _Watch()
    try:
        yield
    except BaseException as error:
        if watch.missing and not isinstance(error, BadInput):
            version = _saved(error)
            saved = SAVED if version is None else f"the state after iteration {version} is saved"
            raise ClusterFailed(sentence(watch.missing, saved)) from error
        raise
    finally:
        watch.end()


def _saved(error: BaseException | None) -> int | None:
    """The version that a run says it has saved, also where what closes afterwards finds no Ray and raises."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error.version if error else None


class _Watch:
    """A thread that waits for the processes of the cluster to end."""

    def __init__(self) -> None:
        self.missing = ""
        """What has ended."""
        self._guard: Guard | None = None
        self._over = threading.Event()
        self._changes, self._print = contextlib.ExitStack(), worker.print_to_stdstream
        if not client.is_connected():
            node = worker.global_worker.node
            names = _processes(node.get_session_dir_path(), node.raylet_socket_name) if node else {}
            self._guard = Guard(names, [str(each) for each in running])
            here = any("gcs_server" in name for name in names.values())
            gcs = None if here else ray.get_runtime_context().gcs_address
            worker.print_to_stdstream = _log_what_ray_says
            threading.Thread(target=self._wait, args=(names, gcs), name="cluster", daemon=True).start()

    def end(self) -> None:
        """The driver leaves the cluster."""
        self._over.set()
        if self._guard:
            self._guard.dismiss()
        self._changes.close()
        if not self.missing:  # what Ray's thread says of that comes late
            worker.print_to_stdstream = self._print

    def _wait(self, names: dict[int, str], gcs: str | None) -> None:
        descriptors, gone = open_all(names)
        poll, refused = select.poll(), 0.0
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        try:
            while not self._over.is_set() and not self.missing:
                ended = gone or [descriptors[descriptor] for descriptor, _ in poll.poll(1000 * _POLL_SECONDS)]
                refused = refused + _POLL_SECONDS if gcs and _refuses(gcs) else 0.0
                if ended:
                    self.missing = ended[0]
                elif gcs and refused >= UNREACHABLE_SECONDS:
                    self.missing = f"Ray's gcs_server ({gcs})"
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if self.missing and not self._over.is_set():
            self._let_go()
            abandon()  # at once: Ray's core may end this process any time now
            if not self._over.wait(ANSWER_SECONDS):  # it waits for an answer that will not come; the guard says so
                os._exit(1)

    def _let_go(self) -> None:
        """The loop stops, and calls of Ray raise an error from now on, instead of ending the process."""
        stop_all()  # first, so that the loop knows what such an error means, and says what it has saved
        self._changes.enter_context(replaced(auto_init_hook, "enable_auto_connect", False))
        log = logging.getLogger("ray")
        self._changes.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)
        worker.global_worker.set_is_connected(False)
        state.state.disconnect()


def _log_what_ray_says(data: dict[str, Any], ignore_prefix: bool = False) -> None:
    """In place of Ray's own, which prints errors on standard output; of its raylet's death we say more ourselves."""
    said = " ".join("\n".join(data["lines"]).split())
    _log.log(logging.DEBUG if RAYLET_ENDED in said else logging.WARNING, "Ray says: %s", said)


def _processes(session: str, socket: str) -> dict[int, str]:
    """This node's own raylet, and the GCS, if it is on this machine: others may come and go."""
    found = {}
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        gcs = process.info["name"] == "gcs_server" and any(session in word for word in words)
        raylet = process.info["name"] == "raylet" and any(word.partition("=")[2] == socket for word in words)
        if gcs or raylet:
            found[process.pid] = f"Ray's {process.info['name']} ({process.pid})"
    return dict(sorted(found.items(), key=lambda each: "raylet" not in each[1]))


def _refuses(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _POLL_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False

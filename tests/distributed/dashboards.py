"""A dashboard that answers what it is told to."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import ray

Answers = dict[str, Any]
"""By path (of logs/file, by the file's name): JSON, bytes as they are, or (status, headers, bytes)."""


def healthy(**files: Any) -> Answers:
    """A cluster of one node, with these notices among its logs."""
    return {
        "/api/authentication_mode": {"authentication_mode": "disabled"},
        "/api/v0/nodes": {"data": {"result": {"result": [{"node_id": "n1", "state": "ALIVE", "labels": {}}]}}},
        "/api/v0/logs": {"data": {"result": {"other": [*files]}}},
        "/api/v0/cluster_metadata": {"data": {"rayVersion": ray.__version__, "pythonVersion": "3.11.7"}},
        **files,
    }


class Dashboard:
    """At `address`, until `close`; `asked` are the paths and headers that came."""

    def __init__(self, answers: Answers) -> None:
        asked: list[tuple[str, dict[str, str]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                where = urlsplit(self.path)
                asked.append((where.path, dict(self.headers)))
                key = parse_qs(where.query).get("filename", [where.path])[0]
                given = answers.get(key, (404, {}, b""))
                status, headers, body = given if isinstance(given, tuple) else (200, {}, given)
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.asked = asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

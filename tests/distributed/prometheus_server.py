"""A real Prometheus with this project's configuration, for tests; Debian's package brings the server."""

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from processes import BEGIN_SECONDS, LEAVE_SECONDS, until

MONITORING = Path(__file__).parents[2] / "cluster" / "monitoring"


class PrometheusServer:
    """Scrapes Ray every second, as `cluster/monitoring/prometheus.yml` says but for the place and the pace."""

    def __init__(self, directory: Path, discovery: Path) -> None:
        """Args:
        directory: an empty one, for the server's configuration and data.
        discovery: the file in which Ray lists its metrics ports; it may appear later.
        """
        server = shutil.which("prometheus")
        if not server:
            pytest.skip("no Prometheus on this machine: apt-get install prometheus")
        config = (MONITORING / "prometheus.yml").read_text()
        for given, put in {"/tmp/ray/prom_metrics_service_discovery.json": str(discovery), "10s": "1s"}.items():
            assert given in config
            config = config.replace(given, put)
        (directory / "prometheus.yml").write_text(config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        options = {"config.file": directory / "prometheus.yml", "storage.tsdb.path": directory / "data"}
        options |= {"web.listen-address": self.address, "log.level": "error"}
        self._log = (directory / "log").open("wb")
        command = [server, *(f"--{name}={value}" for name, value in options.items())]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def ask(self, what: str, **about: Any) -> Any:
        """The data of an answer of its interface; an error of its makes the test fail."""
        with urlopen(f"http://{self.address}/api/v1/{what}?{urlencode(about)}", timeout=BEGIN_SECONDS) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]

    def query(self, text: str) -> list[Any]:
        """The series that a query gives now."""
        return self.ask("query", query=text)["result"]

    def wait(self) -> None:
        """Until it answers."""

        def answers() -> bool:
            assert self._process.poll() is None, "Prometheus ended"
            try:
                return bool(self.ask("targets"))
            except (URLError, TimeoutError):
                return False

        until(answers, what="Prometheus does not answer")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(LEAVE_SECONDS)
        self._log.close()


def queries() -> dict[str, str]:
    """Every query of the Grafana dashboard, with its variables filled in, by its panel and its letter."""
    dashboard = json.loads((MONITORING / "grafana" / "innerloop.json").read_text())
    found = {}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "20s").replace("$__range", "1m").replace("$run", ".+")
            assert "$" not in query, query
            found[f"{panel['title']}, {target['refId']}"] = query
    return found

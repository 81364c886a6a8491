"""What Prometheus and Grafana are given: of their own types, and where compose puts it."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from innerloop.distributed.watch.entries import COUNTERS, EVALUATED, GAUGES

CLUSTER = Path(__file__).parents[2] / "cluster"
GRAFANA = CLUSTER / "monitoring" / "grafana"
DASHBOARD = json.loads((GRAFANA / "innerloop.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
MADE_OF = {f"ray_innerloop_{metric.name}" for metric in COUNTERS + GAUGES + EVALUATED} | {
    f"ray_innerloop_{name}" for name in ("episode_return", "learner_statistic", "iterations", "run_info")
}
"""The names of all metrics of a run, as Prometheus has them."""


def lost(given: Any, kept: Any, place: str = "") -> list[str]:
    """What of a JSON value is missing or different in another."""
    if isinstance(given, dict):
        inside = [lost(v, kept.get(k) if isinstance(kept, dict) else None, f"{place}/{k}") for k, v in given.items()]
    elif isinstance(given, list) and isinstance(kept, list):
        inside = [lost(a, b, f"{place}/{i}") for i, (a, b) in enumerate(itertools.zip_longest(given, kept))]
    else:
        return [] if given == kept else [place]
    return list(itertools.chain.from_iterable(inside))


def test_grafanas_own_types_hold_all_of_the_dashboard() -> None:
    register_default_plugins()
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert lost(DASHBOARD, kept) == []
    assert lost(DASHBOARD | {"refresh_every": "10s"}, kept) == ["/refresh_every"]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    shown = {
        name for panel in PANELS for each in panel["targets"] for name in re.findall(r"ray_innerloop_\w+", each["expr"])
    }
    [run] = [each for each in DASHBOARD["templating"]["list"] if each["name"] == "run"]
    shown |= set(re.findall(r"ray_innerloop_\w+", run["query"]["query"]))
    assert shown == MADE_OF


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_is_of_the_chosen_runs_and_has_a_place_of_its_own(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for metric, labels in re.findall(r"(ray_innerloop_\w+)(\{[^}]*\})?", target["expr"]):
            assert 'run=~"$run"' in labels, metric
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24
    for other in PANELS:
        at = other["gridPos"]
        apart = (
            at["x"] >= place["x"] + place["w"]
            or place["x"] >= at["x"] + at["w"]
            or at["y"] >= place["y"] + place["h"]
            or place["y"] >= at["y"] + at["h"]
        )
        assert apart or other is panel
    assert [other["id"] for other in DASHBOARD["panels"]].count(panel["id"]) == 1


def test_grafana_finds_prometheus_and_the_dashboard_where_compose_puts_them() -> None:
    services = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]
    mounted = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    for file, place in mounted.items():
        assert (CLUSTER / file).is_file(), place
    [provider] = yaml.safe_load((GRAFANA / "dashboards.yml").read_text())["providers"]
    assert Path(mounted["./monitoring/grafana/innerloop.json"]).parent == Path(provider["options"]["path"])
    [source] = yaml.safe_load((GRAFANA / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    scraped = yaml.safe_load((CLUSTER / "monitoring" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    [[file]] = [each["files"] for each in scraped["scrape_configs"][0]["file_sd_configs"]]
    shared = [mount.split(":")[:2] for mount in services["prometheus"]["volumes"]]
    written = [mount.split(":")[:2] for mount in services["head"]["volumes"]]
    [place] = [pair for pair in shared if Path(file).is_relative_to(pair[1])]
    assert place in written  # the head's directory, at the same path: Ray's link in it is absolute


def test_the_documentation_names_every_metric_and_no_other() -> None:
    text = (CLUSTER.parent / "docs" / "watching.md").read_text()
    rows = text.partition("## The metrics")[2].partition("What nodes and GPUs do")[0].splitlines()
    named = {
        name
        for row in rows
        for name in re.findall(r"`([a-z_]+)(?:{[a-z,]+})?`", row.split("|")[1] if "|" in row else "")
    }
    assert {f"ray_innerloop_{name}" for name in named} == MADE_OF

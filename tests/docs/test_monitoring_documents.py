"""docs/monitoring.md, the dashboard and the alert rules name the metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.embedding_etl.metric_catalogue import METRICS
from include.embedding_etl.pipeline_files import load_pipeline

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "monitoring.md").read_text()
DASHBOARD = json.loads((ROOT / "docs" / "monitoring" / "grafana-dashboard.json").read_text())
RULES_FILE = ROOT / "docs" / "monitoring" / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]]
PROMETHEUS = {metric.prometheus_name: metric for metric in METRICS}


def used(expression: str) -> set[str]:
    return set(re.findall(r"embedding_etl_\w+", expression)) - {"embedding_etl_scrape_failed"}


def test_the_table_says_what_the_code_says() -> None:
    rows = re.findall(r"^\| `(embedding_etl\.\w+)` \| (.*) \|$", DOCUMENT, re.MULTILINE)
    told = {name: rest.split(" | ") for name, rest in rows}
    assert told == {
        metric.name: [metric.kind, metric.unit, ", ".join(metric.labels), metric.given, metric.meaning]
        for metric in METRICS
    }


def test_names_follow_the_conventions_of_prometheus() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"embedding_etl_[a-z_]+", metric.prometheus_name)
        assert metric.prometheus_name.endswith("_total") is (metric.kind == "counter")
        assert "key" not in metric.labels


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= DASHBOARD.keys()
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["title"]
        assert panel["targets"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, f"{panel['title']} lies over another panel"
        cells |= taken
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
    assert {one["name"] for one in DASHBOARD["templating"]["list"]} == {"datasource", "pipeline"}


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    expressions = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    assert used(expressions) == set(PROMETHEUS)


def test_labels_of_legends_exist() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            names = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for metric in used(target["expr"]):
                assert names <= set(PROMETHEUS[metric].labels)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_rules_use_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    metrics = used(rule["expr"])
    assert metrics <= PROMETHEUS.keys()
    assert all(PROMETHEUS[name].given == "both" for name in metrics)
    labels = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert all(labels <= set(PROMETHEUS[name].labels) for name in metrics if "target" not in name)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
def test_promtool_accepts_the_rules_and_they_fire(tmp_path: Path) -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", str(RULES_FILE)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    lane = 'pipeline="p",lane="text"'
    series = {
        f"embedding_etl_agreement{{{lane}}}": "0x300",
        f"embedding_etl_freshness_seconds{{{lane}}}": "7201x300",
        'embedding_etl_freshness_target_seconds{pipeline="p"}': "7200x300",
        'embedding_etl_last_success_timestamp_seconds{pipeline="p"}': "0x300",
        f'embedding_etl_dead_letters{{{lane},error_class="CorruptPdf"}}': "6x300",
        f'embedding_etl_objects{{{lane},state="indexed"}}': "94x300",
        f'embedding_etl_rows{{{lane},place="milvus"}}': "1x300",
        f'embedding_etl_rows{{{lane},place="ledger"}}': "2x300",
        "embedding_etl_scrape_failed": "1x300",
    }
    names = [rule["alert"] for rule in RULES]
    queries = [
        {"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})', "eval_time": "4h"} for name in names
    ]
    expected = [{**query, "exp_samples": [{"labels": "{}", "value": 1}]} for query in queries]
    document = {
        "rule_files": [str(RULES_FILE)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values.replace("x", "+0x")} for name, values in series.items()
                ],
                "promql_expr_test": expected,
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    fired = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False
    )
    assert fired.returncode == 0, fired.stdout + fired.stderr


def test_the_example_of_a_pipeline_file_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(freshness_target_h.*?)```", DOCUMENT, re.DOTALL)
    lanes = {"text": {"accepts": ["text/*"], "model": {"kind": "sentence-transformers", "id": "m"}}}
    rest = yaml.safe_dump({"name": "docs", "source": {"uri": "s3://b/p"}, "lanes": lanes})
    (tmp_path / "docs.yaml").write_text(example + rest)
    assert load_pipeline(tmp_path / "docs.yaml").notify.digest == "daily"

"""/metrics: what Prometheus gets."""

import re
import shutil
import subprocess

import pytest

from include.embedding_etl.metric_catalogue import DEAD_LETTERS, METRICS, Sample
from include.embedding_etl.status.pages.metrics import CONTENT_TYPE, exposition
from tests.fixtures_pipeline import Project
from tests.fixtures_status import StatusPages


def scrape(pages: StatusPages) -> dict[str, float]:
    answer = pages("viewer").get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPE
    found = re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def lane(project: Project, metric: str, more: str = "") -> str:
    return f'embedding_etl_{metric}{{pipeline="{project.name}",lane="text"{more}}}'


def test_nobody_gets_metrics(status_pages: StatusPages) -> None:
    assert status_pages("").get("/metrics").status_code == 401


def test_metrics_say_what_is_indexed_and_what_was_done(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.configure(thresholds={"max_failed_fraction": 1.0}, freshness_target_h=6)
    project.put_many(3)
    project.put("bad.txt", "refuse this")
    project.endpoint.refused_word = "refuse"
    project.run()
    project.put("copy.txt", (project.root / "source" / "doc-000.txt").read_bytes())
    project.run()
    found = scrape(status_pages)
    assert found[lane(project, "objects", ',state="indexed"')] == 4
    assert found[lane(project, "objects", ',state="dead"')] == 1
    assert found[lane(project, "dead_letters", ',error_class="InputRefused"')] == 1
    assert found[lane(project, "rows", ',place="ledger"')] == found[lane(project, "rows", ',place="milvus"')] == 4
    assert found[lane(project, "agreement")] == 1
    assert found[lane(project, "freshness_seconds")] == 0
    assert found[lane(project, "embedded_chunks_total")] == 3
    assert found[lane(project, "reused_chunks_total")] == 1
    assert found[lane(project, "rows_written_total")] == 4
    assert 0 < found[lane(project, "model_seconds_total")] < 60
    assert found[lane(project, "cutovers_total")] == 0
    assert found[f'embedding_etl_freshness_target_seconds{{pipeline="{project.name}"}}'] == 21_600
    assert found[f'embedding_etl_last_success_timestamp_seconds{{pipeline="{project.name}"}}'] > 1.7e9
    assert found["embedding_etl_scrape_failed"] == 0


def test_a_class_whose_letters_are_resolved_goes_to_zero(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.configure(thresholds={"max_failed_fraction": 1.0})
    project.put("bad.txt", "refuse this")
    project.endpoint.refused_word = "refuse"
    project.run()
    project.put("bad.txt", "good now, and longer")
    project.run()
    assert scrape(status_pages)[lane(project, "dead_letters", ',error_class="InputRefused"')] == 0


def test_rows_that_milvus_has_lost_are_no_agreement(status_pages: StatusPages) -> None:
    project = status_pages.project
    project.put_many(2)
    project.run()
    with project.open() as runtime:
        runtime.store.delete(runtime.store.alias_target(project.alias) or "", sorted(project.rows())[:1])
    found = scrape(status_pages)
    assert found[lane(project, "agreement")] == 0
    assert found[lane(project, "rows", ',place="milvus"')] == 1


def test_a_milvus_that_does_not_answer_leaves_out_what_only_it_knows(project: Project) -> None:
    project.put_many(1)
    project.run()
    found = scrape(StatusPages(project, places={"milvus_uri": "http://127.0.0.1:9"}))
    assert found[lane(project, "rows", ',place="ledger"')] == 1
    assert lane(project, "agreement") not in found


def test_a_broken_pipeline_file_is_counted_and_hides_no_other(status_pages: StatusPages) -> None:
    (status_pages.project.root / "pipelines" / "broken.yaml").write_text("name: broken\nlanes: 3\n")
    found = scrape(status_pages)
    assert found["embedding_etl_scrape_failed"] == 1
    assert f'embedding_etl_unrouted_objects{{pipeline="{status_pages.project.name}"}}' in found


def test_hostile_label_values_are_escaped() -> None:
    sample = Sample(DEAD_LETTERS, 1.5, {"pipeline": "p", "lane": "l", "error_class": 'a"b\\c\nd'})
    assert exposition([sample])[-1] == (
        'embedding_etl_dead_letters{pipeline="p",lane="l",error_class="a\\"b\\\\c\\nd"} 1.5'
    )


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
def test_promtool_accepts_the_format() -> None:
    labels = {name: 'a"b\\c\nd' for metric in METRICS for name in metric.labels}
    text = "\n".join(exposition([Sample(metric, 1, labels) for metric in METRICS])) + "\n"
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr

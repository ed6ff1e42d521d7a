"""`etl audit` as a person types it."""

import json

from tests.fixtures_audit import (
    Scene,
    add_rows_that_are_not_ours,
    change_storage_without_a_run,
    delete_rows,
    drop_the_alias,
)
from tests.integration.test_cli import etl


def test_a_clean_pipeline_has_exit_code_0(scene: Scene) -> None:
    done = etl(scene.project, "audit", scene.project.name)
    assert done.returncode == 0, done.stderr
    assert "Clean: storage, ledger and Milvus agree." in done.stdout
    assert "compared 15 objects" in done.stdout
    done = etl(scene.project, "audit", scene.project.name, "--json")
    document = json.loads(done.stdout)
    assert (document["clean"], document["faults"], document["pending"], document["findings"]) == (True, 0, 0, [])
    assert document["pipeline"] == scene.project.name


def test_a_fault_is_printed_as_a_table_with_what_a_repair_would_do_and_exit_code_1(scene: Scene) -> None:
    delete_rows(scene)
    drop_the_alias(scene)
    done = etl(scene.project, "audit", scene.project.name)
    assert done.returncode == 1, done.stderr
    for words in ("missing row", "'doc-000.txt' chunk 0", "written again", scene.project.alias, "4 faults, 0 pending"):
        assert words in done.stdout
    assert "Traceback" not in done.stderr
    assert len(scene.project.rows()) == 0  # there is still no alias: nothing was mended


def test_work_that_the_next_run_does_has_exit_code_1_too_and_is_no_fault(scene: Scene) -> None:
    change_storage_without_a_run(scene)
    done = etl(scene.project, "audit", scene.project.name, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["faults"], document["pending"]) == (0, 3)
    assert {finding["kind"] for finding in document["findings"] if finding["pending"]} == {
        "new object",
        "changed object",
        "vanished object",
    }


def test_repair_says_what_it_will_do_then_what_it_did_and_the_second_audit_decides(scene: Scene) -> None:
    delete_rows(scene)
    drop_the_alias(scene)
    done = etl(scene.project, "audit", scene.project.name, "--repair", "--json")
    assert done.returncode == 0, done.stderr
    assert "text: 3 × missing row: its object's rows are written again" in done.stderr  # the dry run comes first
    document = json.loads(done.stdout)
    assert document["clean"] is True
    assert f"alias {scene.project.alias} points at {scene.live}" in document["repaired"]
    assert "3 objects are written again" in document["repaired"]
    assert document["problems"] == []
    assert scene.project.rows() == scene.expected


def test_repair_that_may_not_do_all_says_how_to_allow_it(scene: Scene) -> None:
    scene.project.thresholds = {"min_delete_objects": 0, "max_delete_fraction": 0}
    scene.project.configure()
    add_rows_that_are_not_ours(scene)
    done = etl(scene.project, "audit", scene.project.name, "--repair")
    assert done.returncode == 1
    assert f"etl audit {scene.project.name} --repair --approve-deletes 2" in done.stdout
    done = etl(scene.project, "audit", scene.project.name, "--repair", "--approve-deletes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert scene.project.rows() == scene.expected


def test_a_source_that_cannot_be_listed_is_a_plain_error_and_no_verdict(scene: Scene) -> None:
    (scene.project.root / "source").rename(scene.project.root / "elsewhere")
    done = etl(scene.project, "audit", scene.project.name)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Clean" not in done.stdout
    with scene.project.open() as runtime:
        assert runtime.ledger.audits.last(scene.project.name, 1) == []

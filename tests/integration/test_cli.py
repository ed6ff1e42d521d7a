"""`etl` as a person types it: tables for people, one JSON document for programs, one plain line for a mistake."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from include.embedding_etl.lost_runs import give_up_lost_runs
from tests.fixtures_pipeline import Project


def etl(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("etl")), *arguments],
        env={**os.environ, **project.environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def snapshot_of(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_run_prints_a_table_and_ends_green(project: Project) -> None:
    project.put_many(3)
    done = etl(project, "run", project.name)
    assert done.returncode == 0, done.stderr
    assert "Green: storage, ledger and Milvus agree." in done.stdout
    assert "Traceback" not in done.stderr


def test_run_json_is_one_document(project: Project) -> None:
    project.put_many(3)
    done = etl(project, "run", project.name, "--json")
    document = json.loads(done.stdout)
    assert document["green"] is True
    assert document["lanes"]["text"]["rows_milvus"] == 3


def test_a_red_run_has_exit_code_1_and_says_why(project: Project) -> None:
    project.put("blank.txt", " \n")
    done = etl(project, "run", project.name)
    assert done.returncode == 1
    assert "Red: " in done.stdout
    assert "max_failed_fraction" in done.stdout


def test_plan_tells_what_a_run_would_do_and_writes_nothing(project: Project) -> None:
    project.put_many(5)
    project.run()
    project.put("new.txt", "never seen before")
    project.put("doc-000.txt", "changed")
    project.remove("doc-001.txt")
    (project.root / "source" / "doc-002.txt").rename(project.root / "source" / "renamed.txt")
    before, rows, asked = snapshot_of(project.root), project.rows(), len(project.endpoint.texts)
    done = etl(project, "plan", project.name, "--json")
    assert done.returncode == 0, done.stderr
    lane = json.loads(done.stdout)["lanes"]["text"]
    expected = {"new": 1, "changed": 1, "renamed": 1, "deleted": 2, "reusable": 1, "dead_lettered": 0, "unchanged": 2}
    assert {key: lane[key] for key in expected} == expected
    assert snapshot_of(project.root) == before
    assert project.rows() == rows
    assert len(project.endpoint.texts) == asked


def test_plan_of_a_pipeline_that_never_ran_creates_nothing(project: Project) -> None:
    project.put_many(2)
    before = snapshot_of(project.root)
    done = etl(project, "plan", project.name, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lanes"]["text"]["new"] == 2
    assert snapshot_of(project.root) == before


def test_status_says_whether_ledger_and_milvus_agree(project: Project) -> None:
    project.put_many(2)
    assert etl(project, "status", project.name).returncode == 1  # nothing indexed yet
    project.run()
    done = etl(project, "status", project.name, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["lanes"]["text"]["rows_milvus"] == 2
    with project.open() as runtime:
        runtime.store.delete(runtime.store.alias_target(project.alias) or "", sorted(project.rows())[:1])
    torn = etl(project, "status", project.name)
    assert torn.returncode == 1
    assert "2 rows verified, 1 in Milvus" in torn.stdout


def test_status_says_that_the_last_run_was_given_up(project: Project) -> None:
    project.put_many(1)
    project.run_process("upsert:after")  # which kills it
    with project.open() as runtime:
        give_up_lost_runs(runtime, time.time_ns() // 1_000_000)
    told = etl(project, "status", project.name).stdout
    assert re.search(r"^Last run: \S+, failed; given up: its process \d+ died without a report$", told, re.MULTILINE)


def test_search_finds_the_nearest_text_first(project: Project) -> None:
    project.put("bees.txt", "bees make honey in the hive")
    project.put("stars.txt", "stars burn hydrogen in the sky")
    project.run()
    done = etl(project, "search", project.name, "--text", "honey of bees", "--json")
    assert [hit["object_key"] for hit in json.loads(done.stdout)["hits"]] == ["bees.txt", "stars.txt"]
    only = etl(project, "search", project.name, "--text", "honey of bees", "--filter", "object_key=stars.txt", "--json")
    assert [hit["object_key"] for hit in json.loads(only.stdout)["hits"]] == ["stars.txt"]
    assert "bees make honey" in etl(project, "search", project.name, "--text", "honey", "--top", "1").stdout


def test_hostile_keys_and_texts_cannot_paint_the_terminal(project: Project) -> None:
    project.put("[red]\x1b[31mkey.txt", "[bold]words[/bold] to find")
    project.run()
    done = etl(project, "search", project.name, "--text", "words to find")
    assert "\x1b" not in done.stdout
    assert "[red]·[31mkey.txt" in done.stdout
    assert "[bold]words[/bold]" in done.stdout


def test_a_mistake_is_one_plain_line(project: Project) -> None:
    for arguments, words in [
        (["run", "nothing"], "no pipeline named 'nothing'; there are: " + project.name),
        (["run", project.name, "--rewrite", "texts"], "no lane 'texts'; it has: text"),
        (["search", project.name], "give exactly one of"),
        (["search", project.name, "--text", "x"], "run `etl run"),
        (["search", project.name, "--image", "/nowhere.png"], "cannot be read"),
    ]:
        done = etl(project, *arguments)
        assert done.returncode == 2, arguments
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_models_lists_where_weights_come_from(project: Project) -> None:
    done = etl(project, "models", "--pipeline", project.name, "--json")
    assert done.returncode == 0, done.stderr
    (model,) = json.loads(done.stdout)["models"]
    assert (model["lane"], model["model_id"], model["dimension"]) == ("text", "word-hash", 16)


def test_the_ledger_can_be_made_beforehand(project: Project) -> None:
    assert etl(project, "ledger", "upgrade").returncode == 0
    assert (project.root / "ledger.db").exists()

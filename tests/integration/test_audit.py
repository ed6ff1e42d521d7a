"""Audits on real parts: every fault is planted with somebody else's client, or straight in the ledger's tables."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from include.embedding_etl.audit import Audit, audit
from include.embedding_etl.vectorstore.schema import row_id
from tests.fixtures_pipeline import DIMENSION, Project, word_vector

LONG = " ".join(f"sentence {number} speaks of things that matter." for number in range(60))


@dataclass
class Scene:
    """An indexed pipeline, and somebody who spoils it."""

    project: Project
    stranger: MilvusClient

    @property
    def live(self) -> str:
        with self.project.open() as runtime:
            record = runtime.ledger.collections.live(self.project.name, "text")
        assert record is not None
        return record.name

    def id(self, key: str, ordinal: int = 0) -> str:
        return row_id(self.project.name, "text", key, ordinal)

    def row(self, key: str, ordinal: int = 0) -> dict[str, Any]:
        (found,) = self.stranger.get(self.live, [self.id(key, ordinal)], output_fields=["*"])
        return dict(found)

    def sql(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.project.root / "ledger.db", timeout=30)) as database, database:
            assert database.execute(statement, values).rowcount > 0, statement

    def audit(self) -> Audit:
        with self.project.open() as runtime:
            return audit(runtime, "audit-1")


def found(result: Audit) -> dict[str, int]:
    return {finding.kind: finding.count for finding in result.findings}


@pytest.fixture
def scene(project: Project) -> Iterator[Scene]:
    project.put_many(6)
    project.put("long.txt", LONG)
    assert project.run().green
    client = MilvusClient(project.milvus_uri)
    yield Scene(project, client)
    client.close()


def delete_rows(scene: Scene) -> dict[str, int]:
    scene.stranger.delete(scene.live, ids=[scene.id("doc-000.txt"), scene.id("doc-001.txt"), scene.id("long.txt", 1)])
    return {"missing row": 3}


PLANTS: list[Callable[[Scene], dict[str, int]]] = [delete_rows]


def test_a_pipeline_that_was_just_ingested_is_clean(scene: Scene) -> None:
    result = scene.audit()
    assert result.findings == ()
    assert result.clean
    rows = len(scene.project.rows())
    assert result.compared == {"objects": 7, "rows": rows, "vectors": rows, "files": 1}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(scene: Scene, plant: Callable[[Scene], dict[str, int]]) -> None:
    expected = plant(scene)
    assert found(scene.audit()) == expected

"""An indexed pipeline, and ways to spoil it: with somebody else's client, or straight in the ledger's tables.

Each way returns what an audit must find then: {kind: count}.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pymilvus import MilvusClient

from include.embedding_etl.audit import Audit, audit
from include.embedding_etl.lane_collection import find_live
from include.embedding_etl.ledger.database import Database
from include.embedding_etl.ledger.tables import metadata
from include.embedding_etl.repair import Repair, repair
from include.embedding_etl.vectorstore.schema import row_id
from tests.embedding_endpoint import DIMENSION, word_vector
from tests.fixtures_milvus import fresh_name, plain_client
from tests.fixtures_pipeline import Project

LONG = " ".join(f"sentence {number} speaks of things that matter." for number in range(60))


@dataclass
class Scene:
    """An indexed pipeline, and somebody who spoils it."""

    project: Project
    stranger: MilvusClient

    expected: dict[str, tuple[str, str]]  # rows, as the first run left them

    @property
    def chunks(self) -> dict[str, int]:
        return dict(Counter(key for key, _ in self.expected.values()))

    @property
    def store_file(self) -> Path:
        (file,) = (self.project.root / "state" / "embeddings").rglob("*.parquet")
        return file

    def repair(self, approve_deletes: int = 0) -> Repair:
        with self.project.open() as runtime:
            return repair(runtime, "repair-1", approve_deletes)

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
        names = [f"value_{number}" for number in range(len(values))]
        for name in names:
            statement = statement.replace("?", f":{name}", 1)
        with Database(self.project.ledger_url).writing() as connection:
            changed = connection.execute(sa.text(statement), dict(zip(names, values, strict=True)))
            assert changed.rowcount > 0, statement

    def audit(self) -> Audit:
        with self.project.open() as runtime:
            return audit(runtime, "audit-1")


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def ledger_dump(scene: Scene) -> dict[str, list[str]]:
    """All rows of the ledger, without what audits found."""
    with Database(scene.project.ledger_url).reading() as connection:
        return {
            table.name: sorted(str(row) for row in connection.execute(sa.select(table)))
            for table in metadata.sorted_tables
            if table.name != "audits"
        }


def found(result: Audit) -> dict[str, int]:
    return {finding.kind: finding.count for finding in result.findings}


@pytest.fixture
def scene(project: Project) -> Iterator[Scene]:
    project.put_many(14)
    project.put("long.txt", LONG)
    assert project.run().green
    client = plain_client(project.milvus_uri)
    yield Scene(project, client, project.rows())
    client.close()


def keep_a_row_twice(scene: Scene) -> dict[str, int]:
    """Only servers keep both, and show one of them; Milvus Lite replaces the first."""
    scene.stranger.insert(scene.live, [scene.row("doc-000.txt"), scene.row("long.txt", 2)])
    return {"duplicate row": 2}


def delete_rows(scene: Scene) -> dict[str, int]:
    scene.stranger.delete(scene.live, ids=[scene.id("doc-000.txt"), scene.id("doc-001.txt"), scene.id("long.txt", 1)])
    return {"missing row": 3}


def add_rows_that_are_not_ours(scene: Scene) -> dict[str, int]:
    row = scene.row("doc-002.txt")
    scene.stranger.upsert(scene.live, [{**row, "id": "stranger-1"}, {**row, "id": 'it\'s "his" row', "ordinal": 9}])
    return {"foreign row": 2}


def add_a_chunk_to_an_object(scene: Scene) -> dict[str, int]:
    scene.stranger.upsert(scene.live, [{**scene.row("doc-002.txt"), "id": scene.id("doc-002.txt", 7), "ordinal": 7}])
    return {"orphan row": 1}


def add_an_object_that_storage_never_had(scene: Scene) -> dict[str, int]:
    row = {**scene.row("doc-002.txt"), "id": scene.id("never.txt"), "object_key": "never.txt"}
    scene.stranger.upsert(scene.live, [row])
    return {"orphan row": 1}


def bring_an_old_version_back(scene: Scene) -> dict[str, int]:
    scene.stranger.upsert(scene.live, [{**scene.row("doc-003.txt"), "object_version": "old"}])
    return {"stale version": 1}


def change_the_content_hash_of_a_row(scene: Scene) -> dict[str, int]:
    scene.stranger.upsert(scene.live, [{**scene.row("doc-004.txt"), "content_hash": "0" * 64}])
    return {"other content": 1}


def replace_a_vector_by_that_of_another_model(scene: Scene) -> dict[str, int]:
    scene.stranger.upsert(scene.live, [{**scene.row("doc-005.txt"), "vector": word_vector("quite another thing")}])
    return {"other vector": 1}


def stretch_a_vector(scene: Scene) -> dict[str, int]:
    row = scene.row("doc-006.txt")
    scene.stranger.upsert(scene.live, [{**row, "vector": [2 * x for x in row["vector"]]}])
    return {"vector off norm": 1}


def claim_more_rows_in_an_entry(scene: Scene) -> dict[str, int]:
    scene.sql("UPDATE entries SET rows = 3, intended_rows = 3 WHERE key = ?", "doc-007.txt")
    return {"missing row": 2}


def claim_fewer_rows_in_an_entry(scene: Scene) -> dict[str, int]:
    chunks = scene.chunks["long.txt"]
    scene.sql("UPDATE entries SET rows = 1, intended_rows = 1 WHERE key = ?", "long.txt")
    return {"orphan row": chunks - 1}


def edit_the_version_of_an_entry(scene: Scene) -> dict[str, int]:
    scene.sql("UPDATE entries SET version = 'x' WHERE key = ?", "doc-008.txt")
    return {"pending change": 1}


def edit_the_content_hash_of_an_entry(scene: Scene) -> dict[str, int]:
    scene.sql("UPDATE entries SET content_hash = 'x' WHERE key = ?", "doc-009.txt")
    return {"ledger contradiction": 1, "other content": 1}


def edit_the_content_hash_of_an_object(scene: Scene) -> dict[str, int]:
    scene.sql("UPDATE objects SET content_hash = 'x' WHERE key = ?", "doc-010.txt")
    return {"ledger contradiction": 1}


def delete_an_entry(scene: Scene) -> dict[str, int]:
    scene.sql("DELETE FROM entries WHERE key = ?", "doc-011.txt")
    return {"pending change": 1, "orphan row": 1}


def drop_the_alias(scene: Scene) -> dict[str, int]:
    scene.stranger.drop_alias(scene.project.alias)
    return {"missing alias": 1}


def point_the_alias_elsewhere(scene: Scene) -> dict[str, int]:
    other = fresh_name("other")
    scene.stranger.create_collection(other, dimension=DIMENSION)
    scene.stranger.alter_alias(other, scene.project.alias)
    return {"alias elsewhere": 1}


def drop_the_collection(scene: Scene) -> dict[str, int]:
    live = scene.live
    scene.stranger.drop_alias(scene.project.alias)
    scene.stranger.drop_collection(live)
    return {"missing collection": 1, "missing alias": 1}


def make_the_collection_anew(scene: Scene, **changes: Any) -> None:
    """As somebody would who has read its name somewhere."""
    with scene.project.open() as runtime:
        collection = find_live(runtime, "text")
        assert collection is not None
        scene.stranger.drop_alias(scene.project.alias)
        runtime.store.drop_collection(collection.name)
        properties = {**collection.spec.properties, **changes.pop("properties", {})}
        runtime.store.create_collection(replace(collection.spec, properties=properties, **changes))
        runtime.store.point_alias(scene.project.alias, collection.name)


def give_the_collection_another_dimension(scene: Scene) -> dict[str, int]:
    make_the_collection_anew(scene, dimension=8)
    return {"other dimension": 1}


def give_the_collection_another_fingerprint(scene: Scene) -> dict[str, int]:
    make_the_collection_anew(scene, properties={"fingerprint": "f" * 64})
    return {"other fingerprint": 1}


def give_the_collection_another_index(scene: Scene) -> dict[str, int]:
    make_the_collection_anew(scene, index_type="HNSW", index_params={"M": 8, "efConstruction": 16})
    return {"missing row": len(scene.expected), "other index": 1}


def drop_the_index(scene: Scene) -> dict[str, int]:
    scene.stranger.release_collection(scene.live)
    scene.stranger.drop_index(scene.live, "vector")
    return {"missing index": 1}


def leave_a_collection_that_nobody_owns(scene: Scene) -> dict[str, int]:
    make_collection(scene, f"{scene.project.name}_text__00000000_9", hours_old=2)
    return {"unowned collection": 1}


def make_collection(scene: Scene, name: str, hours_old: float) -> None:
    created_at = (datetime.now(UTC) - timedelta(hours=hours_old)).isoformat(timespec="seconds")
    with scene.project.open() as runtime:
        collection = find_live(runtime, "text")
        assert collection is not None
        properties = {**collection.spec.properties, "created_at": created_at}
        runtime.store.create_collection(replace(collection.spec, name=name, properties=properties))


def record_a_collection_that_milvus_lacks(scene: Scene) -> dict[str, int]:
    with scene.project.open() as runtime:
        live = runtime.ledger.collections.live(scene.project.name, "text")
        assert live is not None
        gone = replace(live, name=f"{scene.project.name}_text__00000000_7", state="candidate")
        runtime.ledger.collections.add(gone)
    return {"lost collection": 1}


def leave_a_store_file_that_nobody_names(scene: Scene) -> dict[str, int]:
    copy = scene.store_file.with_name("copy.parquet")
    shutil.copy(scene.store_file, copy)
    age(copy, hours=2)
    return {"unreferenced store file": 1}


def lose_a_store_file(scene: Scene) -> dict[str, int]:
    scene.store_file.unlink()
    return {"lost store file": 1}


def lose_the_store_file_of_a_vanished_object(scene: Scene) -> dict[str, int]:
    """One that nobody will miss."""
    before = scene.store_file
    scene.project.put("passing.txt", "here for one run only")
    assert scene.project.run().green
    scene.project.remove("passing.txt")
    assert scene.project.run().green
    for file in before.parent.iterdir():
        if file != before:
            file.unlink()
    return {"lost store file": 1}


def cut_a_store_file_off(scene: Scene) -> dict[str, int]:
    scene.store_file.write_bytes(scene.store_file.read_bytes()[:-100])
    return {"lost store file": 1}


def flip_a_bit_in_a_store_file(scene: Scene) -> dict[str, int]:
    body = bytearray(scene.store_file.read_bytes())
    body[len(body) // 3] ^= 1
    scene.store_file.write_bytes(body)
    return {"lost store file": 1}


def change_storage_without_a_run(scene: Scene) -> dict[str, int]:
    scene.project.put("doc-012.txt", "changed words")
    scene.project.put("new.txt", "new words")
    scene.project.remove("doc-013.txt")
    return {"new object": 1, "changed object": 1, "vanished object": 1}

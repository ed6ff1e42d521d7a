"""(e) How long the status pages take over a ledger of 100,000 objects in two lanes; Milvus is down.

`python -m bench.status_pages postgresql+psycopg://…` measures an empty database of yours instead of SQLite.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from bench.measure import print_figure, require
from include.embedding_etl.embed.fingerprint import fingerprint
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.ledger.records import CollectionRecord, Letter
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import Entry, ObjectRecord
from tests.fixtures_pipeline import EmbeddingEndpoint, Project
from tests.fixtures_status import StatusPages

OBJECTS, LETTERS, RUNS, SHARDS = 100_000, 500, 60, 8
TARGET_MS = 300
FRAGMENT_TARGET_MS = 1000  # counts every object, loaded by the overview when that is shown already
TRIES = 7
LANES = ("text", "notes")
FRAGMENT = "/overview/bench/lanes"
PAGES = (
    "/overview",
    "/collections",
    "/map",
    "/failures",
    "/objects?pipeline=bench&prefix=folder-050",
    "/objects?pipeline=bench&run=ingest__bench/run-1&after=folder-050/object-050042.txt",
    "/objects/bench?key=folder-050/object-050042.txt",
    "/search",
)


def main(ledger_url: str = "") -> None:
    with tempfile.TemporaryDirectory() as directory:
        endpoint = EmbeddingEndpoint()
        project = Project(Path(directory), "http://127.0.0.1:9", endpoint, name="bench", ledger_url=ledger_url)
        _configure(project)
        with project.open() as runtime:
            _fill(runtime)
        _settle(project)
        slow = _measure(StatusPages(project))
        endpoint.close()
    require(not slow, f"not in time: {', '.join(slow)}")


def _measure(pages: StatusPages) -> list[str]:
    slow = []
    with pages() as client:
        for page in (*PAGES, FRAGMENT):
            times, status = [], 0
            for _ in range(TRIES):
                started = time.perf_counter()
                status = client.get(page).status_code
                times.append((time.perf_counter() - started) * 1000)
            median = statistics.median(times)
            target_ms = FRAGMENT_TARGET_MS if page == FRAGMENT else TARGET_MS
            print_figure(
                f"GET {page.partition('?')[0]} over {OBJECTS:,} objects",
                f"{median:.0f} ms (median of {TRIES}; slowest {max(times):.0f} ms; target {target_ms} ms); {status}",
            )
            if median > target_ms or status != 200:
                slow.append(page)
    return slow


def _configure(project: Project) -> None:
    model = {
        "kind": "openai",
        "id": "word-hash",
        "weights": "remote",
        "base_url": project.endpoint.url,
        "dimension": 16,
        "max_tokens": 64,
    }
    kinds = dict(zip(LANES, ("text/plain", "text/markdown"), strict=True))
    project.configure(lanes={lane: {"accepts": [kind], "model": model} for lane, kind in kinds.items()})


def _fill(runtime: Runtime) -> None:
    """One in a hundred objects waits, some are letters, the others are indexed."""
    name, ledger = runtime.pipeline.name, runtime.ledger
    records = _records()
    while some := list(islice(records, 10_000)):
        ledger.objects.put(name, some)
    for number, lane in enumerate(LANES):
        settings = runtime.pipeline.lanes[lane]
        digest = fingerprint(resolve_model(settings.model, runtime.places.models_dir), settings.chunk)
        written = settings.model_dump(mode="json")
        recorded = {"lane": written, "as_written": written}
        collection = f"bench_{lane}__{digest[:8]}_1"
        ledger.collections.add(
            CollectionRecord(collection, name, lane, digest, recorded, "live", time.time_ns() // 1_000_000)
        )
        mine = [record for record in _records() if record.media_type.endswith(("plain", "markdown")[number])]
        lease = ledger.leases.acquire(collection, "bench", 600)
        verified = [
            Entry(record.key, record.etag, record.last_modified_ms, record.content_hash, 3, 3, "ingest__bench/run-1")
            for position, record in enumerate(mine)
            if position % 100
        ]
        ledger.entries.commit(lease, collection, verified)
        waiting = [record for position, record in enumerate(mine) if position % 100 == 0]
        ledger.dead_letters.record(
            name,
            lane,
            digest,
            [
                Letter(record.key, record.etag, "extract", "EncryptedPdf", "it is encrypted", "ingest__bench/run-1")
                for record in waiting[: LETTERS // len(LANES)]
            ],
        )
    for number in range(RUNS):
        run_id = f"ingest__bench/run-{number}"
        ledger.runs.start(run_id, name)
        for lane in LANES:
            for shard in range(SHARDS):
                counts = {"embedded": number, "reused": 5, "chunks": 3 * number, "dead_letters": number % 3}
                ledger.runs.add_stage(run_id, "embed", counts, 2.0 + number % 7, 1.5, lane=lane, shard=shard)
                ledger.runs.add_stage(run_id, "sync", {"rows": 3 * number}, 1.0, lane=lane, shard=shard)
        ledger.runs.finish(run_id, "failed" if number % 10 == 9 else "succeeded")


def _settle(project: Project) -> None:
    """A server looks at its new rows by itself, within a minute or so."""
    if not project.ledger_url.startswith("sqlite"):
        engine = sa.create_engine(project.ledger_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))


def _records() -> Iterator[ObjectRecord]:
    for number in range(OBJECTS):
        kind = ("text/plain", "text/markdown")[number % 2]
        yield ObjectRecord(
            f"folder-{number // 1000:03d}/object-{number:06d}.{'txt' if number % 2 == 0 else 'md'}",
            f"etag-{number:032d}",
            2048,
            1_700_000_000_000 + number * 1000,
            kind,
            f"{number:064x}",
        )


if __name__ == "__main__":
    main(*sys.argv[1:2])

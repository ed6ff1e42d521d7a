"""A run over many objects of which none has changed, with the ledger on PostgreSQL: what every run costs an object.

The bucket is a listing without objects (bench/listing.py), and Milvus a fake that counts as it should: what is measured
is listing, ledger and the decisions.
"""

import hashlib
import resource
import tempfile
import time
from pathlib import Path

import psutil
import sqlalchemy as sa

from bench.cluster_figures import print_ledger
from bench.cluster_watch import cpu_s
from bench.listing import PIPELINE, Bucket
from bench.measure import print_figure, require
from include.embedding_etl.batching import batched
from include.embedding_etl.converge import converge
from include.embedding_etl.lane_collection import ensure_live
from include.embedding_etl.pipeline_files import load_pipeline
from include.embedding_etl.places import Places
from include.embedding_etl.run_files import RunFiles
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.s3_credentials import S3Credentials
from include.embedding_etl.snapshot import iter_snapshot, read_snapshot
from include.embedding_etl.stages.scan import scan
from include.embedding_etl.turn import take_turn
from include.embedding_etl.types import Entry, ListedObject, ObjectRecord
from include.embedding_etl.vectorstore.fake import InMemoryStore
from tests.fixtures_postgresql import PostgresqlServer

BATCH = 5_000
FILLING = "filling"


class CountingStore(InMemoryStore):
    """Has as many rows as it is told."""

    rows = 0

    def count(self, name: str, prefix: str = "") -> int:  # noqa: ARG002 - the store's
        return self.rows


def measure_ledger(objects: int) -> None:
    """Fill the ledger as a first run leaves it, and measure the second."""
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)  # PostgreSQL runs as its own user
        (directory / "postgresql").mkdir()
        server, bucket = PostgresqlServer(directory / "postgresql"), Bucket("100 folders", objects, 0.0)
        try:
            server.make()
            _measure(directory, server, bucket.endpoint, objects)
        finally:
            bucket.close()
            server.stop()


def _measure(directory: Path, server: PostgresqlServer, endpoint: str, objects: int) -> None:
    (directory / "bench.yaml").write_text(PIPELINE.format(streams=1))
    places = Places(
        _env_file=None,
        state_uri=str(directory / "state"),
        ledger_url=server.url.render_as_string(hide_password=False),
    )
    store = CountingStore()
    store.rows = objects
    credentials = S3Credentials("bench", "bench", endpoint=endpoint)
    pipeline = load_pipeline(directory / "bench.yaml")
    with Runtime(pipeline, places, credentials, open_store=lambda _: store, one_process=True) as runtime:
        _fill(runtime)
        engine = sa.create_engine(server.url)
        print_ledger(engine)
        engine.dispose()
        assert server.process is not None
        postgresql = psutil.Process(server.process.pid)
        began, cpu_began, server_began = time.perf_counter(), time.process_time(), cpu_s(postgresql)
        report = converge(runtime, "nothing has changed")
        wall_s, own_s = time.perf_counter() - began, time.process_time() - cpu_began
        server_s = cpu_s(postgresql) - server_began
        record = runtime.ledger.runs.get("nothing has changed")
    require(report.green and report.listed == objects, f"the run is red: {report.problems}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print_figure(f"no-change run over {objects:,} objects, ledger on PostgreSQL",
                 f"{wall_s:.1f} s; of processor {own_s:.1f} s, {server_s:.1f} s in PostgreSQL, "
                 f"{1e6 * (own_s + server_s) / objects:.0f} µs an object")  # fmt: skip
    for stage in record.stages if record else ():
        print_figure(f"  {stage.stage}", f"{stage.duration_s:.1f} s")
    print_figure("peak memory of the process, filling included", f"{peak_mib:.0f} MiB")


def _fill(runtime: Runtime) -> None:
    """As if every object had been identified, embedded and written."""
    ledger, pipeline = runtime.ledger, runtime.pipeline.name
    take_turn(runtime, FILLING)
    scan(runtime, FILLING)
    ledger.leases.release(runtime.lease(runtime.listing, FILLING))
    live = ensure_live(runtime, "text")
    lease = runtime.lease(live.name, FILLING)
    snapshot = read_snapshot(runtime.state, RunFiles(pipeline, FILLING).snapshot)
    for batch in batched(iter_snapshot(runtime.state, snapshot), BATCH):
        hashes = [hashlib.sha256(listed.key.encode()).hexdigest() for listed in batch]
        pairs = list(zip(batch, hashes, strict=True))
        ledger.objects.put(pipeline, [_record(*pair) for pair in pairs])
        ledger.entries.commit(lease, live.name, [_entry(*pair) for pair in pairs])
        ledger.vectors.put(live.fingerprint, [(each, f"embeddings/{live.fingerprint}/a.parquet", 1) for each in hashes])
    ledger.leases.release(lease)
    ledger.leases.release(runtime.lease(runtime.turn, FILLING))
    ledger.runs.finish(FILLING, "succeeded")


def _record(listed: ListedObject, content_hash: str) -> ObjectRecord:
    return ObjectRecord(listed.key, listed.etag, listed.size_bytes, listed.last_modified_ms, "text/plain", content_hash)


def _entry(listed: ListedObject, content_hash: str) -> Entry:
    return Entry(listed.key, listed.etag, listed.last_modified_ms, content_hash, 1, 1, FILLING)

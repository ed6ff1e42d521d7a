"""Bulk import against upserts, and what Milvus keeps in memory: `python -m bench.bulk_import [ROWS …]`.

On a real server of its own (`make test-milvus-server` makes its environment), so not part of `make bench`. Memory is
the private memory of a freshly started server before and after it loads a collection that it finds on its disk.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from bench.measure import print_figure
from include.embedding_etl.batching import batched
from include.embedding_etl.places import Places
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import CollectionSpec, Row
from include.embedding_etl.vectorstore.bulk_jobs import BulkJobs
from include.embedding_etl.vectorstore.import_files import IMPORT, import_batch
from include.embedding_etl.vectorstore.milvus import MilvusStore
from include.embedding_etl.vectorstore.schema import row_id
from tests.milvus_server import TOKEN, MilvusServer

DIMENSION = 384
BATCH = 1_000
TEXT = "A chunk of some text that a model with a window of 256 tokens has read. " * 8
INDEXES = {"HNSW": {"M": 16, "efConstruction": 200}, "IVF_SQ8": {"nlist": 1024}, "FLAT": {}}
SAMPLES, SAMPLE_S = 12, 2.0


def main() -> None:
    """Measure speed with the first number of rows, memory with the last."""
    sizes = [int(each) for each in sys.argv[1:]] or [50_000, 100_000]
    with tempfile.TemporaryDirectory() as directory:
        server = MilvusServer(Path(directory) / "server")
        server.start()
        try:
            _measure_speed(server, Path(directory) / "staging", sizes[0])
            _measure_memory(server, Path(directory) / "staging", sizes[-1])
        finally:
            server.stop()


def _measure_speed(server: MilvusServer, staging: Path, rows: int) -> None:
    store = MilvusStore(server.uri, token=TOKEN)
    spec = _spec("HNSW", f"upserted_{rows}")
    store.create_collection(spec)
    started = time.perf_counter()
    for batch in batched(_rows(rows), BATCH):
        store.upsert(spec.name, batch)
        assert len(store.read_versions(spec.name, [row.id for row in batch])) == len(batch)
    store.flush(spec.name)
    _print_rate(f"{rows} rows of {DIMENSION} dimensions upserted and read back", rows, started)
    store.load_index(spec.name)
    _print_rate("the same, until the index of them is built", rows, started)
    store.drop_collection(spec.name)
    spec = _spec("HNSW", f"imported_{rows}")
    store.create_collection(spec)
    started = time.perf_counter()
    _import(store, spec.name, staging, rows)
    for some in batched(_ids(rows), BATCH):
        assert store.count_ids(spec.name, some) == len(store.read_versions(spec.name, some)) == len(some)
    _print_rate("imported, counted and read back, with their index", rows, started)
    store.drop_collection(spec.name)
    store.close()


def _measure_memory(server: MilvusServer, staging: Path, rows: int) -> None:
    """One collection an index. The server is started anew before they are loaded: what importing took is gone."""
    store = MilvusStore(server.uri, token=TOKEN)
    for index_type in INDEXES:
        store.create_collection(_spec(index_type, f"memory_{index_type}"))
        _import(store, f"memory_{index_type}", staging, rows)
    store.close()
    client = _client(server)
    for index_type in INDEXES:
        client.release_collection(f"memory_{index_type}")
    client.close()
    _restart(server)
    client = _client(server)
    before = _private_bytes(server)
    for index_type in INDEXES:
        client.load_collection(f"memory_{index_type}")
        after = _private_bytes(server)
        grown = after - before
        per_million = grown / rows * 1e6 / 2**20
        what = f"{index_type}, {rows} rows of {DIMENSION} dimensions loaded"
        print_figure(what, f"{grown >> 20} MiB = {per_million:.0f} MiB/million")
        before = after
    client.close()


def _import(store: MilvusStore, name: str, staging: Path, rows: int) -> None:
    jobs = store.bulk_jobs
    assert jobs is not None
    files = StateStore(str(staging), Places(_env_file=None))
    with files.writer(f"{name}.parquet", IMPORT) as file:
        for batch in batched(_rows(rows), BATCH):
            file.write(import_batch(batch, DIMENSION))
    _finish(jobs, jobs.submit(name, str(staging / f"{name}.parquet")))
    jobs.show(name)


def _finish(jobs: BulkJobs, number: int) -> None:
    while (job := jobs.job(number)).state == "running":
        time.sleep(0.5)
    assert job.state == "done", job.reason


def _client(server: MilvusServer):  # type: ignore[no-untyped-def]
    from pymilvus import MilvusClient

    return MilvusClient(server.uri, token=TOKEN, dedicated=True)


def _restart(server: MilvusServer) -> None:
    assert server.process is not None
    children = psutil.Process(server.process.pid).children(recursive=True)
    server.stop()
    psutil.wait_procs(children, timeout=30)  # not ours to wait for: they hold their ports until they are gone
    server.launch()


def _private_bytes(server: MilvusServer) -> int:
    """Memory of the server's own, the least within a while: its garbage collector needs some time."""
    assert server.process is not None
    launcher = psutil.Process(server.process.pid)
    least = sys.maxsize
    for _ in range(SAMPLES):
        time.sleep(SAMPLE_S)
        processes = (launcher, *launcher.children(recursive=True))
        least = min(least, max(each.memory_full_info().uss for each in processes))
    return least


def _print_rate(what: str, rows: int, started: float) -> None:
    seconds = time.perf_counter() - started
    print_figure(what, f"{seconds:.0f} s = {rows / seconds:.0f} rows/s")


def _spec(index_type: str, name: str) -> CollectionSpec:
    return CollectionSpec(name, DIMENSION, index_type, "COSINE", INDEXES[index_type], {})


def _ids(rows: int) -> list[str]:
    return [row_id("bench", "text", f"object-{number}", 0) for number in range(rows)]


def _rows(rows: int) -> Iterator[Row]:
    rng = np.random.default_rng(7)
    for first in range(0, rows, BATCH):
        vectors = rng.normal(size=(BATCH, DIMENSION)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for number, vector in enumerate(vectors[: rows - first], start=first):
            key = f"object-{number}"
            yield Row(
                row_id("bench", "text", key, 0), vector, key, "v1", "0" * 64, "text/plain", 0, 0, len(TEXT), TEXT,
                len(TEXT), 1_700_000_000_000, "bench", {},
            )  # fmt: skip


if __name__ == "__main__":
    main()

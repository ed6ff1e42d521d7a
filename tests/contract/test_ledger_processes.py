"""Several processes and threads on one ledger: nothing is lost, nobody is turned away."""

import multiprocessing
import multiprocessing.connection
import resource
import sys
import threading
import time
import tracemalloc
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path

import pytest

from include.embedding_etl.errors import TransientError
from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import Lease
from tests.fixtures_ledger import COLLECTION, make_entry, make_letter, make_object

WRITERS = 4
BATCHES = 15
BATCH = 50
Context = ForkContext | SpawnContext
CONTEXTS: list[Context] = [ForkContext(), SpawnContext()]


def write_batches(url: str, writer: int) -> None:
    with Ledger.open(url) as ledger:
        for batch in range(BATCHES):
            mine = [f"{writer}/{batch}/{number}" for number in range(BATCH)]
            ledger.objects.put("demo", [make_object(key) for key in mine])
            ledger.dead_letters.record("demo", "text", "f1", [make_letter("contended")])
            ledger.runs.add_stage("r", "sync", {"rows": BATCH}, 1.0, shard=writer * BATCHES + batch)


def put_and_exit(ledger: Ledger, key: str) -> None:
    ledger.objects.put("demo", [make_object(key)])


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.get_start_method())
def test_four_processes_write_at_once_and_nothing_is_lost(ledger: Ledger, ledger_url: str, context: Context) -> None:
    ledger.runs.start("r", "demo")
    started = [context.Process(target=write_batches, args=(ledger_url, writer)) for writer in range(WRITERS)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * WRITERS
    assert sum(1 for _ in ledger.objects.stream("demo")) == WRITERS * BATCHES * BATCH
    assert [letter.attempts for letter in ledger.dead_letters.open_for("demo", "text", "f1")] == [WRITERS * BATCHES]
    run = ledger.runs.get("r")
    assert run is not None
    assert run.totals()[0].counts == {"rows": WRITERS * BATCHES * BATCH}


def test_a_forked_child_may_use_its_parents_ledger(ledger: Ledger) -> None:
    put_and_exit(ledger, "before")
    child = multiprocessing.get_context("fork").Process(target=put_and_exit, args=(ledger, "child"))
    child.start()
    child.join(60)
    put_and_exit(ledger, "parent")
    assert child.exitcode == 0
    assert [record.key for record in ledger.objects.stream("demo")] == ["before", "child", "parent"]


def test_no_connection_of_sqlite_crosses_a_fork(tmp_path: Path) -> None:
    def open_files() -> list[str]:
        return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]

    def report(sender: "multiprocessing.connection.Connection") -> None:
        sender.send([name for name in open_files() if "ledger.db" in name])

    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", migrate=True) as ledger:
        ledger.objects.put("demo", [make_object("k")])
        assert any("ledger.db" in name for name in open_files())
        receiver, sender = multiprocessing.get_context("fork").Pipe()
        child = multiprocessing.get_context("fork").Process(target=report, args=(sender,))
        child.start()
        assert receiver.recv() == []
        child.join(60)


def test_a_reader_sees_no_half_of_a_batch(ledger: Ledger, lease: Lease) -> None:
    done = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(ledger.entries.totals(COLLECTION).rows)

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(10):
        ledger.entries.commit(lease, COLLECTION, [make_entry(f"{n}", str(version), version) for n in range(300)])
    done.set()
    reader.join()
    assert len(seen) > 1
    assert seen <= {300 * version for version in range(10)}


def test_a_batch_that_fails_in_the_middle_leaves_nothing(ledger: Ledger, lease: Lease) -> None:
    with pytest.raises(TransientError), ledger._database.writing():
        ledger.leases.check(Lease("c", "nobody", 1, 0))
    broken = [make_entry("good"), make_entry("bad", rows=None)]  # type: ignore[arg-type]
    with pytest.raises(Exception, match="refused"):
        ledger.entries.commit(lease, COLLECTION, broken)
    assert list(ledger.entries.stream(COLLECTION)) == []


def test_pain_32_streaming_100_000_objects_is_flat_in_memory(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [make_object(f"some/prefix/{number:07d}/file.txt") for number in range(100_000)]
    started = time.perf_counter()
    ledger.objects.put("demo", records)
    put_s = time.perf_counter() - started
    del records
    started, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert sum(1 for _ in ledger.objects.stream("demo")) == 100_000
    stream_s, cpu_s = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu
    tracemalloc.start()
    for number, _ in enumerate(ledger.objects.stream("demo")):
        if number == 40_000:
            break
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    figures = f"put {put_s:.2f} s, stream {stream_s:.2f} s ({cpu_s:.2f} CPU-s), peak {peak_bytes >> 20} MiB"
    with capsys.disabled():
        sys.stdout.write(f"\n100,000 objects: {figures}\n")
    assert peak_bytes < 30 << 20

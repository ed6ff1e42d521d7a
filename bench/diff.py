"""(a) One million listed keys against one million in the ledger: CPU seconds, and peak memory that must stay flat."""

import resource
import tempfile
import time
from pathlib import Path

from bench.measure import print_figure, require
from include.embedding_etl.diff import compare_listing
from include.embedding_etl.ledger import Ledger
from include.embedding_etl.places import Places
from include.embedding_etl.snapshot import iter_snapshot, read_snapshot, write_snapshot
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import ListedObject, ObjectRecord

KEYS = 1_000_000
CHANGED_EVERY = 10_000
LIMIT_MIB = 350


def listed(number: int) -> ListedObject:
    version = "changed" if number % CHANGED_EVERY == 0 else "same"
    return ListedObject(f"prefix/{number // 1000:06d}/object-{number:09d}.txt", version, 1_000, 1_700_000_000_000)


def known(number: int) -> ObjectRecord:
    item = listed(number)
    return ObjectRecord(item.key, "same", item.size_bytes, item.last_modified_ms, "text/plain", "")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        state = StateStore(directory, Places(_env_file=None))
        write_snapshot(state, "snapshot.parquet", "s3://bench/", map(listed, range(KEYS)), lambda _: True)
        with Ledger.open(f"sqlite:///{Path(directory) / 'ledger.db'}", migrate=True) as ledger:
            for first in range(0, KEYS, 20_000):
                ledger.objects.put("bench", [known(number) for number in range(first, first + 20_000)])
            started = time.process_time()
            snapshot = read_snapshot(state, "snapshot.parquet")
            found = sum(1 for _ in compare_listing(iter_snapshot(state, snapshot), ledger.objects.stream("bench")))
            cpu_s = time.process_time() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print_figure(f"diff of {KEYS:,} keys against the ledger", f"{cpu_s:.1f} CPU s, peak memory {peak_mib:.0f} MiB")
    require(found == KEYS // CHANGED_EVERY, f"the diff found {found} changes, not {KEYS // CHANGED_EVERY}")
    require(peak_mib < LIMIT_MIB, f"peak memory {peak_mib:.0f} MiB is not under {LIMIT_MIB} MiB")


if __name__ == "__main__":
    main()

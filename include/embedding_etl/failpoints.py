"""Every durable write has a name here, and can be made to kill the process around it.

`ETL_FAILPOINT=upsert:after` ends the process with SIGKILL right after the first upsert,
`upsert:after:3` after the third.
Modes: `before` the write, `after` it, or `lost`: the write happens, but its caller is told that it failed. `stop`
freezes the process before the write, as a machine that is out of breath would, until somebody sends SIGCONT.
tests/faults generates one test per name and mode, so a durable write that is not in the table cannot be written
(`durable_write` refuses unknown names), and one in the table without a test fails the suite.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from include.embedding_etl.errors import ConfigError, TransientError

VARIABLE = "ETL_FAILPOINT"
MODES = ("before", "after", "lost", "stop")
DURABLE_WRITES = {
    "snapshot": "the listing, as Parquet under the state URI",
    "objects": "ledger.objects after identification",
    "collection_create": "a physical collection in Milvus",
    "collection_commit": "its row in ledger.collections",
    "alias": "the alias in Milvus",
    "candidate_state": "ledger.collections: a collection is a candidate from now on",
    "cutover_alias": "the alias in Milvus, switched to a candidate",
    "cutover_commit": "ledger.collections and ledger.cutovers: the candidate is live",
    "drop_collection": "a collection in Milvus that nobody reads, dropped",
    "drop_commit": "its row in ledger.collections",
    "shard": "a shard file under the state URI",
    "store_file": "vectors in the embedding store",
    "store_commit": "their rows in ledger.vectors",
    "dead_letters": "ledger.dead_letters",
    "embedded_file": "the list of what a shard embedded",
    "import_intent": "a mark under the state URI: a bulk import of a staged file may have begun",
    "import_file": "the staged file, for the Milvus server to read",
    "import_submit": "a bulk import in Milvus",
    "import_clear": "the staged file and its mark, when its rows are settled",
    "intend": "ledger.entries before the first upsert: how many rows may exist from now on",
    "upsert": "rows in Milvus",
    "stale_delete": "rows of an older version, beyond the new count",
    "entry_commit": "ledger.entries after verification",
    "purge_delete": "rows of vanished objects",
    "purge_commit": "their ledger.entries",
    "forget_objects": "tombstones that no collection needs any more",
    "distrust": "ledger.entries of objects whose rows are to be written again",
    "orphan_delete": "rows that no object accounts for",
    "store_forget": "ledger.vectors of files that are lost, or that nobody needs",
    "file_delete": "files under the state URI that nobody needs",
}
_hits: Counter[str] = Counter()


@contextmanager
def durable_write(name: str) -> Iterator[None]:
    """Mark the block as the durable write of that name.

    Raises:
        TransientError: the failpoint's mode is `lost` and it was its turn.
        ConfigError: ETL_FAILPOINT is set to something that does not exist.
    """
    if name not in DURABLE_WRITES:
        raise KeyError(name)
    mode = _mode_now(name)
    if mode == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    yield
    if mode == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "lost":
        raise TransientError(f"failpoint {name}: the reply was lost")


def _mode_now(name: str) -> str:
    """The mode to act in at this hit of `name`, or "" when it is not the failpoint's turn."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        return ""
    wanted, _, rest = value.partition(":")
    mode, _, turn = rest.partition(":")
    if wanted not in DURABLE_WRITES or mode not in MODES or not (turn or "1").isdigit():
        allowed = f"NAME:MODE or NAME:MODE:N, NAME one of {', '.join(DURABLE_WRITES)}, MODE one of {', '.join(MODES)}"
        raise ConfigError(f"{VARIABLE}: {value!r} is not a failpoint; allowed is {allowed}")
    if wanted != name:
        return ""
    _hits[name] += 1
    return mode if _hits[name] == int(turn or "1") else ""

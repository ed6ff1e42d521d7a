"""A complete listing as a Parquet file, in UTF-8 byte order of the key. There is no such thing as an unfinished one.

It may be one of the keys below a prefix: then it says so, is complete for them, and says nothing about others.

The listing first goes to a temporary Arrow file, in sorted runs. Only when its end was reached does the snapshot begin
to be written: copied as it is when the store listed in order, merged when it did not (SeaweedFS lists folder by
folder). So whatever interrupts a listing leaves nothing behind that could be taken for one, and memory stays flat.
Python compares strings by code point, which is the byte order of UTF-8.
"""

import heapq
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import pyarrow as pa

from include.embedding_etl.errors import IntegrityError, TransientError
from include.embedding_etl.state import StateStore
from include.embedding_etl.types import ListedObject

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("last_modified_ms", pa.int64(), nullable=False),
        pa.field("storage_class", pa.string(), nullable=False),
    ]
)
_METADATA_KEY = "snapshot"
_RUN_OBJECTS = 50_000  # sorted in memory: about 20 MB
_BATCH_OBJECTS = 1_000  # what a merge keeps in memory of each run
_by_key = attrgetter("key")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a complete listing held. Only `write_snapshot` and `read_snapshot` make one."""

    path: str  # below the state URI
    source_uri: str
    objects: int
    bytes: int
    complete: bool
    resorted: bool  # the store does not list in UTF-8 byte order
    token: int = 0  # of the lease it was listed under: a later listing has a greater one
    prefix: str = ""  # what all its keys begin with: of other keys it says nothing; "" = it is of the whole source


def write_snapshot(
    state: StateStore,
    path: str,
    source_uri: str,
    listing: Iterable[ListedObject],
    accept: Callable[[str], bool],
    token: int = 0,
    prefix: str = "",
) -> Snapshot:
    """Consume a listing to its end and keep it.

    Args:
        state: Where to.
        path: Below the state URI.
        source_uri: Recorded in the file.
        listing: In any order; whatever it raises passes through, and no file is left.
        accept: Whether a key belongs to the pipeline; the others are not recorded.
        token: Of the lease that the listing is made under.
        prefix: What was listed, if not the whole source.
    Raises:
        IntegrityError: a key was listed twice, or one that is not below the prefix.
        TransientError: no room for the temporary file, or the state's place did not take the snapshot.
    """
    with tempfile.TemporaryDirectory(prefix="embedding-etl-") as directory:
        spilled = Path(directory) / "listing.arrow"
        within = _within(prefix, listing, source_uri)
        runs, resorted = _spill(spilled, (listed for listed in within if accept(listed.key)))
        with pa.OSFile(str(spilled)) as file, state.writer(path, _SCHEMA) as writer:
            reader = pa.ipc.open_file(file)
            batches = _merged(reader, runs) if resorted else map(reader.get_batch, range(reader.num_record_batches))
            size_bytes = 0
            for batch in _without_duplicates(batches, source_uri):
                writer.write(batch)
                size_bytes += batch.column("size_bytes").to_numpy().sum().item()
            snapshot = Snapshot(path, source_uri, writer.rows, size_bytes, True, resorted, token, prefix)
            writer.set_metadata({_METADATA_KEY: json.dumps(_facts(snapshot))})
    return snapshot


def read_snapshot(state: StateStore, path: str) -> Snapshot:
    """What a snapshot holds, without reading its objects.

    Raises:
        IntegrityError: it is missing, damaged, not a snapshot, not complete, or its count is not that of its rows.
        TransientError, ConfigError: the state's place does not answer.
    """
    stored = state.metadata(path).get(_METADATA_KEY)
    if stored is None:
        raise IntegrityError(f"{state.uri_of(path)}: this is not a snapshot")
    snapshot = Snapshot(path=path, **json.loads(stored))
    if not snapshot.complete:
        raise IntegrityError(f"{state.uri_of(path)}: the listing was not complete: absent keys say nothing")
    if state.row_count(path) != snapshot.objects:
        raise IntegrityError(
            f"{state.uri_of(path)}: {snapshot.objects} objects announced, {state.row_count(path)} held"
        )
    return snapshot


def iter_snapshot(state: StateStore, snapshot: Snapshot) -> Iterator[ListedObject]:
    """The objects of a snapshot in UTF-8 byte order of the key, with flat memory.

    Raises:
        IntegrityError: the file is not what `snapshot` says. Raised at the end too: act only when it was reached.
        TransientError, ConfigError: the state's place does not answer.
    """
    if read_snapshot(state, snapshot.path) != snapshot:
        raise IntegrityError(f"{state.uri_of(snapshot.path)}: the file was replaced since it was looked at")
    objects = 0
    previous = ""
    for batch in state.iter_batches(snapshot.path):
        for listed in _within(snapshot.prefix, _objects_of(batch), state.uri_of(snapshot.path)):
            if listed.key <= previous and objects:
                raise IntegrityError(f"{state.uri_of(snapshot.path)}: {listed.key!r} is not in order")
            previous = listed.key
            objects += 1
            yield listed
    if objects != snapshot.objects:
        raise IntegrityError(f"{state.uri_of(snapshot.path)}: {snapshot.objects} objects announced, {objects} read")


def _facts(snapshot: Snapshot) -> dict[str, str | int | bool]:
    return {
        "source_uri": snapshot.source_uri,
        "objects": snapshot.objects,
        "bytes": snapshot.bytes,
        "complete": snapshot.complete,
        "resorted": snapshot.resorted,
        "token": snapshot.token,
        "prefix": snapshot.prefix,
    }


def _within(prefix: str, listing: Iterable[ListedObject], where: str) -> Iterator[ListedObject]:
    """Pass objects on.

    Raises:
        IntegrityError: a key is not below the prefix.
    """
    for listed in listing:
        if not listed.key.startswith(prefix):
            raise IntegrityError(f"{where}: {listed.key!r} is in a listing of the keys below {prefix!r}")
        yield listed


def _spill(path: Path, listing: Iterator[ListedObject]) -> tuple[list[range], bool]:
    """Write sorted runs to a temporary file.

    Returns:
        The numbers of each run's batches, and whether the listing was out of order.
    """
    runs: list[range] = []
    in_order, written, last_key = True, 0, ""
    with _room_for(path):
        writer = pa.ipc.new_file(str(path), _SCHEMA)
    try:
        while run := list(itertools.islice(listing, _RUN_OBJECTS)):
            keys = [listed.key for listed in run]
            if in_order:
                in_order = keys[0] >= last_key and all(map(str.__le__, keys, itertools.islice(keys, 1, None)))
                last_key = keys[-1]
            if not in_order:
                run.sort(key=_by_key)
            batches = [_batch_of(run[at : at + _BATCH_OBJECTS]) for at in range(0, len(run), _BATCH_OBJECTS)]
            for batch in batches:
                with _room_for(path):
                    writer.write_batch(batch)
            runs.append(range(written, written + len(batches)))
            written += len(batches)
    finally:
        with _room_for(path):
            writer.close()
    return runs, not in_order


@contextmanager
def _room_for(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransientError(f"{path.parent}: no room for the listing: {error}; set TMPDIR to another place") from error


def _merged(reader: pa.ipc.RecordBatchFileReader, runs: list[range]) -> Iterator[pa.RecordBatch]:
    streams = [_objects_of_run(reader, run) for run in runs]
    merged = heapq.merge(*streams, key=_by_key)
    while batch := list(itertools.islice(merged, _BATCH_OBJECTS)):
        yield _batch_of(batch)


def _objects_of_run(reader: pa.ipc.RecordBatchFileReader, run: range) -> Iterator[ListedObject]:
    for number in run:
        yield from _objects_of(reader.get_batch(number))


def _without_duplicates(batches: Iterable[pa.RecordBatch], source_uri: str) -> Iterator[pa.RecordBatch]:
    """Pass sorted batches on.

    Raises:
        IntegrityError: a key was listed twice.
    """
    previous: str | None = None
    for batch in batches:
        for key in batch.column("key").to_pylist():
            if key == previous:
                raise IntegrityError(f"{source_uri}: {key!r} was listed twice: no complete listing does that")
            previous = key
        yield batch


def _batch_of(objects: list[ListedObject]) -> pa.RecordBatch:
    columns = [
        [listed.key for listed in objects],
        [listed.etag for listed in objects],
        [listed.size_bytes for listed in objects],
        [listed.last_modified_ms for listed in objects],
        [listed.storage_class for listed in objects],
    ]
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )


def _objects_of(batch: pa.RecordBatch) -> Iterator[ListedObject]:
    return map(ListedObject, *(column.to_pylist() for column in batch.columns))

"""The state URI: snapshots, shard files and the embedding store, as Parquet files in a directory or a bucket prefix.

A file is there completely or not at all. Paths are ours, made of plain letters: never an object's key.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.places import Places
from include.embedding_etl.s3_credentials import S3Credentials, credentials_from
from include.embedding_etl.state_files import UNFINISHED, open_root, translated

_PATH = re.compile(r"(?!.*(^|/)\.\.?(/|$))[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")
_GROUP_ROWS = 65_536
_GROUP_BYTES = 32 << 20
_OURS = re.compile(rb"ARROW:schema|pandas")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file below the state URI, as it was listed."""

    path: str
    size_bytes: int
    modified_ms: int  # epoch


class TableWriter:
    """Takes record batches and writes them in row groups of a good size, with flat memory."""

    def __init__(self, writer: Any, schema: pa.Schema, uri: str) -> None:
        self._writer = writer
        self._schema = schema
        self._uri = uri
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append.

        Raises:
            TransientError, ConfigError: the place of the state does not take it.
        """
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._pending_rows >= _GROUP_ROWS or self._pending_bytes >= _GROUP_BYTES:
            self.flush()

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Facts known only at the end, such as counts; they become part of the file."""
        self._writer.add_key_value_metadata(dict(metadata))

    def flush(self) -> None:
        """Write what is pending as a row group."""
        if self._pending:
            with translated(self._uri):
                self._writer.write_table(pa.Table.from_batches(self._pending, self._schema))
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0


class StateStore:
    """Parquet files under one root. Safe to use from many threads at once; each file is written once, by one writer."""

    def __init__(self, uri: str, places: Places, credentials: S3Credentials | None = None) -> None:
        """Open the root. Nothing is created before the first file.

        Args:
            uri: s3://bucket/prefix, file:///path or a path; a relative one counts from the project's root.
            places: ETL_S3_* and AWS_*, for s3://.
            credentials: Instead of those in `places`.
        Raises:
            ConfigError: the URI or the credentials are not usable.
        """
        self._root = open_root(uri, credentials or credentials_from(places))

    def uri_of(self, path: str) -> str:
        """The full URI of a path, for people and lineage."""
        return self._root.uri_of(_checked(path))

    def exists(self, path: str) -> bool:
        """Whether the file is there, and so complete."""
        return self._root.exists(_checked(path))

    @contextmanager
    def writer(self, path: str, schema: pa.Schema) -> Iterator[TableWriter]:
        """Write one file batch by batch. It appears when the context is left; after an exception it never does.

        Raises:
            TransientError, ConfigError: the place of the state does not take it.
        """
        uri = self.uri_of(path)
        unfinished = self._root.unfinished_path(path, uuid.uuid4().hex)
        try:
            with translated(uri):
                self._root.make_parent(unfinished)
                stream = self._root.open_output(unfinished)
                # Vectors and keys hardly repeat: dictionaries would cost time and save nothing that zstd does not.
                options: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}
                parquet = pq.ParquetWriter(stream, schema, write_page_checksum=True, **options)
            try:
                table = TableWriter(parquet, schema, uri)
                yield table
                table.flush()
            finally:
                with translated(uri):
                    parquet.close()
                    stream.close()
            with translated(uri):
                self._root.publish(unfinished, path)
        except BaseException:
            self._root.discard(unfinished)
            raise

    def write_table(
        self,
        path: str,
        data: pa.Table | Iterable[pa.RecordBatch],
        schema: pa.Schema | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Write one file at once.

        Args:
            path: Below the state URI.
            data: A table, or record batches; then `schema` is required.
            schema: Of all batches.
            metadata: Goes into the file.
        Returns:
            The number of rows.
        Raises:
            TransientError, ConfigError: the place of the state does not take it.
        """
        table: pa.Table | None = data if isinstance(data, pa.Table) else None
        batches: Iterable[pa.RecordBatch] = data if table is None else table.to_batches()
        with self.writer(path, schema if table is None else table.schema) as writer:
            for batch in batches:
                writer.write(batch)
            writer.set_metadata(metadata or {})
            return writer.rows

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """The whole file.

        Raises:
            IntegrityError: it is missing, cut off or damaged.
            TransientError, ConfigError: the place of the state does not answer.
        """
        with self._open(path) as file, translated(self.uri_of(path)):
            return file.read(columns=columns)

    def iter_batches(
        self, path: str, columns: list[str] | None = None, batch_rows: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """The file in order, with flat memory.

        Raises:
            IntegrityError, TransientError, ConfigError: as `read_table`, perhaps only in the middle.
        """
        with self._open(path) as file:
            batches = file.iter_batches(batch_size=batch_rows, columns=columns, use_threads=False)
            while True:
                with translated(self.uri_of(path)):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

    def metadata(self, path: str) -> dict[str, str]:
        """The facts that the writer put into the file.

        Raises:
            IntegrityError, TransientError, ConfigError: as `read_table`.
        """
        with self._open(path) as file:
            stored: Mapping[bytes, bytes] = file.metadata.metadata or {}
        return {key.decode(): value.decode() for key, value in stored.items() if not _OURS.fullmatch(key)}

    def row_count(self, path: str) -> int:
        """The number of rows, from the file's end; no row is read.

        Raises:
            IntegrityError, TransientError, ConfigError: as `read_table`.
        """
        with self._open(path) as file:
            return int(file.metadata.num_rows)

    def delete_prefix(self, path: str) -> None:
        """Delete a folder of ours and everything in it; one that is not there is fine.

        Raises:
            TransientError, ConfigError: the place of the state does not do it.
        """
        with translated(self.uri_of(path)):
            self._root.delete_folder(path)

    def delete_file(self, path: str) -> None:
        """Delete one file; one that is not there is fine.

        Raises:
            TransientError, ConfigError: the place of the state does not do it.
        """
        with translated(self.uri_of(path)):
            self._root.delete_file(path)

    def list_files(self, folder: str) -> Iterator[StoredFile]:
        """All complete files of ours in a folder and below, folder by folder, with the memory of one folder.

        Raises:
            TransientError, ConfigError: the place of the state does not answer.
        """
        return (file for file in self._walk(_checked(folder)) if not _is_unfinished(file.path))

    def list_unfinished(self) -> Iterator[StoredFile]:
        """What writers that died have left; and what is being written now: look at its age.

        Raises:
            TransientError, ConfigError: the place of the state does not answer.
        """
        return (file for file in self._walk("") if _is_unfinished(file.path))

    def _walk(self, folder: str) -> Iterator[StoredFile]:
        with translated(self._root.uri_of(folder)):
            listed = self._root.list_folder(folder)
        for each in listed:
            path = f"{folder}/{each.name}".lstrip("/")
            if not _PATH.fullmatch(path):
                continue  # not ours: we neither count nor delete it
            if each.is_folder:
                yield from self._walk(path)
            else:
                yield StoredFile(path, each.size_bytes, each.modified_ms)

    @contextmanager
    def _open(self, path: str) -> Iterator[Any]:
        uri = self.uri_of(path)
        with translated(uri):
            source = self._root.open_input(path)
            # Reading ahead would keep all row groups in memory.
            file = pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)
        try:
            yield file
        finally:
            file.close(force=True)


def _is_unfinished(path: str) -> bool:
    return any(part.startswith(UNFINISHED) for part in path.split("/"))


def _checked(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise IntegrityError(f"{path!r} is not a path of ours: allowed are letters, digits and . _ = - between slashes")
    return path

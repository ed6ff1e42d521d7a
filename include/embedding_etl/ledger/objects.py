"""What the ledger knows about the objects of a pipeline."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa

from include.embedding_etl.ledger.database import Database, begins_with, execute_many, in_slices, replace_rows
from include.embedding_etl.ledger.records import ObjectCounts
from include.embedding_etl.ledger.tables import collections, entries, objects
from include.embedding_etl.types import ObjectRecord

# In the order of ObjectRecord's fields.
_RECORD = sa.select(
    objects.c.key,
    objects.c.etag,
    objects.c.size_bytes,
    objects.c.last_modified_ms,
    objects.c.media_type,
    objects.c.content_hash,
    objects.c.skip_reason,
    objects.c.vanished,
    objects.c.meta,
)


class Objects:
    """The `objects` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stream(self, pipeline: str, prefix: str = "") -> Iterator[ObjectRecord]:
        """All objects below a prefix in UTF-8 byte order of their keys, the vanished and the skipped included.

        Writing meanwhile is fine: what lies behind the current page of 5,000 is seen, what lies before it is not.
        """
        conditions = [objects.c.pipeline == pipeline, *begins_with(objects.c.key, prefix)]
        rows = self._database.stream(_RECORD.where(*conditions), objects.c.key)
        return (ObjectRecord(*row) for row in rows)

    def get(self, pipeline: str, key: str) -> ObjectRecord | None:
        """One object, if it is known."""
        with self._database.reading() as connection:
            row = connection.execute(_RECORD.where(objects.c.pipeline == pipeline, objects.c.key == key)).first()
        return None if row is None else ObjectRecord(*row)

    def get_many(self, pipeline: str, keys: Sequence[str]) -> dict[str, ObjectRecord]:
        """Those of some objects that are known, by key."""
        found: dict[str, ObjectRecord] = {}
        with self._database.reading() as connection:
            for some in in_slices(keys):
                rows = connection.execute(_RECORD.where(objects.c.pipeline == pipeline, objects.c.key.in_(some)))
                found.update((row[0], ObjectRecord(*row)) for row in rows)
        return found

    def page(self, pipeline: str, prefix: str = "", after: str = "", limit: int = 100) -> tuple[ObjectRecord, ...]:
        """The next objects in key order, the vanished and the skipped included.

        Args:
            pipeline: Whose objects.
            prefix: Only keys that begin so.
            after: The last key of the page before.
            limit: At most so many.
        """
        conditions = [objects.c.pipeline == pipeline, objects.c.key > after, *begins_with(objects.c.key, prefix)]
        statement = _RECORD.where(*conditions).order_by(objects.c.key).limit(limit)
        with self._database.reading() as connection:
            return tuple(ObjectRecord(*row) for row in connection.execute(statement))

    def put(self, pipeline: str, records: Iterable[ObjectRecord]) -> None:
        """Insert or replace."""
        rows = [
            {
                "pipeline": pipeline,
                "key": record.key,
                "etag": record.etag,
                "size_bytes": record.size_bytes,
                "last_modified_ms": record.last_modified_ms,
                "media_type": record.media_type,
                "content_hash": record.content_hash,
                "skip_reason": record.skip_reason,
                "vanished": record.vanished,
                "meta": dict(record.meta),
            }
            for record in records
        ]
        with self._database.writing() as connection:
            replace_rows(connection, objects, rows)

    def mark_vanished(self, pipeline: str, keys: Iterable[str]) -> None:
        """Turn objects into tombstones. The caller has seen a complete listing without them."""
        statement = sa.update(objects).where(objects.c.pipeline == pipeline, objects.c.key == sa.bindparam("gone"))
        with self._database.writing() as connection:
            execute_many(connection, statement.values(vanished=True), [{"gone": key} for key in sorted(keys)])

    def set_content(self, pipeline: str, contents: Iterable[tuple[str, str, str, Mapping[str, str]]]) -> None:
        """Write down what was found when the objects were read.

        Args:
            pipeline: Whose objects.
            contents: (key, etag, content_hash, meta); ignored where the ledger knows another etag by now.
        """
        statement = (
            sa.update(objects)
            .where(
                objects.c.pipeline == pipeline,
                objects.c.key == sa.bindparam("read_key"),
                objects.c.etag == sa.bindparam("read_etag"),
            )
            .values(content_hash=sa.bindparam("read_hash"), meta=sa.bindparam("read_meta", type_=objects.c.meta.type))
        )
        rows: Sequence[Mapping[str, object]] = [
            {"read_key": key, "read_etag": etag, "read_hash": content_hash, "read_meta": dict(meta)}
            for key, etag, content_hash, meta in sorted(contents, key=lambda content: content[:2])
        ]
        with self._database.writing() as connection:
            execute_many(connection, statement, rows)

    def delete_vanished(self, pipeline: str, prefix: str = "") -> int:
        """Forget the tombstones below a prefix that no collection of the pipeline has rows of any more.

        Returns:
            How many were forgotten.
        """
        indexed = (
            sa.select(entries.c.key)
            .join(collections, collections.c.name == entries.c.collection)
            .where(collections.c.pipeline == pipeline, entries.c.key == objects.c.key)
        )
        conditions = [objects.c.pipeline == pipeline, objects.c.vanished, *begins_with(objects.c.key, prefix)]
        statement = sa.delete(objects).where(*conditions, ~indexed.exists())
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount

    def counts(self, pipeline: str, prefix: str = "") -> ObjectCounts:
        """How many objects below a prefix are active, skipped and vanished."""
        condition = (objects.c.vanished, objects.c.skip_reason, objects.c.media_type)
        wanted = [objects.c.pipeline == pipeline, *begins_with(objects.c.key, prefix)]
        grouped = sa.select(*condition, sa.func.count()).where(*wanted).group_by(*condition)
        active: dict[str, int] = {}
        skipped: dict[str, int] = {}
        vanished = 0
        with self._database.reading() as connection:
            for is_vanished, skip_reason, media_type, count in connection.execute(grouped):
                if is_vanished:
                    vanished += count
                elif skip_reason:
                    skipped[skip_reason] = skipped.get(skip_reason, 0) + count
                else:
                    active[media_type] = count
        return ObjectCounts(active, skipped, vanished)

"""What the ledger believes and has verified about the rows of a collection. Every write is fenced by the lease."""

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from include.embedding_etl.ledger.database import (
    Database,
    begins_with,
    execute_many,
    in_slices,
    insert_into,
    now_ms,
    replace_rows,
)
from include.embedding_etl.ledger.leases import fenced
from include.embedding_etl.ledger.records import EntryTotals, Lease
from include.embedding_etl.ledger.tables import entries
from include.embedding_etl.types import Entry

# In the order of Entry's fields.
_ENTRY = sa.select(
    entries.c.key,
    entries.c.version,
    entries.c.last_modified_ms,
    entries.c.content_hash,
    entries.c.rows,
    entries.c.intended_rows,
    entries.c.run_id,
)


class Entries:
    """The `entries` table. The collection must have been recorded by `Collections.add`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stream(self, collection: str, prefix: str = "") -> Iterator[Entry]:
        """All entries below a prefix in UTF-8 byte order of their keys; writing meanwhile is fine, as for objects."""
        conditions = [entries.c.collection == collection, *begins_with(entries.c.key, prefix)]
        rows = self._database.stream(_ENTRY.where(*conditions), entries.c.key)
        return (Entry(*row) for row in rows)

    def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries of those keys that have one."""
        found: dict[str, Entry] = {}
        with self._database.reading() as connection:
            for some in in_slices(keys):
                statement = _ENTRY.where(entries.c.collection == collection, entries.c.key.in_(some))
                found.update((row[0], Entry(*row)) for row in connection.execute(statement))
        return found

    def of_object(self, collections: Sequence[str], key: str) -> dict[str, Entry]:
        """What is believed about one object, by collection; those that have nothing of it are left out."""
        statement = _ENTRY.add_columns(entries.c.collection).where(
            entries.c.collection.in_(collections), entries.c.key == key
        )
        with self._database.reading() as connection:
            return {row.collection: Entry(*row[:-1]) for row in connection.execute(statement)}

    def keys_of_run(
        self, collections: Sequence[str], run_id: str, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[str, ...]:
        """The next keys, in order, whose rows a run was the last to write in any of some collections.

        Args:
            collections: Real names.
            run_id: The run.
            prefix: Only keys that begin so.
            after: The last key of the page before.
            limit: At most so many.
        """
        found: set[str] = set()
        with self._database.reading() as connection:
            for collection in collections:
                conditions = [entries.c.collection == collection, entries.c.run_id == run_id, entries.c.key > after]
                statement = sa.select(entries.c.key).where(*conditions, *begins_with(entries.c.key, prefix))
                found.update(connection.execute(statement.order_by(entries.c.key).limit(limit)).scalars())
        return tuple(sorted(found)[:limit])  # code points sort like bytes of UTF-8

    def intend(self, lease: Lease, collection: str, intentions: Iterable[tuple[str, int]]) -> None:
        """Write down, before the first upsert, how many rows of an object may soon exist.

        Args:
            lease: The right to write to the collection.
            collection: Real name.
            intentions: (key, rows). Raises what was intended before, never lowers it, and leaves the version alone.
        Raises:
            TransientError: the lease was lost; nothing was written.
        """
        rows = [
            {
                "collection": collection,
                "key": key,
                "version": "",
                "last_modified_ms": 0,
                "content_hash": "",
                "rows": 0,
                "intended_rows": intended_rows,
                "run_id": "",
                "synced_at_ms": 0,
            }
            for key, intended_rows in sorted(intentions)
        ]
        with fenced(self._database, lease, collection) as connection:
            insert = insert_into(connection, entries)
            new = insert.excluded.intended_rows
            execute_many(
                connection,
                insert.on_conflict_do_update(
                    index_elements=entries.primary_key,
                    set_={"intended_rows": new},
                    where=new > entries.c.intended_rows,
                ),
                rows,
            )

    def commit(self, lease: Lease, collection: str, verified: Iterable[Entry]) -> None:
        """Claim rows that a Strong read has shown. `intended_rows` becomes `rows`: nothing else is left of an object.

        Raises:
            TransientError: the lease was lost; nothing was written.
        """
        at = now_ms()
        rows = [
            {
                "collection": collection,
                "key": entry.key,
                "version": entry.version,
                "last_modified_ms": entry.last_modified_ms,
                "content_hash": entry.content_hash,
                "rows": entry.rows,
                "intended_rows": entry.rows,
                "run_id": entry.run_id,
                "synced_at_ms": at,
            }
            for entry in verified
        ]
        with fenced(self._database, lease, collection) as connection:
            replace_rows(connection, entries, rows)

    def delete(self, lease: Lease, collection: str, keys: Iterable[str]) -> None:
        """Forget objects whose rows are verified to be gone.

        Raises:
            TransientError: the lease was lost; nothing was written.
        """
        statement = sa.delete(entries).where(
            entries.c.collection == collection, entries.c.key == sa.bindparam("gone", type_=entries.c.key.type)
        )
        with fenced(self._database, lease, collection) as connection:
            execute_many(connection, statement, [{"gone": key} for key in sorted(keys)])

    def forget_versions(self, lease: Lease, collection: str) -> None:
        """Make the next run write every row again. What may exist in Milvus stays known.

        Raises:
            TransientError: the lease was lost; nothing was written.
        """
        with fenced(self._database, lease, collection) as connection:
            connection.execute(sa.update(entries).where(entries.c.collection == collection).values(version=""))

    def distrust(self, collection: str, written: Iterable[tuple[str, int]]) -> None:
        """Make the next run write these objects again: somebody without the lease has written rows of theirs.

        Needs no lease, since it claims nothing: it can only cause work.

        Args:
            written: (key, how many rows of it may exist now because of that).
        """
        rows = [
            {
                "collection": collection,
                "key": key,
                "version": "",
                "last_modified_ms": 0,
                "content_hash": "",
                "rows": 0,
                "intended_rows": intended_rows,
                "run_id": "",
                "synced_at_ms": 0,
            }
            for key, intended_rows in sorted(written)
        ]
        with self._database.writing() as connection:
            insert = insert_into(connection, entries)
            new = insert.excluded.intended_rows
            larger = sa.case((new > entries.c.intended_rows, new), else_=entries.c.intended_rows)
            statement = insert.on_conflict_do_update(
                index_elements=entries.primary_key, set_={"version": "", "intended_rows": larger}
            )
            execute_many(connection, statement, rows)

    def totals(self, collection: str, prefix: str = "") -> EntryTotals:
        """What is claimed about the objects below a prefix, and how much is unfinished."""
        is_unfinished = sa.or_(entries.c.version == "", entries.c.intended_rows != entries.c.rows)
        statement = sa.select(
            sa.func.count().filter(entries.c.version != ""),
            sa.func.coalesce(sa.func.sum(entries.c.rows), 0),
            sa.func.count().filter(is_unfinished),
        ).where(entries.c.collection == collection, *begins_with(entries.c.key, prefix))
        with self._database.reading() as connection:
            objects, rows, unfinished = connection.execute(statement).one()
        return EntryTotals(objects, int(rows), unfinished)

    def stamp(self, collection: str) -> tuple[int, int, int]:
        """Objects, rows and the newest commit: while it stays the same, so do the rows."""
        newest = sa.func.coalesce(sa.func.max(entries.c.synced_at_ms), 0)
        statement = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(entries.c.rows), 0), newest)
        with self._database.reading() as connection:
            objects, rows, at_ms = connection.execute(statement.where(entries.c.collection == collection)).one()
        return objects, int(rows), at_ms

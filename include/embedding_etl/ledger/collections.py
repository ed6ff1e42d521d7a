"""Which physical collections there are, which one is live, and when that changed."""

import sqlalchemy as sa

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.ledger.database import Database, Row, insert_into, now_ms
from include.embedding_etl.ledger.records import CollectionRecord, CollectionState, Cutover
from include.embedding_etl.ledger.tables import collections, cutovers, entries


class Collections:
    """The `collections` and `cutovers` tables: at most one live collection per pipeline and lane."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def live(self, pipeline: str, lane: str) -> CollectionRecord | None:
        """The collection that the lane's alias should point at."""
        found = self._select(
            collections.c.pipeline == pipeline, collections.c.lane == lane, collections.c.state == "live"
        )
        return found[0] if found else None

    def get(self, name: str) -> CollectionRecord | None:
        """One collection, also one that was dropped."""
        found = self._select(collections.c.name == name)
        return found[0] if found else None

    def of_pipeline(self, pipeline: str) -> list[CollectionRecord]:
        """All collections of a pipeline that were not dropped, by lane, the oldest first."""
        return self._select(collections.c.pipeline == pipeline, collections.c.dropped_at_ms.is_(None))

    def history(self, pipeline: str) -> list[CollectionRecord]:
        """All collections that a pipeline ever had, by lane, the oldest first."""
        return self._select(collections.c.pipeline == pipeline)

    def of_fingerprint(self, fingerprint: str) -> list[CollectionRecord]:
        """All collections of a fingerprint in any pipeline, dropped ones too."""
        return self._select(collections.c.fingerprint == fingerprint)

    def add(self, record: CollectionRecord) -> None:
        """Record a collection; quietly succeeds where a retried task records the same one again.

        Raises:
            IntegrityError: the name is taken by a different one, or the lane has a live collection already.
        """
        values = {
            "name": record.name,
            "pipeline": record.pipeline,
            "lane": record.lane,
            "fingerprint": record.fingerprint,
            "settings": dict(record.settings),
            "state": record.state,
            "created_at_ms": record.created_at_ms,
        }
        with self._database.writing() as connection:
            insert = insert_into(connection, collections).values(values)
            connection.execute(insert.on_conflict_do_nothing(index_elements=[collections.c.name]))
            row = connection.execute(sa.select(collections).where(collections.c.name == record.name)).one()
        known = _record(row)
        if _identity(known) != _identity(record):
            raise IntegrityError(
                f"collection {record.name} is recorded with other settings already: make a new name with next_number"
            )

    def next_number(self, pipeline: str, lane: str) -> int:
        """The number for the name of the lane's next collection: one more than the greatest so far."""
        statement = sa.select(collections.c.name).where(collections.c.pipeline == pipeline, collections.c.lane == lane)
        with self._database.reading() as connection:
            suffixes = [name.rpartition("_")[2] for name in connection.scalars(statement)]
        return max((int(suffix) for suffix in suffixes if suffix.isdecimal()), default=0) + 1

    def set_state(self, name: str, state: CollectionState, drop_after_ms: int | None = None) -> None:
        """Say what a collection is from now on, and when it may be dropped.

        Raises:
            IntegrityError: there is no such collection, or the lane has another live one: see `cut_over`.
        """
        with self._database.writing() as connection:
            _set_state(connection, name, state, drop_after_ms)

    def mark_dropped(self, name: str) -> None:
        """It is gone from Milvus: forget what was believed about its rows, keep its history.

        Raises:
            IntegrityError: there is no such collection, or it is live.
        """
        with self._database.writing() as connection:
            state = connection.scalar(sa.select(collections.c.state).where(collections.c.name == name))
            if state not in ("candidate", "retired"):
                raise IntegrityError(f"{name} is {state or 'not in the ledger'}: only candidates and retired ones go")
            connection.execute(sa.delete(entries).where(entries.c.collection == name))
            gone = {"state": "retired", "dropped_at_ms": now_ms()}
            connection.execute(sa.update(collections).where(collections.c.name == name).values(**gone))

    def cut_over(
        self, alias: str, from_name: str | None, to_name: str, run_id: str, drop_after_ms: int | None = None
    ) -> None:
        """Retire one collection and make another one live, in one transaction, and remember it.

        Args:
            alias: Which points at `to_name` by now.
            from_name: None where there was none.
            to_name: Live from now on.
            run_id: Who did it.
            drop_after_ms: Until when the retired one stays, for going back; None = until somebody drops it.

        Raises:
            IntegrityError: one of them is not recorded, or the lane's live collection is a third one.
        """
        with self._database.writing() as connection:
            if from_name is not None:
                _set_state(connection, from_name, "retired", drop_after_ms)
            _set_state(connection, to_name, "live")
            switch = {"alias": alias, "from_name": from_name, "to_name": to_name, "run_id": run_id, "at_ms": now_ms()}
            connection.execute(sa.insert(cutovers).values(switch))

    def cutovers(self, alias: str) -> list[Cutover]:
        """All switches of an alias, the newest first."""
        statement = sa.select(
            cutovers.c.alias, cutovers.c.from_name, cutovers.c.to_name, cutovers.c.run_id, cutovers.c.at_ms
        ).where(cutovers.c.alias == alias)
        with self._database.reading() as connection:
            return [Cutover(*row) for row in connection.execute(statement.order_by(cutovers.c.id.desc()))]

    def _select(self, *conditions: sa.ColumnElement[bool]) -> list[CollectionRecord]:
        order = (collections.c.lane, collections.c.created_at_ms, collections.c.name)
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(collections).where(*conditions).order_by(*order))
            return [_record(row) for row in rows]


def _set_state(connection: sa.Connection, name: str, state: CollectionState, drop_after_ms: int | None = None) -> None:
    there = (collections.c.name == name, collections.c.dropped_at_ms.is_(None))
    update = sa.update(collections).where(*there).values(state=state, drop_after_ms=drop_after_ms)
    if connection.execute(update).rowcount == 0:
        raise IntegrityError(f"the ledger knows no collection {name}, or it was dropped")


def _record(row: Row) -> CollectionRecord:
    return CollectionRecord(
        row.name,
        row.pipeline,
        row.lane,
        row.fingerprint,
        row.settings,
        row.state,
        row.created_at_ms,
        row.drop_after_ms,
        row.dropped_at_ms,
    )


def _identity(record: CollectionRecord) -> tuple[object, ...]:
    return (record.pipeline, record.lane, record.fingerprint, dict(record.settings))

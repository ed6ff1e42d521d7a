"""How far a lane's collection is, counted by the database: for pages that must not read every object.

It answers by SQL what `lane_changes` decides object by object; a test holds the two against each other.
"""

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from include.embedding_etl.ledger.database import Database
from include.embedding_etl.ledger.records import CollectionRecord, LaneFigures
from include.embedding_etl.ledger.tables import OPEN, dead_letters, entries, objects

_CURRENT = sa.and_(
    entries.c.version == objects.c.etag,
    entries.c.last_modified_ms == objects.c.last_modified_ms,
    entries.c.rows == entries.c.intended_rows,
)


class LaneCounts:
    """Counts over `objects`, `entries` and `dead_letters` together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_collection(
        self,
        record: CollectionRecord,
        media_types: Sequence[str],
        limits_hash: str,
        look_again: Collection[str],
    ) -> LaneFigures:
        """Where the objects of a lane stand in one of its collections.

        Args:
            record: The collection.
            media_types: Those that the lane accepts, among those that there are.
            limits_hash: Of the limits in force: letters of other limits hold nothing back.
            look_again: Skip reasons of objects whose rows stay until the next run has looked at them.
        """
        is_held = sa.and_(objects.c.skip_reason.in_(look_again), ~objects.c.vanished)
        state = sa.case(
            (is_held, "deferred"),
            (_CURRENT, "indexed"),
            else_=sa.func.coalesce(_letter(record, limits_hash), "pending"),
        ).label("state")
        is_routed = sa.and_(objects.c.skip_reason == "", objects.c.media_type.in_(media_types))
        joined = objects.outerjoin(
            entries, sa.and_(entries.c.collection == record.name, entries.c.key == objects.c.key)
        )
        statement = (
            sa.select(state, sa.func.count(), sa.func.count(entries.c.key), sa.func.min(objects.c.last_modified_ms))
            .select_from(joined)
            .where(objects.c.pipeline == record.pipeline, ~objects.c.vanished, sa.or_(is_routed, is_held))
            .group_by(state)
        )
        is_unfinished = sa.or_(entries.c.version == "", entries.c.intended_rows != entries.c.rows)
        claims = sa.select(
            sa.func.count(), sa.func.coalesce(sa.func.sum(entries.c.rows), 0), sa.func.count().filter(is_unfinished)
        ).where(entries.c.collection == record.name)
        with self._database.reading() as connection:
            rows = {row[0]: row for row in connection.execute(statement)}
            claimed, verified, unfinished = connection.execute(claims).one()
        counts = {name: row[1] for name, row in rows.items()}
        return LaneFigures(
            routed=sum(counts.values()) - counts.get("deferred", 0),
            indexed=counts.get("indexed", 0),
            pending=counts.get("pending", 0),
            to_delete=claimed - sum(row[2] for row in rows.values()),
            dead_letters=counts.get("dead", 0),
            dismissed=counts.get("dismissed", 0),
            deferred=counts.get("deferred", 0),
            oldest_pending_ms=rows["pending"][3] if "pending" in rows else None,
            rows=int(verified),
            unfinished=unfinished,
        )


def _letter(record: CollectionRecord, limits_hash: str) -> sa.ScalarSelect[str]:
    """Dead or dismissed, where an open letter holds back exactly this version; looked up only where it matters."""
    is_dismissed = dead_letters.c.dismissed_at_ms.is_not(None)
    return (
        sa.select(sa.case((is_dismissed, "dismissed"), else_="dead"))
        .where(
            dead_letters.c.pipeline == record.pipeline,
            dead_letters.c.lane == record.lane,
            dead_letters.c.fingerprint == record.fingerprint,
            dead_letters.c.key == objects.c.key,
            OPEN,
            dead_letters.c.version == objects.c.etag,
            sa.or_(dead_letters.c.limits_hash.is_(None), dead_letters.c.limits_hash == limits_hash),
            sa.or_(dead_letters.c.attempts > 0, is_dismissed),
        )
        .correlate(objects)
        .scalar_subquery()
    )

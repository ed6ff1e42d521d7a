"""How far a lane's collection is, counted by the database: for pages that must not read every object.

It answers by SQL what `lane_changes` decides object by object; a test holds the two against each other.
"""

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from include.embedding_etl.ledger.database import Database
from include.embedding_etl.ledger.records import CollectionRecord, LaneFigures
from include.embedding_etl.ledger.tables import OPEN, dead_letters, entries, objects

_NOT_CURRENT = sa.or_(
    entries.c.key.is_(None),
    entries.c.version != objects.c.etag,
    entries.c.last_modified_ms != objects.c.last_modified_ms,
    entries.c.rows != entries.c.intended_rows,
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
        is_there = sa.and_(objects.c.pipeline == record.pipeline, ~objects.c.vanished)
        is_routed = sa.and_(objects.c.skip_reason == "", objects.c.media_type.in_(media_types))
        is_held = objects.c.skip_reason.in_(look_again)
        state = sa.case((is_held, "deferred"), else_=sa.func.coalesce(_letter(record, limits_hash), "pending")).label(
            "state"
        )
        joined = objects.outerjoin(
            entries, sa.and_(entries.c.collection == record.name, entries.c.key == objects.c.key)
        )
        # Nearly all objects are indexed: what is grouped are the others.
        statement = (
            sa.select(state, sa.func.count(), sa.func.count(entries.c.key), sa.func.min(objects.c.last_modified_ms))
            .select_from(joined)
            .where(is_there, sa.or_(is_held, sa.and_(is_routed, _NOT_CURRENT)))
            .group_by(state)
        )
        all_routed = sa.select(sa.func.count()).select_from(objects).where(is_there, is_routed)
        is_unfinished = sa.or_(entries.c.version == "", entries.c.intended_rows != entries.c.rows)
        claims = sa.select(
            sa.func.count(), sa.func.coalesce(sa.func.sum(entries.c.rows), 0), sa.func.count().filter(is_unfinished)
        ).where(entries.c.collection == record.name)
        with self._database.reading() as connection:
            others = {row[0]: row for row in connection.execute(statement)}
            routed = connection.execute(all_routed).scalar_one()
            claimed, verified, unfinished = connection.execute(claims).one()
        counts = {name: row[1] for name, row in others.items()}
        indexed = routed - sum(counts.values()) + counts.get("deferred", 0)
        return LaneFigures(
            routed=routed,
            indexed=indexed,
            pending=counts.get("pending", 0),
            to_delete=claimed - indexed - sum(row[2] for row in others.values()),
            dead_letters=counts.get("dead", 0),
            dismissed=counts.get("dismissed", 0),
            deferred=counts.get("deferred", 0),
            oldest_pending_ms=others["pending"][3] if "pending" in others else None,
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

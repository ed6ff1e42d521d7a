"""Objects that could not be processed: why, how often, and what became of them.

A letter is open until its object was processed or is gone. A dismissed letter is an open one that asks nothing of
anybody: a person has said that this version will do without.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa

from include.embedding_etl.ledger.database import (
    Database,
    Row,
    begins_with,
    execute_many,
    in_slices,
    insert_into,
    now_ms,
)
from include.embedding_etl.ledger.records import ClassFigures, DeadLetter, Letter, LetterFilter, LetterState
from include.embedding_etl.ledger.stored_text import readable
from include.embedding_etl.ledger.tables import OPEN, dead_letters
from include.embedding_etl.redaction import redact

MESSAGE_CHARACTERS = 2_000
REASON_CHARACTERS = 500
DAY_MS = 86_400_000
_DISMISSED = dead_letters.c.dismissed_at_ms.is_not(None)
_STATES: dict[LetterState, sa.ColumnElement[bool]] = {
    "open": sa.and_(OPEN, ~_DISMISSED),
    "dismissed": sa.and_(OPEN, _DISMISSED),
    "unresolved": OPEN,
    "resolved": ~OPEN,
    "all": sa.true(),
}
_IDENTITY = ("pipeline", "lane", "fingerprint", "key")  # of the one letter that may be open

# In the order of DeadLetter's fields.
_LETTER = sa.select(
    dead_letters.c.id,
    dead_letters.c.pipeline,
    dead_letters.c.lane,
    dead_letters.c.key,
    dead_letters.c.version,
    dead_letters.c.fingerprint,
    dead_letters.c.stage,
    dead_letters.c.error_class,
    dead_letters.c.message,
    dead_letters.c.attempts,
    dead_letters.c.first_at_ms,
    dead_letters.c.last_at_ms,
    dead_letters.c.resolved_at_ms,
    dead_letters.c.run_id,
    dead_letters.c.task,
    dead_letters.c.dismissed_at_ms,
    dead_letters.c.limits_hash,
    dead_letters.c.dismiss_reason,
    dead_letters.c.dismissed_by,
)


class DeadLetters:
    """The `dead_letters` table: at most one open letter per pipeline, lane, fingerprint and key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, pipeline: str, lane: str, fingerprint: str, letters: Iterable[Letter]) -> None:
        """Open letters, or count another attempt where the same version failed with the same fingerprint before.

        A letter about another version is resolved by its successor. Secrets in a message are blotted out here, so that
        no way leads around it.
        """
        at = now_ms()
        rows = [
            {
                "pipeline": pipeline,
                "lane": lane,
                "key": letter.key,
                "version": letter.version,
                "fingerprint": fingerprint,
                "stage": letter.stage,
                "error_class": letter.error_class,
                "message": readable(redact(letter.message))[:MESSAGE_CHARACTERS],
                "attempts": 1,
                "first_at_ms": at,
                "last_at_ms": at,
                "run_id": letter.run_id,
                "task": letter.task,
                "limits_hash": letter.limits_hash,
            }
            for letter in sorted(letters, key=lambda letter: letter.key)
        ]
        overtaken = sa.update(dead_letters).where(
            *_open_in(pipeline, lane, fingerprint),
            dead_letters.c.key == sa.bindparam("failed_key"),
            dead_letters.c.version != sa.bindparam("failed_version"),
        )
        with self._database.writing() as connection:
            failed = [{"failed_key": row["key"], "failed_version": row["version"]} for row in rows]
            execute_many(connection, overtaken.values(resolved_at_ms=at), failed)
            insert = insert_into(connection, dead_letters)
            again = {
                name: insert.excluded[name]
                for name in ("stage", "error_class", "message", "last_at_ms", "run_id", "task", "limits_hash")
            }
            statement = insert.on_conflict_do_update(
                index_elements=[dead_letters.c[name] for name in _IDENTITY],
                index_where=OPEN,
                set_={**again, "attempts": dead_letters.c.attempts + 1},
            )
            execute_many(connection, statement, rows)

    def resolve(self, pipeline: str, lane: str, keys: Iterable[str], fingerprint: str | None = None) -> None:
        """Close the open letters of objects that were processed with a fingerprint; without one, of any."""
        statement = sa.update(dead_letters).where(
            *_open_in(pipeline, lane, fingerprint), dead_letters.c.key == sa.bindparam("solved_key")
        )
        with self._database.writing() as connection:
            solved = [{"solved_key": key} for key in sorted(keys)]
            execute_many(connection, statement.values(resolved_at_ms=now_ms()), solved)

    def resolve_fingerprint(self, pipeline: str, lane: str, fingerprint: str) -> int:
        """Close all open letters of a fingerprint that no collection is converged with any more."""
        statement = sa.update(dead_letters).where(*_open_in(pipeline, lane, fingerprint))
        with self._database.writing() as connection:
            return connection.execute(statement.values(resolved_at_ms=now_ms())).rowcount

    def reset(self, ids: Sequence[int]) -> int:
        """Let open letters be tried again, dismissed ones too, by setting their attempts to 0.

        Returns:
            How many of them are due now; those that were resolved meanwhile are not.
        """
        return self._update_open(ids, attempts=0, dismissed_at_ms=None, dismiss_reason=None, dismissed_by=None)

    def dismiss(self, ids: Sequence[int], reason: str = "", by: str = "") -> int:
        """Mark open letters as asking nothing of anybody. Their objects stay held back until they change.

        Args:
            ids: Of letters; those that are not open are passed over.
            reason: Why nobody needs them, kept with the letters; secrets are blotted out.
            by: Who says so.
        Returns:
            How many were open.
        """
        reason = readable(redact(reason))[:REASON_CHARACTERS]
        return self._update_open(ids, dismissed_at_ms=now_ms(), dismiss_reason=reason, dismissed_by=by)

    def get(self, letter_id: int) -> DeadLetter | None:
        """One letter, in whatever state."""
        found = self.list(LetterFilter(state="all", ids=[letter_id]), limit=1)
        return found[0] if found else None

    def open_for(self, pipeline: str, lane: str, fingerprint: str, prefix: str = "") -> Iterator[DeadLetter]:
        """The open letters of a lane and fingerprint below a prefix, dismissed ones too, in byte order of keys."""
        return self._stream(*_open_in(pipeline, lane, fingerprint), *begins_with(dead_letters.c.key, prefix))

    def dismissed_for(self, pipeline: str, lane: str, fingerprint: str, prefix: str = "") -> Iterator[DeadLetter]:
        """The dismissed ones among `open_for`, in the same order."""
        within = begins_with(dead_letters.c.key, prefix)
        return self._stream(*_open_in(pipeline, lane, fingerprint), *within, _DISMISSED)

    def still_open(self, ids: Sequence[int]) -> Iterator[DeadLetter]:
        """What is open now about the objects of these letters: the same letters, or those that took their place."""
        asked = dead_letters.alias("asked")
        same = (asked.c[name] == dead_letters.c[name] for name in _IDENTITY)
        statement = _LETTER.select_from(dead_letters.join(asked, sa.and_(*same))).where(OPEN)
        for some in in_slices(ids):
            with self._database.reading() as connection:
                rows: Sequence[Row] = connection.execute(statement.where(asked.c.id.in_(some))).all()
            yield from (DeadLetter(*row) for row in rows)

    def counts(self, pipeline: str, fingerprints: Mapping[str, str] | None = None) -> dict[str, dict[str, int]]:
        """Open letters that are not dismissed, as {lane: {error_class: how many}}.

        Args:
            pipeline: Whose.
            fingerprints: For each lane that is meant, which fingerprint; None = all lanes, all fingerprints.
        """
        names = (dead_letters.c.lane, dead_letters.c.error_class)
        conditions = _conditions(LetterFilter(pipeline, fingerprints=fingerprints))
        statement = sa.select(*names, sa.func.count()).where(*conditions).group_by(*names).order_by(*names)
        counts: dict[str, dict[str, int]] = {}
        with self._database.reading() as connection:
            for lane, error_class, count in connection.execute(statement):
                counts.setdefault(lane, {})[error_class] = count
        return counts

    def open_of_keys(self, pipeline: str, lane: str, fingerprint: str, keys: Sequence[str]) -> Mapping[str, DeadLetter]:
        """The open letters of some objects, dismissed ones too, by key."""
        found: dict[str, DeadLetter] = {}
        with self._database.reading() as connection:
            for some in in_slices(keys):
                statement = _LETTER.where(*_open_in(pipeline, lane, fingerprint), dead_letters.c.key.in_(some))
                rows: Iterable[Row] = connection.execute(statement)
                found.update((row.key, DeadLetter(*row)) for row in rows)
        return found

    def figures(self, wanted: LetterFilter, since_ms: int) -> Sequence[ClassFigures]:
        """The letters of a choice by error class, those with most letters first.

        Args:
            wanted: Which letters.
            since_ms: From when on `new_by_day` counts.
        """
        day = sa.case((dead_letters.c.first_at_ms >= since_ms, dead_letters.c.first_at_ms // DAY_MS), else_=None)
        statement = (
            sa.select(dead_letters.c.error_class, day, sa.func.count(), sa.func.max(dead_letters.c.last_at_ms))
            .where(*_conditions(wanted))
            .group_by(dead_letters.c.error_class, sa.text("2"))
        )
        with self._database.reading() as connection:
            rows: Sequence[Row] = connection.execute(statement).all()
        figures = [
            ClassFigures(
                name,
                sum(row[2] for row in rows if row[0] == name),
                max(row[3] for row in rows if row[0] == name),
                {int(row[1]): row[2] for row in rows if row[0] == name and row[1] is not None},
            )
            for name in {row[0] for row in rows}
        ]
        return sorted(figures, key=lambda one: (-one.letters, one.error_class))

    def list(self, wanted: LetterFilter, before_id: int | None = None, limit: int = 100) -> tuple[DeadLetter, ...]:
        """One page of letters, the newest first. `before_id` is the id of the last letter of the page before."""
        conditions = _conditions(wanted)
        if before_id is not None:
            conditions.append(dead_letters.c.id < before_id)
        statement = _LETTER.where(*conditions).order_by(dead_letters.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            rows: Iterable[Row] = connection.execute(statement)
            return tuple(DeadLetter(*row) for row in rows)

    def _stream(self, *conditions: sa.ColumnElement[bool]) -> Iterator[DeadLetter]:
        rows = self._database.stream(_LETTER.where(*conditions), dead_letters.c.key)
        return (DeadLetter(*row) for row in rows)

    def _update_open(self, ids: Sequence[int], **values: int | str | None) -> int:
        statement = sa.update(dead_letters).where(OPEN).values(**values)
        with self._database.writing() as connection:
            slices = [statement.where(dead_letters.c.id.in_(some)) for some in in_slices(ids)]
            return sum(connection.execute(one).rowcount for one in slices)


def _open_in(pipeline: str, lane: str, fingerprint: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    same = () if fingerprint is None else (dead_letters.c.fingerprint == fingerprint,)
    return (dead_letters.c.pipeline == pipeline, dead_letters.c.lane == lane, *same, OPEN)


def _conditions(wanted: LetterFilter) -> list[sa.ColumnElement[bool]]:
    names = ("pipeline", "lane", "error_class", "stage", "key")
    asked = [(name, getattr(wanted, name)) for name in names]
    conditions = [dead_letters.c[name] == value for name, value in asked if value is not None]
    conditions.append(_STATES[wanted.state])
    conditions += begins_with(dead_letters.c.key, wanted.key_prefix)
    if wanted.since_ms is not None:
        conditions.append(dead_letters.c.last_at_ms >= wanted.since_ms)
    if wanted.ids is not None:
        conditions.append(dead_letters.c.id.in_(wanted.ids))
    if wanted.fingerprints is not None:
        lanes = [
            sa.and_(dead_letters.c.lane == lane, dead_letters.c.fingerprint == fingerprint)
            for lane, fingerprint in wanted.fingerprints.items()
        ]
        conditions.append(sa.or_(sa.false(), *lanes))
    return conditions

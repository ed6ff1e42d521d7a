"""Objects that could not be processed: why, how often, and what became of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import sqlalchemy as sa

from include.embedding_etl.ledger.database import Database, Row, execute_many, in_slices, insert_into, now_ms
from include.embedding_etl.ledger.records import DeadLetter, Letter
from include.embedding_etl.ledger.tables import OPEN, dead_letters

LetterState: TypeAlias = Literal["open", "resolved", "all"]
MESSAGE_CHARACTERS = 2_000
_STATES: dict[LetterState, sa.ColumnElement[bool]] = {"open": OPEN, "resolved": ~OPEN, "all": sa.true()}

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
)


class DeadLetters:
    """The `dead_letters` table: at most one open letter per pipeline, lane, fingerprint and key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, pipeline: str, lane: str, fingerprint: str, letters: Iterable[Letter]) -> None:
        """Open letters, or count another attempt where the same version failed with the same fingerprint before.

        A letter about another version is resolved by its successor.
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
                "message": letter.message[:MESSAGE_CHARACTERS],
                "attempts": 1,
                "first_at_ms": at,
                "last_at_ms": at,
                "run_id": letter.run_id,
                "task": letter.task,
            }
            for letter in letters
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
                for name in ("stage", "error_class", "message", "last_at_ms", "run_id", "task")
            }
            statement = insert.on_conflict_do_update(
                index_elements=[
                    dead_letters.c.pipeline,
                    dead_letters.c.lane,
                    dead_letters.c.fingerprint,
                    dead_letters.c.key,
                ],
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
            solved = [{"solved_key": key} for key in keys]
            execute_many(connection, statement.values(resolved_at_ms=now_ms()), solved)

    def resolve_fingerprint(self, pipeline: str, lane: str, fingerprint: str) -> int:
        """Close all open letters of a fingerprint that no collection is converged with any more."""
        statement = sa.update(dead_letters).where(*_open_in(pipeline, lane, fingerprint))
        with self._database.writing() as connection:
            return connection.execute(statement.values(resolved_at_ms=now_ms())).rowcount

    def open_for(self, pipeline: str, lane: str, fingerprint: str) -> Iterator[DeadLetter]:
        """The open letters of a lane and fingerprint, dismissed ones too, in UTF-8 byte order of their keys."""
        rows = self._database.stream(_LETTER.where(*_open_in(pipeline, lane, fingerprint)), dead_letters.c.key)
        return (DeadLetter(*row) for row in rows)

    def counts(self, pipeline: str) -> dict[str, dict[str, int]]:
        """Open letters as {lane: {error_class: how many}}."""
        names = (dead_letters.c.lane, dead_letters.c.error_class)
        statement = sa.select(*names, sa.func.count()).where(dead_letters.c.pipeline == pipeline, OPEN)
        counts: dict[str, dict[str, int]] = {}
        with self._database.reading() as connection:
            for lane, error_class, count in connection.execute(statement.group_by(*names).order_by(*names)):
                counts.setdefault(lane, {})[error_class] = count
        return counts

    def reset(
        self,
        pipeline: str,
        lane: str | None = None,
        error_class: str | None = None,
        stage: str | None = None,
        keys: Sequence[str] | None = None,
    ) -> int:
        """Let open letters be tried again, by setting their attempts to 0; filters narrow down which ones.

        Returns:
            How many letters were waiting and are now due.
        """
        conditions = _filters(pipeline=pipeline, lane=lane, error_class=error_class, stage=stage)
        statement = sa.update(dead_letters).where(*conditions, OPEN, dead_letters.c.attempts > 0).values(attempts=0)
        with self._database.writing() as connection:
            if keys is None:
                return connection.execute(statement).rowcount
            slices = [statement.where(dead_letters.c.key.in_(some)) for some in in_slices(keys)]
            return sum(connection.execute(one).rowcount for one in slices)

    def list(
        self,
        pipeline: str | None = None,
        lane: str | None = None,
        error_class: str | None = None,
        stage: str | None = None,
        key: str | None = None,
        state: LetterState = "open",
        before_id: int | None = None,
        limit: int = 100,
    ) -> tuple[DeadLetter, ...]:
        """One page of letters, the newest first. `before_id` is the id of the last letter of the page before."""
        conditions = [
            *_filters(pipeline=pipeline, lane=lane, error_class=error_class, stage=stage, key=key),
            _STATES[state],
        ]
        if before_id is not None:
            conditions.append(dead_letters.c.id < before_id)
        statement = _LETTER.where(*conditions).order_by(dead_letters.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            rows: Iterable[Row] = connection.execute(statement)
            return tuple(DeadLetter(*row) for row in rows)


def _open_in(pipeline: str, lane: str, fingerprint: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    same = () if fingerprint is None else (dead_letters.c.fingerprint == fingerprint,)
    return (dead_letters.c.pipeline == pipeline, dead_letters.c.lane == lane, *same, OPEN)


def _filters(**values: str | None) -> Sequence[sa.ColumnElement[bool]]:
    return [dead_letters.c[name] == value for name, value in values.items() if value is not None]

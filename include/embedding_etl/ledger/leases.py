"""One writer per collection: leases with a growing token, and the check that fences every ledger write."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

import sqlalchemy as sa

from include.embedding_etl.errors import IntegrityError, TransientError
from include.embedding_etl.ledger.database import Database, Row, insert_into, now_ms
from include.embedding_etl.ledger.process import UNKNOWN, ProcessIdentity, is_dead, this_process
from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.ledger.tables import leases, runs

FREE = ""


class Leases:
    """The `leases` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(
        self,
        collection: str,
        owner: str,
        ttl_s: float = 300,
        *,
        bound_to_process: bool = False,
        instead_of: Collection[str] = (),
    ) -> Lease:
        """Take the right to write to a collection, with a greater token than anybody had before.

        Args:
            collection: Real name of the collection; it need not exist yet. Other things that only one may do at a time
                have leases too, under names that no collection can have.
            owner: Who asks, such as a run id. The same owner may acquire again: its earlier lease is superseded.
            ttl_s: For how long, unless extended.
            bound_to_process: The lease is worth nothing once this process has ended, so others need not wait for its
                expiry. Say False where one owner is several processes.
            instead_of: Owners of whom the caller knows that they have ended.
        Raises:
            TransientError: another live owner holds it; the message says who, and until when.
        """
        if not owner:
            raise IntegrityError("a lease needs an owner")
        process = this_process()
        with self._database.writing() as connection:
            # The row must exist before it can be locked: otherwise two first comers would both find the place free.
            free = {"collection": collection, "owner": FREE, "token": 0, "expires_at_ms": 0}
            nobody = {"host": "", "pid": 0, "process_start": UNKNOWN, "bound_to_process": False}
            connection.execute(insert_into(connection, leases).values(**free, **nobody).on_conflict_do_nothing())
            holder = _locked(connection, collection)
            now = now_ms(connection)
            if holder.owner not in (FREE, owner, *instead_of) and not _is_over(holder, now):
                raise TransientError(_held(holder))
            lease = Lease(collection, owner, holder.token + 1, now + round(ttl_s * 1000), ttl_s)
            connection.execute(
                sa.update(leases)
                .where(leases.c.collection == collection)
                .values(
                    owner=owner,
                    token=lease.token,
                    expires_at_ms=lease.expires_at_ms,
                    host=process.host,
                    pid=process.pid,
                    process_start=process.start,
                    bound_to_process=bound_to_process,
                )
            )
            _show_life(connection, owner, now)
        return lease

    def find(self, collection: str) -> Lease | None:
        """Who holds it, whether expired or not; None where it is free."""
        statement = sa.select(leases.c.owner, leases.c.token, leases.c.expires_at_ms)
        with self._database.reading() as connection:
            found = connection.execute(
                statement.where(leases.c.collection == collection, leases.c.owner != FREE)
            ).first()
        return Lease(collection, found.owner, found.token, found.expires_at_ms) if found is not None else None

    def token(self, collection: str) -> int:
        """The token of whoever had it last; 0 where nobody ever had."""
        with self._database.reading() as connection:
            statement = sa.select(leases.c.token).where(leases.c.collection == collection)
            return connection.execute(statement).scalar_one_or_none() or 0

    def holds(self, lease: Lease) -> bool:
        """Whether nobody took the lease since. An expired lease that nobody wanted is still held."""
        with self._database.reading() as connection:
            return connection.execute(sa.select(leases.c.token).where(_is_ours(lease))).first() is not None

    def check(self, lease: Lease) -> None:
        """Stop a writer that was superseded. Cheap: call it just before every write to Milvus.

        Raises:
            TransientError: the lease was lost.
        """
        if not self.holds(lease):
            raise _lost(lease)

    def extend(self, lease: Lease) -> Lease:
        """Move the expiry to `ttl_s` from now.

        Raises:
            TransientError: the lease was lost.
        """
        with self._database.writing() as connection:
            now = now_ms(connection)
            expires_at_ms = now + round(lease.ttl_s * 1000)
            extended = sa.update(leases).where(_is_ours(lease)).values(expires_at_ms=expires_at_ms)
            if connection.execute(extended).rowcount == 0:
                raise _lost(lease)
            _show_life(connection, lease.owner, now)
        return replace(lease, expires_at_ms=expires_at_ms)

    def release(self, lease: Lease) -> None:
        """Let others have it at once. Quietly does nothing when the lease was lost before."""
        with self._database.writing() as connection:
            connection.execute(sa.update(leases).where(_is_ours(lease)).values(owner=FREE, expires_at_ms=0))


class HasLeases(Protocol):
    """A ledger, seen from here."""

    leases: Leases


class Heartbeat:
    """A context in which a daemon thread extends the lease, three times a `ttl_s`. It does not release the lease.

    A database that does not answer is asked again at the next beat: the lease may well be ours still. Fencing decides.
    """

    def __init__(self, ledger: HasLeases, lease: Lease) -> None:
        self._leases = ledger.leases
        self._lease = lease
        self._lost: TransientError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat {lease.collection}", daemon=True)

    @property
    def lease(self) -> Lease:
        """The lease with its newest expiry."""
        return self._lease

    def check(self) -> None:
        """Stop the holder if a beat found the lease lost. Asks nobody: use `Leases.check` before a write.

        Raises:
            TransientError: the lease was lost.
        """
        if self._lost is not None:
            raise TransientError(str(self._lost)) from self._lost

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while self._lost is None and not self._stop.wait(self._lease.ttl_s / 3):
            try:
                self._lease = self._leases.extend(self._lease)
            except TransientError as error:
                if self._is_lost():
                    self._lost = error

    def _is_lost(self) -> bool:
        try:
            return not self._leases.holds(self._lease)
        except TransientError:
            return False


@contextmanager
def fenced(database: Database, lease: Lease, collection: str) -> Iterator[sa.Connection]:
    """A write transaction that only its rightful holder can commit.

    Raises:
        TransientError: the lease was lost; nothing was written.
        IntegrityError: the lease is for another collection.
    """
    if lease.collection != collection:
        raise IntegrityError(f"the lease is for {lease.collection}, not for {collection}")
    with database.writing() as connection:
        held = sa.select(leases.c.token).where(_is_ours(lease)).with_for_update()
        if connection.execute(held).first() is None:
            raise _lost(lease)
        yield connection


def _show_life(connection: sa.Connection, owner: str, now: int) -> None:
    """Whoever takes or keeps a lease is alive, and so is the run of that name; also one that was given up wrongly."""
    is_open = sa.or_(runs.c.state == "running", runs.c.given_up.is_not(None))
    alive = {"state": "running", "ended_at_ms": None, "given_up": None, "seen_at_ms": now}
    connection.execute(sa.update(runs).where(runs.c.run_id == owner, is_open).values(**alive))


def _is_ours(lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(
        leases.c.collection == lease.collection, leases.c.token == lease.token, leases.c.owner == lease.owner
    )


def _locked(connection: sa.Connection, collection: str) -> Row:
    return connection.execute(sa.select(leases).where(leases.c.collection == collection).with_for_update()).one()


def _is_over(holder: Row, now: int) -> bool:
    process = ProcessIdentity(holder.host, holder.pid, holder.process_start)
    return holder.expires_at_ms <= now or (holder.bound_to_process and is_dead(process))


def _held(holder: Row) -> str:
    until = datetime.fromtimestamp(holder.expires_at_ms / 1000, UTC)
    return (
        f"{holder.collection} is held by {holder.owner} (pid {holder.pid} on {holder.host.split()[0]}), "
        f"whose lease lasts until {until:%Y-%m-%d %H:%M:%S} UTC unless extended: wait for it, or stop it"
    )


def _lost(lease: Lease) -> TransientError:
    return TransientError(
        f"lease lost: {lease.owner} (token {lease.token}) no longer holds {lease.collection}; somebody else took over"
    )

"""Which contents have vectors in the embedding store, and where."""

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from include.embedding_etl.ledger.database import Database, execute_many, in_slices, insert_into
from include.embedding_etl.ledger.records import VectorFile
from include.embedding_etl.ledger.tables import collections, vectors

_FILE = sa.select(vectors.c.content_hash, vectors.c.uri, vectors.c.rows)


class VectorFiles:
    """The `vectors` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, fingerprint: str, content_hashes: Sequence[str]) -> dict[str, VectorFile]:
        """Where the vectors of those contents are that have some."""
        found: dict[str, VectorFile] = {}
        with self._database.reading() as connection:
            for some in in_slices(content_hashes):
                statement = _FILE.where(vectors.c.fingerprint == fingerprint, vectors.c.content_hash.in_(some))
                found.update((row[0], VectorFile(row[1], row[2])) for row in connection.execute(statement))
        return found

    def put(self, fingerprint: str, files: Iterable[tuple[str, str, int]]) -> None:
        """Write down where vectors are: (content_hash, uri, rows). What is known already stays: the first one wins."""
        rows = [
            {"fingerprint": fingerprint, "content_hash": content_hash, "uri": uri, "rows": count}
            for content_hash, uri, count in sorted(files)
        ]
        with self._database.writing() as connection:
            execute_many(connection, insert_into(connection, vectors).on_conflict_do_nothing(), rows)

    def forget(self, uri: str) -> int:
        """Forget a file that is lost or damaged: the next run embeds its contents again. Returns how many they were."""
        with self._database.writing() as connection:
            return connection.execute(sa.delete(vectors).where(vectors.c.uri == uri)).rowcount

    def forget_fingerprint(self, fingerprint: str) -> int:
        """Forget all vectors of a fingerprint, unless a collection that was not dropped uses it.

        Returns:
            How many contents were forgotten.
        """
        used = sa.select(collections.c.name).where(
            collections.c.fingerprint == fingerprint, collections.c.dropped_at_ms.is_(None)
        )
        statement = sa.delete(vectors).where(vectors.c.fingerprint == fingerprint, ~used.exists())
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount

    def files(self, fingerprint: str) -> dict[str, int]:
        """The files that hold a fingerprint's vectors: {uri: how many of its rows belong to contents}.

        A file may hold more: the first file of a content wins. Memory: one item a file, which holds thousands of rows.
        """
        statement = sa.select(vectors.c.uri, sa.func.sum(vectors.c.rows)).where(vectors.c.fingerprint == fingerprint)
        with self._database.reading() as connection:
            rows = connection.execute(statement.group_by(vectors.c.uri).order_by(vectors.c.uri))
            return {uri: int(count) for uri, count in rows}

    def stream(self, fingerprint: str) -> Iterator[tuple[str, VectorFile]]:
        """All contents of a fingerprint, in the order of their hashes."""
        rows = self._database.stream(_FILE.where(vectors.c.fingerprint == fingerprint), vectors.c.content_hash)
        return ((content_hash, VectorFile(uri, count)) for content_hash, uri, count in rows)

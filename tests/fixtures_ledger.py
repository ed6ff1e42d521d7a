"""Fresh ledgers, one a test. ETL_TEST_LEDGER_URLS (separated by spaces) adds databases of PostgreSQL to SQLite."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import CollectionRecord, CollectionState, Lease, Letter
from include.embedding_etl.types import Entry, ObjectRecord

COLLECTION = "demo_text__0123abcd_1"

HOSTILE_KEYS = [
    "a",
    "A",
    "a/b",
    "a//b",
    "a/../b",
    "a b",
    "a+b",
    "a'b",
    'a"b',
    "a\\b",
    "a%b_c",
    "'; DROP TABLE objects; --",
    "\x01\x1f\x7f",
    "new\nline\ttab\r",
    "é",
    "e\u0301",  # the same to the eye, other bytes
    "ß",
    "SS",
    "z",
    "Z",
    "日本語/ファイル.txt",
    "\uffff",
    "\U0001f600",  # after \uffff in UTF-8, before it in UTF-16
    "{key}:param %s ?",
    "x" * 1024,
    "語" * 341 + "y",  # 1,024 bytes
]


@pytest.fixture(
    params=["sqlite", *os.environ.get("ETL_TEST_LEDGER_URLS", "").split()], ids=lambda url: url.split(":")[0]
)
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables; on a server a schema of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    schema = f"test_{uuid.uuid4().hex}"
    url = sa.make_url(request.param)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An open, empty ledger."""
    with Ledger.open(ledger_url, migrate=True) as opened:
        yield opened


@pytest.fixture
def lease(ledger: Ledger) -> Lease:
    """The right to write to COLLECTION, which is recorded."""
    ledger.collections.add(make_collection())
    return ledger.leases.acquire(COLLECTION, "run-1")


def make_collection(
    name: str = COLLECTION, pipeline: str = "demo", lane: str = "text", state: CollectionState = "live"
) -> CollectionRecord:
    """A collection to record."""
    return CollectionRecord(name, pipeline, lane, "0123abcd", {"model": {"id": "m"}, "accepts": ["text/*"]}, state, 1)


def make_object(key: str, etag: str = "e1", media_type: str = "text/plain", skip_reason: str = "") -> ObjectRecord:
    """An object to put."""
    return ObjectRecord(key, etag, 10, 1_700_000_000_000, media_type, "", skip_reason, meta={})


def make_entry(key: str, version: str = "e1", rows: int = 2) -> Entry:
    """Verified rows to commit."""
    return Entry(key, version, 1_700_000_000_000, "hash", rows, rows, "run-1")


def make_letter(key: str, version: str = "e1", error_class: str = "EncryptedPdf", run_id: str = "run-1") -> Letter:
    """A failure to record."""
    return Letter(key, version, "extract", error_class, "the file is encrypted", run_id)

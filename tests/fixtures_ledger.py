"""Fresh ledgers, one a test: on SQLite, and on a PostgreSQL server where tests marked `cluster` are wanted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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


LEDGERS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.cluster))


@pytest.fixture(params=LEDGERS)
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables; on a server a schema of its own."""
    return url_of(request, tmp_path)


def url_of(request: pytest.FixtureRequest, directory: Path) -> str:
    """What a fixture with LEDGERS as its params stands for."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{directory / 'ledger.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


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

"""What every ledger database must do with vector files."""

from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import VectorFile
from tests.fixtures_ledger import COLLECTION, make_collection


def test_known_contents_are_found_and_unknown_ones_are_absent(ledger: Ledger) -> None:
    ledger.vectors.put("f1", [("h1", "a.parquet", 3), ("h2", "b.parquet", 1)])
    assert ledger.vectors.known("f1", ["h1", "h3"]) == {"h1": VectorFile("a.parquet", 3)}
    assert ledger.vectors.known("f1", []) == {}


def test_the_first_file_of_a_content_wins(ledger: Ledger) -> None:
    ledger.vectors.put("f1", [("h1", "a.parquet", 3)])
    ledger.vectors.put("f1", [("h1", "late.parquet", 3), ("h2", "late.parquet", 1), ("h2", "twice.parquet", 1)])
    ledger.vectors.put("f1", [])
    assert ledger.vectors.known("f1", ["h1", "h2"]) == {
        "h1": VectorFile("a.parquet", 3),
        "h2": VectorFile("late.parquet", 1),
    }


def test_pain_08_another_fingerprint_never_gets_these_vectors(ledger: Ledger) -> None:
    ledger.vectors.put("f1", [("h1", "a.parquet", 3)])
    assert ledger.vectors.known("f2", ["h1"]) == {}
    assert list(ledger.vectors.stream("f2")) == []


def test_files_are_counted_by_the_rows_that_contents_have_in_them(ledger: Ledger) -> None:
    ledger.vectors.put("f1", [("h2", "b.parquet", 1), ("h1", "a.parquet", 3), ("h3", "a.parquet", 2)])
    ledger.vectors.put("f2", [("h1", "c.parquet", 9)])
    assert list(ledger.vectors.files("f1").items()) == [("a.parquet", 5), ("b.parquet", 1)]
    assert ledger.vectors.files("none") == {}
    assert ledger.vectors.forget("a.parquet") == 2
    assert ledger.vectors.files("f1") == {"b.parquet": 1}


def test_a_fingerprint_is_forgotten_unless_a_collection_uses_it(ledger: Ledger) -> None:
    record = make_collection()
    ledger.collections.add(record)
    ledger.vectors.put(record.fingerprint, [("h1", "a.parquet", 3)])
    ledger.vectors.put("unused", [("h1", "b.parquet", 3), ("h2", "b.parquet", 3)])
    assert ledger.vectors.forget_fingerprint("unused") == 2
    assert ledger.vectors.forget_fingerprint(record.fingerprint) == 0
    assert ledger.vectors.files(record.fingerprint) == {"a.parquet": 3}
    ledger.collections.set_state(COLLECTION, "retired")
    ledger.collections.mark_dropped(COLLECTION)
    assert ledger.vectors.forget_fingerprint(record.fingerprint) == 1


def test_thousands_of_contents_in_one_question_and_in_order(ledger: Ledger) -> None:
    hashes = [f"{number:064x}" for number in range(6_000)]
    ledger.vectors.put("f1", [(content_hash, "a.parquet", 1) for content_hash in reversed(hashes)])
    assert len(ledger.vectors.known("f1", hashes)) == 6_000
    assert [content_hash for content_hash, _ in ledger.vectors.stream("f1")] == hashes
    assert next(ledger.vectors.stream("f1"))[1] == VectorFile("a.parquet", 1)

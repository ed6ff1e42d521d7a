"""Compares what became of every object of the sample corpus with what had to become of it."""

from collections.abc import Sequence

from include.embedding_etl.lane_collection import find_live
from include.embedding_etl.ledger.records import DeadLetter
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import Entry, ObjectRecord
from include.local_stack.corpus.model import CorpusObject

_ABSENT = "not in it"


def unexpected_outcomes(runtime: Runtime, objects: Sequence[CorpusObject]) -> list[str]:
    """One line for each object of the corpus that ended otherwise than its table says."""
    name, keys = runtime.pipeline.name, {item.key for item in objects}
    records = {record.key: record for record in runtime.ledger.objects.stream(name) if record.key in keys}
    problems = []
    for item in objects:
        found, expected = _identified(records.get(item.key)), item.media_type or item.reason
        if found != expected:
            problems.append(f"{item.key}: is {found}, expected {expected}")
    for lane in runtime.pipeline.lanes:
        live = find_live(runtime, lane)
        entries = runtime.ledger.entries.get_many(live.name, sorted(keys)) if live else {}
        open_letters = runtime.ledger.dead_letters.open_for(name, lane, live.fingerprint) if live else ()
        letters = {letter.key: letter for letter in open_letters}
        for item in objects:
            found, expected = _found(entries.get(item.key), letters.get(item.key)), _expected(item, lane)
            if found != expected:
                problems.append(f"{item.key}: lane {lane}: {found}, expected {expected}")
    return problems


def _identified(record: ObjectRecord | None) -> str:
    if record is None or record.vanished:
        return "unknown to the ledger"
    return record.media_type or record.skip_reason


def _found(entry: Entry | None, letter: DeadLetter | None) -> str:
    if letter is not None:
        return f"dead letter {letter.error_class}"
    return "searchable" if entry is not None and entry.version and entry.rows else _ABSENT


def _expected(item: CorpusObject, lane: str) -> str:
    if lane not in item.lanes:
        return _ABSENT
    return "searchable" if item.outcome == "ok" else f"dead letter {item.reason}"

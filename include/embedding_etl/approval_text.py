"""What a person reads who decides about a cutover, as Markdown. Keys and texts come from strangers."""

import json
from collections.abc import Mapping
from typing import Any

from include.embedding_etl.ledger.records import ReindexRecord
from include.embedding_etl.wording import counted

SHOWN_NEIGHBOURS = 5


def describe_verification(record: ReindexRecord) -> str:
    """Figures, warnings, and sample queries with what they find now and what they will find."""
    found: Mapping[str, Any] = record.verification
    overlap = found["overlap"]
    same = "there is no live collection to compare with" if overlap is None else f"{overlap:.0%} are the same objects"
    lines = [
        f"`{record.candidate}` would replace `{record.replaces}`.",
        "",
        f"- {counted(found['rows'], 'row')}, exactly what storage and settings ask for; all vectors of unit norm",
        f"- recall@10 of its index: {found['recall']:.3f} over {found['queries']} queries",
        f"- neighbours before and after: {same}",
        f"- dead letters: {found['dead_letters']}",
        *(f"- **Mind:** {_code(question)}" for question in found["questions"]),
        "",
        "Approve, and readers see it at once. Reject, and nothing changes for them.",
    ]
    for number, sample in enumerate(found["samples"], 1):
        text = f" {_code(sample['text'])}" if sample["text"] else ""
        lines += [
            "",
            f"**{number}. What is near** {_code(sample['object_key'])}{text}",
            "",
            f"- before: {_keys(sample['before'])}",
            f"- after: {_keys(sample['after'])}",
        ]
    return "\n".join(lines)


def _keys(keys: list[str]) -> str:
    return ", ".join(_code(key) for key in keys[:SHOWN_NEIGHBOURS]) or "nothing"


def _code(text: str) -> str:
    """Code is neither interpreted as Markdown nor as HTML; a backtick would end it."""
    text = " ".join(text.split())
    quoted = json.dumps(text if len(text) <= 120 else text[:119] + "…", ensure_ascii=False)[1:-1]
    return f"`{quoted.replace('`', 'ʼ')}`"

"""What people see in an 80-column terminal: every column, and nothing that a stranger wrote as markup."""

import io

from rich.console import Console

from include.embedding_etl.cli import tables
from include.embedding_etl.types import Hit


def printed(hits: list[Hit], width: int = 80) -> str:
    out = io.StringIO()
    tables.show_hits(Console(file=out, width=width), "text", hits)
    return out.getvalue()


def hit(key: str, text: str) -> Hit:
    return Hit(0.5, "i", {"object_key": key, "start": 10, "end": 20, "media_type": "text/plain", "text": text})


def test_every_column_is_seen_however_long_keys_and_texts_are() -> None:
    out = printed([hit("k" * 300, "t" * 300)])
    assert "0.500" in out
    assert "10–20" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_keys_and_texts_are_no_markup() -> None:
    assert "[red]x" in printed([hit("[red]x", "y")])
    assert "\x1b" not in printed([hit("\x1b[2Jx", "y\x07")])

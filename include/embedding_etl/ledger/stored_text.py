"""Text from outside, in a form that every database takes: PostgreSQL stores no NUL, and nobody a lone surrogate.

Keys come back exactly as they were: on PostgreSQL U+0000 and U+0001 become two characters each, and byte order, which
streams are merged by, stays what it was. What only people read loses such characters instead.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_IN_JSON = re.compile(r"\\u(?:0000|d[89a-f])", re.IGNORECASE)


class KeyText(sa.types.TypeDecorator[str]):
    """Text that is compared and sorted by bytes.

    PostgreSQL sorts text by the rules of a language; storage lists in byte order. SQLite compares bytes anyway.
    """

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """COLLATE "C" where it takes that."""
        return sa.Text(collation="C") if dialect.name == "postgresql" else sa.Text()

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """On its way in."""
        if value is None or dialect.name != "postgresql" or ("\0" not in value and "\1" not in value):
            return value
        return value.replace("\1", "\1\2").replace("\0", "\1\1")

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """On its way out."""
        if value is None or "\1" not in value or dialect.name != "postgresql":
            return value
        return re.sub("\1([\1\2])", lambda pair: "\0" if pair[1] == "\1" else "\1", value)


def readable(text: str) -> str:
    """Text for people: what no database stores is replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def to_json(document: object) -> str:
    """A document for JSONB, which takes neither NUL nor lone surrogates, escaped or not."""
    written = json.dumps(document)
    return json.dumps(_readable_within(document)) if _IN_JSON.search(written) else written


def _readable_within(document: object) -> object:
    if isinstance(document, str):
        return readable(document)
    if isinstance(document, Mapping):
        return {readable(str(name)): _readable_within(value) for name, value in document.items()}
    return [_readable_within(value) for value in document] if isinstance(document, list | tuple) else document

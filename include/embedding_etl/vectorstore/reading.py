"""Read many rows, in calls that a server answers: cut beforehand, and cut again where an answer is too large."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.types import JsonValue
from include.embedding_etl.vectorstore.batches import MAX_ROWS, by_count
from include.embedding_etl.vectorstore.failures import TooLarge
from include.embedding_etl.vectorstore.filters import in_list
from include.embedding_etl.vectorstore.key_ranges import KeyRange
from include.embedding_etl.vectorstore.schema import ID_FIELD, VECTOR_FIELD

Query: TypeAlias = Callable[[str, Sequence[str]], list[dict[str, Any]]]  # filter and fields -> rows, in any order

_PAGE_ROWS = 8_000  # Milvus Lite reads the whole collection for every page: few pages
_WIDE_PAGE_ROWS = 1_000  # with texts or vectors a row may have 200 KB, but hardly all of them
_WIDE_ROWS = 200  # all of that size are less than 64 MB
_WIDE_FIELDS = frozenset({"text", "meta", VECTOR_FIELD})


def read_by_id(query: Query, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, JsonValue]]:
    """Rows that exist, by id, each with its id and the fields.

    Raises:
        IntegrityError: a single row is larger than what a server returns.
    """
    found: dict[str, dict[str, JsonValue]] = {}
    batches = deque(by_count(ids, _WIDE_ROWS if _WIDE_FIELDS & set(fields) else MAX_ROWS))
    while batches:
        batch = batches.popleft()
        try:
            rows = query(in_list(ID_FIELD, batch), fields)
        except TooLarge as error:
            if len(batch) == 1:
                raise IntegrityError(f"row {batch[0]}: {error}") from error
            middle = len(batch) // 2
            batches.extendleft((batch[middle:], batch[:middle]))
            continue
        found |= {row[ID_FIELD]: _chosen(row, fields) for row in rows}
    return found


def read_in_order(query: Query, rows: int, fields: Sequence[str]) -> Iterator[list[dict[str, JsonValue]]]:
    """All rows in primary key order, page by page, each with its id and the fields.

    By ranges of keys. The client's own iterator reads with the collection's default consistency, whatever is asked,
    and so misses rows that were just written. Offsets end at 16,384, and with a limit the order is the server's.

    Args:
        query: Reads with Strong consistency.
        rows: About how many there are.
    """
    rows_a_page = _WIDE_PAGE_ROWS if _WIDE_FIELDS & set(fields) else _PAGE_ROWS
    ranges = deque(KeyRange.everything().split(rows // rows_a_page + 1))
    while ranges:
        keys = ranges.popleft()
        try:
            page = query(keys.expression, fields)
        except TooLarge:
            ranges.extendleft(reversed(keys.split(2)))
            continue
        if page:
            page.sort(key=itemgetter(ID_FIELD))
            yield [_chosen(row, fields) for row in page]


def _chosen(row: dict[str, Any], fields: Sequence[str]) -> dict[str, JsonValue]:
    return {name: row[name] for name in (ID_FIELD, *fields)}

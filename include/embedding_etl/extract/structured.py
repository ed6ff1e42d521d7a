"""CSV and JSON -> lines that can be read without the rest: every value stands beside its name."""

import csv
import io
import json
import re
from collections.abc import Iterator

from include.embedding_etl.extract.encoding import read_text
from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.types import JsonValue

_SNIFF_CHARACTERS = 16 << 10
_NUMBER = re.compile(r"[\s\d.,:/+%€$-]+")


def read_csv(opened: OpenObject) -> Iterator[str]:
    """Yield rows as `header: value; header: value` lines, or as `value; value` where the first row is no header.

    Raises:
        PoisonObject: NotText, TooMuchText.
    """
    text = read_text(opened)
    csv.field_size_limit(opened.limits.max_characters)
    try:
        yield "\n".join(_csv_lines(text))
    except csv.Error:  # an open quote or the like: still text
        yield text


def read_json(opened: OpenObject) -> Iterator[str]:
    """Yield `path.to: value` lines, a blank line between the items of the outermost array. Reads JSON Lines too.

    Raises:
        PoisonObject: NotText, TooMuchText.
    """
    text = read_text(opened)
    try:
        records = _json_records(text)
    except (ValueError, RecursionError):  # damaged or absurdly deep: still text
        yield text
        return
    yield "\n\n".join(block for block in ("\n".join(_json_lines(record)) for record in records) if block)


def _csv_lines(text: str) -> Iterator[str]:
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:_SNIFF_CHARACTERS], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    rows = csv.reader(io.StringIO(text, newline=""), dialect)
    first = next(rows, [])
    header = first if _is_header(first) else []
    if not header:
        yield _csv_line([], first)
    for row in rows:
        if any(cell.strip() for cell in row):
            yield _csv_line(header, row)


def _is_header(row: list[str]) -> bool:
    """Names: all there, all different, none a number or a date."""
    cells = [cell.strip() for cell in row]
    return len(set(cells)) == len(cells) and not any(not cell or _NUMBER.fullmatch(cell) for cell in cells)


def _csv_line(header: list[str], row: list[str]) -> str:
    names = header + [""] * (len(row) - len(header))
    cells = ((name.strip(), " ".join(cell.split())) for name, cell in zip(names, row, strict=False))
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in cells if cell)


def _json_records(text: str) -> list[JsonValue]:
    try:
        document: JsonValue = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return document if isinstance(document, list) else [document]


def _json_lines(record: JsonValue) -> Iterator[str]:
    """Depth first with our own stack: a document nests as deep as it likes."""
    pending: list[tuple[str, JsonValue]] = [("", record)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{path}.{name}" if path else name, item) for name, item in reversed(value.items())]
        elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            pending += [(path, item) for item in reversed(value)]
        elif isinstance(value, list):
            yield _json_line(path, ", ".join(_scalar(item) for item in value))
        elif value not in (None, ""):
            yield _json_line(path, _scalar(value))


def _json_line(path: str, value: str) -> str:
    return f"{path}: {value}" if path else value


def _scalar(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)

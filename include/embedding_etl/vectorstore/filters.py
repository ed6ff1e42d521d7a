"""Filter expressions that mean what they say, whatever is in the values.

Neither Milvus Lite nor servers before 2.5 take `filter_params`, so values are written into the expression. Both
understand the six escapes below, take every other character as it is, and nothing else is relied on.
"""

import shlex
from collections.abc import Iterable

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.key_range import first_behind
from include.embedding_etl.vectorstore.schema import FIELDS, FIELDS_BY_NAME, ID_FIELD

_META = "meta."
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
ALLOWED_FIELDS = (*(field.name for field in FIELDS if field.kind in ("varchar", "int64")), "meta.<key>")

# Every row has an id, so this is false for all of them.
NOTHING = f'{ID_FIELD} == ""'


def equals(field: str, value: str | int) -> str:
    """`field` has exactly this value.

    Args:
        field: A text or number field of the schema, or `meta.<key>` for one entry of the user metadata.
        value: Text for text fields and metadata, an integer for numbers.
    Raises:
        ConfigError: the field is unknown or the value is of another kind.
    """
    return f"{_path(field)} == {_literal(field, value)}"


def in_list(field: str, values: Iterable[str | int]) -> str:
    """`field` has one of these values; no values, no rows.

    Raises:
        ConfigError: as `equals`.
    """
    values = list(values)
    if not values:
        return NOTHING
    if field.startswith(_META):  # Milvus Lite has no `in` for JSON paths
        return any_of(equals(field, value) for value in values)
    return f"{_path(field)} in [{', '.join(_literal(field, value) for value in values)}]"


def begins_with(field: str, prefix: str) -> str:
    """`field` begins so; `like` would take % and _ for more than they are. "" = the empty filter.

    Raises:
        ConfigError: as `equals`.
    """
    bounds = [(">=", prefix), ("<", first_behind(prefix))]
    return all_of(f"{_path(field)} {sign} {_literal(field, bound)}" for sign, bound in bounds if bound)


def any_of(expressions: Iterable[str]) -> str:
    """At least one of the expressions holds; of none, never."""
    return _joined(expressions, " or ") or NOTHING


def all_of(expressions: Iterable[str]) -> str:
    """All of the expressions hold; of none, always: the empty filter."""
    return _joined([each for each in expressions if each], " and ")


def parse_filter(text: str) -> str:
    """The expression for a person's `media_type=image/png, meta.author=Ann`: all of them hold.

    A value that contains a comma is put in double quotes: `object_key="a, b.txt"`.

    Raises:
        ConfigError: not of that form, or an unknown field; lists the allowed ones.
    """
    parser = shlex.shlex(text, posix=True, punctuation_chars=False)
    parser.whitespace, parser.whitespace_split = ",", True
    parser.quotes, parser.escape, parser.commenters = '"', "", ""
    try:
        parts = list(parser)
    except ValueError as error:
        raise ConfigError(f'filter {text!r}: a double quote " is not closed') from error
    return all_of(_parse_one(text, part) for part in parts if part.strip())


def _parse_one(text: str, part: str) -> str:
    field, separator, value = (each.strip() for each in part.partition("="))
    if not separator or not field:
        raise ConfigError(f"filter {text!r}: expected field=value, field=value; fields are {', '.join(ALLOWED_FIELDS)}")
    known = FIELDS_BY_NAME.get(field)
    if known is None or known.kind != "int64":
        return equals(field, value)
    try:
        return equals(field, int(value))
    except ValueError as error:
        raise ConfigError(f"filter {text!r}: {field} is a whole number, not {value!r}") from error


def _path(field: str) -> str:
    if field.startswith(_META) and len(field) > len(_META):
        return f"meta[{_quoted(field, field.removeprefix(_META))}]"
    if field not in ALLOWED_FIELDS:
        raise ConfigError(f"cannot filter by {field!r}; allowed are {', '.join(ALLOWED_FIELDS)}")
    return field


def _literal(field: str, value: str | int) -> str:
    wants_number = field in FIELDS_BY_NAME and FIELDS_BY_NAME[field].kind == "int64"
    if wants_number != (isinstance(value, int) and not isinstance(value, bool)):
        raise ConfigError(f"filter: {field} is {'a whole number' if wants_number else 'text'}, not {value!r}")
    return str(value) if wants_number else _quoted(field, str(value))


def _quoted(field: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"filter: {field}: {value!r} cannot be written as UTF-8") from error
    return f'"{value.translate(_ESCAPES)}"'


def _joined(expressions: Iterable[str], word: str) -> str:
    parts = list(expressions)
    return parts[0] if len(parts) == 1 else word.join(f"({part})" for part in parts)

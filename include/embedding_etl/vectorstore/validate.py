"""What Milvus Lite does not check, checked before anything is sent: it stores the rows and says that all is well."""

import json
import re
from collections.abc import Sequence

import numpy as np

from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.index_kinds import INDEX_KINDS, SEARCH_PARAMS, Parameters, refusal
from include.embedding_etl.types import CollectionSpec, Row
from include.embedding_etl.vectorstore.schema import FIELDS, METRICS, VECTOR_FIELD

NORM_TOLERANCE = 1e-3  # float32 arithmetic of bf16 models stays well within it
MAX_DIMENSION = 32_768
MAX_TOP = 16_384  # what a server returns at most for one query
_ROW_OVERHEAD_BYTES = 256  # numbers, tags and lengths of one row on the wire
_INT64 = 1 << 63

# What we write. What others have written is read and deleted too, so filters escape ids like any other value.
_ID = re.compile(r"[0-9A-Za-z_-]{1,32}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def check_rows(rows: Sequence[Row], dimension: int) -> list[int]:
    """Check the rows of one call and return about how many bytes each is on the wire.

    Raises:
        IntegrityError: naming object key, chunk and field of the first row that is not as the schema says.
    """
    seen: set[str] = set()
    sizes = []
    for row in rows:
        if row.id in seen:
            raise _refused(row, "id", f"{row.id} is there twice in one call; a server would keep both rows")
        seen.add(row.id)
        sizes.append(_check_values(row) + 4 * dimension + _ROW_OVERHEAD_BYTES)
    _check_vectors(rows, dimension)
    return sizes


def check_ids(ids: Sequence[str]) -> None:
    """Check that ids can be asked for: ours, and those of rows that somebody else has written.

    Raises:
        IntegrityError: an id is empty or no text.
    """
    for each in ids:
        if not each or not _is_text(each):
            raise IntegrityError(f"{each!r} is no row id: it has to be some text")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_spec(spec: CollectionSpec) -> None:
    """Check what a collection is to be created with.

    Raises:
        ConfigError: a name, dimension, index, metric or property that Milvus does not know or would not keep.
    """
    check_name(spec.name)
    if not 2 <= spec.dimension <= MAX_DIMENSION:
        raise ConfigError(f"{spec.name}: dimension {spec.dimension} is not between 2 and {MAX_DIMENSION}")
    if spec.index_type not in INDEX_KINDS:
        raise ConfigError(
            f"{spec.name}: index type {spec.index_type!r} is unknown; allowed are {', '.join(INDEX_KINDS)}"
        )
    if spec.metric not in METRICS:
        raise ConfigError(f"{spec.name}: metric {spec.metric!r} is unknown; allowed are {', '.join(METRICS)}")
    known = {name for kind in INDEX_KINDS.values() for name in kind.default_params}
    if unknown := sorted(set(spec.index_params) - known):
        allowed = ", ".join(INDEX_KINDS[spec.index_type].default_params) or "none"
        raise ConfigError(f"{spec.name}: index parameter {unknown[0]!r} is unknown; {spec.index_type} takes: {allowed}")


def check_name(name: str) -> None:
    """Check the name of a collection or alias.

    Raises:
        ConfigError: Milvus would refuse it.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be a collection or alias: letters, digits and _, at most 255")


def check_query(top: int, fields: Sequence[str]) -> None:
    """Check what a search or an iteration asks for.

    Raises:
        ConfigError: more hits than a server returns, or a field that is not in the schema.
    """
    if not 1 <= top <= MAX_TOP:
        raise ConfigError(f"top {top} is not between 1 and {MAX_TOP}")
    names = [field.name for field in FIELDS]
    for name in fields:
        if name not in names:
            raise ConfigError(f"field {name!r} is unknown; allowed are {', '.join(names)}")


def check_search_params(params: Parameters) -> None:
    """Check the parameters of a search.

    Raises:
        ConfigError: no index has such a parameter: a server would ignore it; or a value that a server would refuse.
    """
    if reason := refusal(params, SEARCH_PARAMS):
        raise ConfigError(f"search parameter {reason}")


def _check_values(row: Row) -> int:
    if not isinstance(row.id, str) or not _ID.fullmatch(row.id):
        raise _refused(row, "id", f"{row.id!r} is not 1 to 32 letters, digits, _ or -")
    size = 0
    for field in FIELDS:
        value = getattr(row, field.name)
        if field.kind == "varchar":
            size += _byte_length(row, field.name, value, field.max_bytes)
        elif field.kind == "int64":
            if not isinstance(value, int) or not -_INT64 <= value < _INT64:
                raise _refused(row, field.name, f"{value!r} is not a 64-bit integer")
        elif field.kind == "json":
            size += _byte_length(row, field.name, _json(row), field.max_bytes)
    return size


def _json(row: Row) -> str:
    if not row.meta:
        return "{}"
    if not all(isinstance(part, str) for item in row.meta.items() for part in item):
        raise _refused(row, "meta", "keys and values have to be text")
    return json.dumps(dict(row.meta), ensure_ascii=False, separators=(",", ":"))


def _byte_length(row: Row, field: str, value: str, max_bytes: int) -> int:
    if not isinstance(value, str):
        raise _refused(row, field, f"{type(value).__name__} is not text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise _refused(row, field, "it has half of a surrogate pair and cannot be written as UTF-8") from error
    if size > max_bytes:
        raise _refused(row, field, f"{size} bytes of UTF-8 are more than {max_bytes}")
    return size


def _check_vectors(rows: Sequence[Row], dimension: int) -> None:
    for row in rows:
        vector = row.vector
        if not isinstance(vector, np.ndarray) or vector.dtype != np.float32:
            kind = vector.dtype if isinstance(vector, np.ndarray) else type(vector).__name__
            raise _refused(row, VECTOR_FIELD, f"{kind} is not an array of float32")
        if vector.shape != (dimension,):
            raise _refused(row, VECTOR_FIELD, f"shape {vector.shape} is not ({dimension},)")
    if not rows:
        return
    with np.errstate(all="ignore"):  # infinities are what we look for
        norms = np.linalg.norm(np.stack([row.vector for row in rows]), axis=1)
    # Written so that NaN, which compares as false to everything, is refused too.
    for position in np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE)).tolist():
        row, norm = rows[position], norms[position]
        reason = f"its length is {norm:.4g}, not 1" if np.isfinite(row.vector).all() else "it has NaN or infinity"
        raise _refused(row, VECTOR_FIELD, reason)


def _refused(row: Row, field: str, reason: str) -> IntegrityError:
    return IntegrityError(f"{row.object_key!r}, chunk {row.ordinal}: {field}: {reason}")

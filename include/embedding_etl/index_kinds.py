"""The vector indexes that every server we support really builds, and the parameters that each takes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

Parameters: TypeAlias = Mapping[str, int | float | str]

NO_PARAMETERS: Parameters = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class IndexKind:
    """A type of index."""

    default_params: Parameters  # of building it: all there are
    search_params: tuple[str, ...] = ()  # of one search: how much of the index it looks at


# Milvus Lite accepts any other name and then fails silently.
INDEX_KINDS: Mapping[str, IndexKind] = {
    "HNSW": IndexKind({"M": 16, "efConstruction": 200}, ("ef",)),
    "IVF_FLAT": IndexKind({"nlist": 128}, ("nprobe",)),
    "IVF_SQ8": IndexKind({"nlist": 128}, ("nprobe",)),
    "FLAT": IndexKind({}),
    "AUTOINDEX": IndexKind({}),
}
SEARCH_PARAMS = frozenset(name for kind in INDEX_KINDS.values() for name in kind.search_params)


def refusal(given: Parameters, allowed: Collection[str]) -> str:
    """What is wrong with parameters; "" if nothing is. Servers ignore an unknown name without a word.

    Args:
        given: As a person wrote them.
        allowed: Their names; each is a whole number, 1 or more.
    """
    for name, value in given.items():
        if name not in allowed:
            return f"{name!r} is unknown; allowed are: {', '.join(sorted(allowed)) or 'none'}"
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            return f"{name} has to be a whole number, 1 or more, not {value!r}"
    return ""

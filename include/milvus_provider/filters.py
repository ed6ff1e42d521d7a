"""Filter expressions over primary keys.

`MilvusClient.get` and `.delete(ids=…)` write text keys into the expression as they are: a key with a quote fails there,
or means something else.
"""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def keys_in(field: str, keys: Iterable[int | str]) -> str:
    """Return the expression for rows that have one of these keys.

    :param field: name of the primary key.
    :param keys: at least one.
    """
    return f"{field} in [{', '.join(_literal(key) for key in keys)}]"


def _literal(key: int | str) -> str:
    return f'"{key.translate(_ESCAPES)}"' if isinstance(key, str) else str(int(key))

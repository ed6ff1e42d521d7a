"""A part of the keys: all that begin with a prefix. Keys are ordered by their UTF-8 bytes, as Python orders `str`."""

from include.embedding_etl.errors import ConfigError

MAX_KEY_BYTES = 1_024


def first_behind(prefix: str) -> str:
    """The first text behind all that begin with `prefix`; "" = nothing is behind them."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)  # what lies between is no text
        prefix = prefix[:-1]
    return ""


def check_prefix(prefix: str, of_source: str) -> None:
    """Whether keys of a source can begin so.

    Args:
        prefix: As the pages show keys: whole, with what the source's URI names. "" = all keys.
        of_source: What every key of the source begins with.
    Raises:
        ConfigError: they cannot.
    """
    try:
        size_bytes = len(prefix.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise ConfigError(f"prefix: {prefix!r} is not UTF-8, so no key begins with it") from error
    if "\0" in prefix or size_bytes > MAX_KEY_BYTES:
        raise ConfigError(f"prefix: no key holds a zero byte or more than {MAX_KEY_BYTES} bytes")
    if prefix and not prefix.startswith(of_source):
        raise ConfigError(
            f"prefix: {prefix!r} is outside of this source: its keys begin with {of_source!r}, and a prefix does too"
        )

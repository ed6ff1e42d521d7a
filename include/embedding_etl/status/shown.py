"""Foreign text as people can see it: characters that hide, or that turn other characters round, become visible."""

_TURNING = (0x061C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
_CONTROLS = {code: chr(0x2400 + code) for code in range(32)} | {127: "␡"}
_MARKS = (
    _CONTROLS
    | {code: f"‹U+{code:04X}›" for code in (*range(0x80, 0xA0), *_TURNING)}
    | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")  # no page can be written with half a character
)
_MARKS_IN_TEXT = {code: mark for code, mark in _MARKS.items() if code not in (9, 10, 13)}


def shown(text: str) -> str:
    """A name or a value on one line. Escaping is the template's."""
    return text.translate(_MARKS)


def shown_text(text: str) -> str:
    """The same of a text that may have lines."""
    return text.translate(_MARKS_IN_TEXT)


def size(size_bytes: int) -> str:
    """A number of bytes, for people."""
    value = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def span(start_ms: int, end_ms: int) -> str:
    """A stretch of sound or film, for people: 1:05.0 - 1:10.0."""
    return f"{_clock(start_ms)} – {_clock(end_ms)}"


def _clock(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:04.1f}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"

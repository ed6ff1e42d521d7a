"""Bytes -> text, in whatever encoding. A few bad bytes cost themselves, not the object."""

import codecs
import re

from charset_normalizer import CharsetMatch, from_bytes

from include.embedding_etl.extract.opened import OpenObject

# The longer ones first: the mark of UTF-32-LE begins with that of UTF-16-LE.
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_STRANGE = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ufffd]")  # escape and next line are common enough
_MAX_STRANGE = 0.05
_SAMPLE_BYTES = 64 << 10
_LEAD_BYTES = 64
# How much more mess charset-normalizer may see in the encodings that most files have before a rare one wins: it reads
# French as Baltic and Japanese as Korean otherwise.
_HEAD_STARTS = {"cp932": 0.12, "cp1252": 0.06}
# What pages call latin-1 is cp1252 everywhere: https://encoding.spec.whatwg.org/#names-and-labels
_LATIN = {"iso-8859-1", "iso8859-1", "latin-1", "latin1", "l1", "ascii", "us-ascii"}


def read_text(opened: OpenObject) -> str:
    """Read and decode a whole body. Raises as `decode_text`."""
    return decode_text(opened, read_bytes(opened))


def read_bytes(opened: OpenObject) -> bytes:
    """All bytes, unless there are more than `max_characters` could ever need.

    Raises:
        PoisonObject: TooMuchText.
    """
    data = opened.body.read(4 * opened.limits.max_characters + 5)
    if len(data) > 4 * opened.limits.max_characters + 4:
        raise opened.poison(
            "TooMuchText", f"longer than limits.max_characters ({opened.limits.max_characters:,}) allows"
        )
    return data


def decode_text(opened: OpenObject, data: bytes, declared: str = "") -> str:
    """Decode by byte order mark, else as UTF-8, else as declared, else by the statistics of charset-normalizer.

    Bytes that do not fit become U+FFFD as long as the rest is text.

    Args:
        declared: What the document says about itself; a hint, often wrong.
    Raises:
        PoisonObject: NotText, more than 5 % of the characters are invalid or control characters.
    """
    text = _decode(data, declared)
    strange = len(_STRANGE.findall(text))
    if strange > _MAX_STRANGE * len(text):
        raise opened.poison("NotText", f"{strange:,} of {len(text):,} characters are not text in any encoding")
    return text


def clean(text: str) -> str:
    """One kind of line ending, no NUL and no half surrogate pair: databases refuse those."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return text.encode("utf-8", "replace").decode("utf-8")


def _decode(data: bytes, declared: str) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    wide = _wide_encoding(data)
    if wide:
        return data.decode(wide, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_legacy(data, declared)


def _wide_encoding(data: bytes) -> str:
    """UTF-16 without a mark: in most languages every other byte of spaces, digits and line ends is 0."""
    sample = data[:_SAMPLE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) <= len(sample) // 10 or min(even, odd) * 4 > max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _decode_legacy(data: bytes, declared: str) -> str:
    lenient = data.decode("utf-8", "replace")
    replaced = lenient.count("\ufffd")
    multibyte = sum(len(run) for run in re.findall("[^\x00-\x7f]+", lenient)) - replaced
    if multibyte > replaced:  # damaged UTF-8: no other encoding makes valid sequences by chance
        return lenient
    for encoding in (_known_encoding(declared), _guess_encoding(data)):
        if encoding:
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                lenient = min(lenient, data.decode(encoding, "replace"), key=lambda text: text.count("\ufffd"))
    return lenient


def _known_encoding(declared: str) -> str:
    name = declared.strip().lower()
    if name in _LATIN:
        return "cp1252"
    try:
        return name if codecs.lookup(name)._is_text_encoding else ""  # "hex" and "zip" are codecs too
    except (LookupError, ValueError):
        return ""


def _guess_encoding(data: bytes) -> str:
    matches = from_bytes(_foreign_sample(data))
    readings = [(match.chaos - _HEAD_STARTS.get(name, 0), name) for match in matches for name in _names(match)]
    return min(readings, key=lambda reading: reading[0])[1] if readings else ""


def _names(match: CharsetMatch) -> list[str]:
    """Its encoding, and those that give the same text. The order decides between equals."""
    return [match.encoding, *match.could_be_from_charset]


def _foreign_sample(data: bytes) -> bytes:
    """The lines with bytes beyond ASCII, from the first such byte on: a long file may have few of them, and late."""
    first = re.search(rb"[\x80-\xff]", data)
    start = max(0, first.start() - _LEAD_BYTES) if first else 0
    lines = data[start : start + 16 * _SAMPLE_BYTES].splitlines()
    return b"\n".join(line for line in lines if not line.isascii())[:_SAMPLE_BYTES]

"""Documents -> text segments: a page of PDF, a section of DOCX, a whole file of anything else.

Offsets are characters of the object's extracted text: the text of its segments, each after the first preceded by one
blank line (two characters).
"""

from collections.abc import Callable, Iterator

from include.embedding_etl.extract.docx import read_docx
from include.embedding_etl.extract.encoding import clean, read_text
from include.embedding_etl.extract.html import read_html
from include.embedding_etl.extract.opened import OpenObject
from include.embedding_etl.extract.pdf import read_pdf
from include.embedding_etl.extract.structured import read_csv, read_json
from include.embedding_etl.media_types import DOCX
from include.embedding_etl.types import Segment

SEPARATOR_CHARACTERS = 2

Reader = Callable[[OpenObject], Iterator[str]]


def extract(opened: OpenObject) -> Iterator[Segment]:
    """Yield the readable parts of a document that hold any text.

    Raises:
        PoisonObject: EncryptedPdf, NoText, CorruptPdf, EncryptedDocx, ZipBomb, CorruptDocx, NotText, TooMuchText.
    """
    start = 0
    for part in _READERS.get(opened.media_type, _read_plain)(opened):
        text = clean(part)
        end = start + len(text)
        if end > opened.limits.max_characters:
            raise opened.poison(
                "TooMuchText", f"longer than limits.max_characters ({opened.limits.max_characters:,}) allows"
            )
        if text.strip():
            yield Segment(start, end, text=text)
            start = end + SEPARATOR_CHARACTERS


def _read_plain(opened: OpenObject) -> Iterator[str]:
    """Plain text, Markdown, source code, XML: as it stands."""
    yield read_text(opened)


_READERS: dict[str, Reader] = {
    "text/html": read_html,
    "text/csv": read_csv,
    "text/tab-separated-values": read_csv,
    "application/json": read_json,
    "application/pdf": read_pdf,
    DOCX: read_docx,
}

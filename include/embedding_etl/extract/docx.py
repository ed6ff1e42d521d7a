"""DOCX -> one text for each section, a section being a heading and what follows it.

Read from the XML rather than through python-docx's paragraphs: those leave out content controls, tracked insertions and
text boxes without a word.
"""

import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from include.embedding_etl.extract.opened import OpenObject

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # says again what stands beside it
_OLE_STORAGE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAX_FILES = 10_000
_MAX_RATIO = 200  # XML packs well, but not that well
_SMALL_BYTES = 64 << 20  # nobody minds how this was packed
_MEMORY_PER_XML_BYTE = 8


def read_docx(opened: OpenObject) -> Iterator[str]:
    """Yield the document section by section, tables included as rows of ` | `-separated cells.

    Raises:
        PoisonObject: EncryptedDocx, ZipBomb (judged before anything is unpacked), CorruptDocx.
    """
    import docx
    from docx.opc.exceptions import PackageNotFoundError
    from lxml.etree import XMLSyntaxError

    _check_archive(opened)
    opened.body.seek(0)
    try:
        document = docx.Document(opened.body)
        headings = {style.style_id for style in document.styles if (style.name or "").startswith(("Heading", "Title"))}
        root = document.element.body
    except (PackageNotFoundError, zipfile.BadZipFile, zlib.error, XMLSyntaxError, KeyError, ValueError) as error:
        raise opened.poison("CorruptDocx", f"not a readable Word document: {error}") from error
    section: list[str] = []
    for element in _blocks(root):
        if section and _is_heading(element, headings):
            yield "\n".join(section)
            section = []
        text = _block_text(element)
        if text.strip():
            section.append(text)
    if section:
        yield "\n".join(section)


def _check_archive(opened: OpenObject) -> None:
    """Judge the archive by its directory. zipfile never unpacks more of an entry than the directory says."""
    if opened.body.read(8) == _OLE_STORAGE:
        raise opened.poison("EncryptedDocx", "a password is needed to read it; store it without one")
    try:
        entries = zipfile.ZipFile(opened.body).infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise opened.poison("CorruptDocx", f"the archive is damaged or cut off: {error}") from error
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if (
        len(entries) > _MAX_FILES
        or unpacked * _MEMORY_PER_XML_BYTE > opened.limits.decode_memory_bytes
        or unpacked > max(_SMALL_BYTES, _MAX_RATIO * packed)
    ):
        raise opened.poison(
            "ZipBomb", f"{len(entries):,} files of {unpacked:,} bytes in an archive of {packed:,} bytes"
        )


def _blocks(parent: "Element") -> Iterator["Element"]:
    """Paragraphs and tables in reading order, looking into content controls and the like."""
    for child in parent:
        if child.tag in (f"{_W}p", f"{_W}tbl"):
            yield child
        elif isinstance(child.tag, str) and child.tag != _FALLBACK:
            yield from _blocks(child)


def _is_heading(element: "Element", headings: set[str]) -> bool:
    style = element.find(f"{_W}pPr/{_W}pStyle")
    return style is not None and style.get(f"{_W}val") in headings


def _block_text(element: "Element") -> str:
    if element.tag == f"{_W}p":
        return "".join(_runs(element)).strip()
    rows = []
    for row in element.iterchildren(f"{_W}tr"):
        cells = [
            " ".join(_block_text(block) for block in _blocks(cell)).strip() for cell in row.iterchildren(f"{_W}tc")
        ]
        if any(cells):
            rows.append(" | ".join(cells))
    return "\n".join(rows)


def _runs(element: "Element") -> Iterator[str]:
    """The visible text below a paragraph. Deleted text has a tag of its own (delText) and stays out."""
    for child in element:
        if child.tag == f"{_W}t":
            yield child.text or ""
        elif child.tag in (f"{_W}tab", f"{_W}br", f"{_W}cr", f"{_W}noBreakHyphen"):
            yield {"tab": "\t", "noBreakHyphen": "-"}.get(child.tag.removeprefix(_W), "\n")
        elif child.tag == f"{_W}p":  # a text box inside this paragraph
            yield "\n"
            yield from _runs(child)
        elif isinstance(child.tag, str) and child.tag not in (_FALLBACK, f"{_W}pPr"):
            yield from _runs(child)

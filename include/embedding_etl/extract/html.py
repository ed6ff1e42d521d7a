"""HTML -> its text without menus, banners and footers."""

import re
from collections.abc import Iterator

from include.embedding_etl.extract.encoding import decode_text, read_bytes
from include.embedding_etl.extract.opened import OpenObject

_DECLARED = re.compile(
    rb"""<meta[^>]{1,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})|<\?xml[^>]{1,200}?encoding="([\w.-]+)"""
)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")  # lxml refuses it in text that is decoded already
_NO_TEXT = ("script", "style", "noscript", "template", "nav", "footer")


def read_html(opened: OpenObject) -> Iterator[str]:
    """Yield the title and the main text. A page without an article keeps everything but scripts and navigation.

    Raises:
        PoisonObject: NotText, TooMuchText.
    """
    import trafilatura
    from lxml import etree, html

    data = read_bytes(opened)
    declared = next((name for name in _declared_encodings(data[:4096])), "")
    markup = _XML_DECLARATION.sub("", decode_text(opened, data, declared)).replace("\x00", "")
    try:
        document = html.document_fromstring(markup)
    except (etree.LxmlError, ValueError):  # nothing that a parser can see
        return
    title = " ".join((document.findtext(".//title") or "").split())
    main = trafilatura.extract(markup, include_comments=False, include_tables=True, favor_recall=True)
    text = main or _all_text(document, etree)
    yield text if not title or title in text else f"{title}\n\n{text}"


def _declared_encodings(head: bytes) -> Iterator[str]:
    for match in _DECLARED.finditer(head):
        yield (match.group(1) or match.group(2)).decode("ascii", "ignore")


def _all_text(document, etree) -> str:  # type: ignore[no-untyped-def] # lxml has no types
    etree.strip_elements(document, *_NO_TEXT, etree.Comment, with_tail=False)
    body = document.find(".//body")
    parts = (" ".join(part.split()) for part in (document if body is None else body).itertext())
    return "\n".join(part for part in parts if part)

"""PDF -> the text of each page."""

from collections.abc import Iterator

from include.embedding_etl.extract.opened import OpenObject


def read_pdf(opened: OpenObject) -> Iterator[str]:
    """Yield one text a page; pages are loaded and freed one by one.

    Raises:
        PoisonObject: EncryptedPdf (a password is needed to open it), CorruptPdf, NoText (no page has any).
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(opened.body)
    except pypdfium2.PdfiumError as error:
        reason = str(error).lower()
        if "password" in reason or "security" in reason:
            raise opened.poison("EncryptedPdf", "a password is needed to read it; store it without one") from error
        raise opened.poison("CorruptPdf", f"not a readable PDF: {error}") from error
    any_text = False
    try:
        for index in range(len(document)):
            text = _page_text(document[index])
            any_text = any_text or bool(text.strip())
            yield text
    except pypdfium2.PdfiumError as error:
        raise opened.poison("CorruptPdf", f"page {index + 1} cannot be read: {error}") from error
    finally:
        document.close()
    if not any_text:
        raise opened.poison("NoText", "no page has any text; it is probably a scan, which needs text recognition first")


def _page_text(page) -> str:  # type: ignore[no-untyped-def] # pypdfium2 has no types
    text_page = page.get_textpage()
    try:
        # U+FFFE is how PDFium marks a hyphen at a line's end: the word goes on in the next line.
        text: str = text_page.get_text_bounded()
        return text.replace("\ufffe\r\n", "").replace("\ufffe", "")
    finally:
        text_page.close()
        page.close()

"""Writes small PDF files byte for byte the same each time; encrypted ones too, which no library here can make."""

import hashlib
from collections.abc import Sequence
from textwrap import wrap

_ID = hashlib.md5(b"embedding etl sample corpus", usedforsecurity=False).digest()
_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def write_pdf(pages: Sequence[str]) -> bytes:
    """A PDF with one page of Helvetica for each text."""
    return _assemble([_page_content(text) for text in pages], trailer="")


def write_encrypted_pdf(pages: Sequence[str], password: str) -> bytes:
    """The same behind a user password, by the 40-bit RC4 handler that every reader of PDF knows.

    Source:
        PDF 1.7 specification, 7.6.2 and 7.6.3, algorithms 1 to 4 with revision 2.
    """
    padded = (password.encode("latin-1") + _PADDING)[:32]
    owner = _rc4(_md5(padded)[:5], padded)
    permissions = -44
    key = _md5(padded + owner + permissions.to_bytes(4, "little", signed=True) + _ID)[:5]
    user = _rc4(key, _PADDING)
    contents = []
    for index, text in enumerate(pages):
        number = _content_object(index)
        object_key = _md5(key + number.to_bytes(3, "little") + b"\0\0")[:10]
        contents.append(_rc4(object_key, _page_content(text)))
    handler = f"/Filter /Standard /V 1 /R 2 /P {permissions} /O <{owner.hex()}> /U <{user.hex()}>"
    return _assemble(contents, trailer=f"/Encrypt << {handler} >> ")


def _assemble(contents: Sequence[bytes], trailer: str) -> bytes:
    kids = " ".join(f"{_content_object(index) - 1} 0 R" for index in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, content in enumerate(contents):
        page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents"
        objects.append(f"{page} {_content_object(index)} 0 R >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    document, offsets = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    ending = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R {trailer}"
    ending += f"/ID [<{_ID.hex()}> <{_ID.hex()}>] >>\nstartxref\n{len(document)}\n%%EOF\n"
    return document + ending.encode()


def _content_object(index: int) -> int:
    """Number of the object that holds a page's content; the page itself is the one before."""
    return 5 + 2 * index


def _page_content(text: str) -> bytes:
    lines = [line for paragraph in text.split("\n") for line in wrap(paragraph, 85) or [""]]
    shown = " ".join(f"({_escape(line)}) Tj T*" for line in lines)
    return f"BT /F1 11 Tf 14 TL 60 780 Td {shown} ET".encode("cp1252")


def _escape(line: str) -> str:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    result, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        result.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(result)

"""Articles as files: plain text, Markdown, HTML with its boilerplate, PDF, DOCX; and tables as CSV and JSON."""

import io
import json
import zipfile
from collections.abc import Sequence
from html import escape

from include.local_stack.corpus.pdf import write_pdf
from include.local_stack.corpus.texts import Article

Table = Sequence[dict[str, str | float]]

PLANETS: Table = (
    {"planet": "Mercury", "moons": 0, "day_hours": 1407.6, "note": "cratered, hot by day and frozen by night"},
    {"planet": "Venus", "moons": 0, "day_hours": 5832.5, "note": "hidden under clouds of sulphuric acid"},
    {"planet": "Mars", "moons": 2, "day_hours": 24.6, "note": "red with rust, with the tallest volcano known"},
    {"planet": "Jupiter", "moons": 97, "day_hours": 9.9, "note": "a storm larger than the Earth turns on it"},
    {"planet": "Saturn", "moons": 274, "day_hours": 10.7, "note": "rings of ice, and a density below that of water"},
)
SPICES: Table = (
    {"spice": "cumin", "origin": "Levant", "taste": "warm and earthy", "use": "lentils, flat bread, lamb"},
    {"spice": "star anise", "origin": "China", "taste": "sweet liquorice", "use": "broths and braised pork"},
    {"spice": "saffron", "origin": "Iran", "taste": "hay and honey", "use": "rice and fish soup"},
    {"spice": "cardamom", "origin": "India", "taste": "lemon and eucalyptus", "use": "coffee, buns, milk puddings"},
)
WORKSHOPS: Table = (
    {"course": "Wheel truing", "teacher": "Sofie de Vries", "seats": 8, "about": "straightening a bicycle's wheels"},
    {"course": "Invisible mending", "teacher": "Ada Okafor", "seats": 12, "about": "repairing holes in knitted wool"},
    {"course": "Soldering", "teacher": "Milan Kovac", "seats": 6, "about": "replacing dead capacitors in old radios"},
)


def as_text(article: Article) -> bytes:
    """Plain UTF-8."""
    return article.plain.encode()


def as_markdown(article: Article) -> bytes:
    """Markdown with a heading and a line about the author."""
    body = "\n\n".join(article.paragraphs)
    return f"# {article.title}\n\n*{article.author}* - `{article.topic}`\n\n{body}\n".encode()


def as_html(article: Article) -> bytes:
    """A page with the menus, scripts and footers that extraction has to leave out."""
    paragraphs = "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in article.paragraphs)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{escape(article.title)}</title>
<style>body {{ font-family: serif }}</style><script>window.tracking = "on";</script></head>
<body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/subscribe">Subscribe to our newsletter</a></li></ul></nav>
<main><article><h1>{escape(article.title)}</h1>
{paragraphs}
</article></main>
<footer>Cookie settings - All rights reserved - Follow us</footer>
</body></html>
""".encode()


def as_pdf(article: Article) -> bytes:
    """One page a paragraph, each headed by the title."""
    return write_pdf([f"{article.title}\n\n{paragraph}" for paragraph in article.paragraphs])


def as_docx(article: Article) -> bytes:
    """A heading and paragraphs, packed so that the same article gives the same bytes."""
    import docx

    document = docx.Document()
    document.add_heading(article.title, level=1)
    for paragraph in article.paragraphs:
        document.add_paragraph(paragraph)
    written = io.BytesIO()
    document.save(written)
    packed = io.BytesIO()
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():  # zip files carry the time of writing
            target.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), source.read(name), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def as_csv(table: Table) -> bytes:
    """A header line and a line a row; values with commas are quoted."""
    lines = [",".join(table[0])]
    lines += [",".join(f'"{value}"' if "," in str(value) else str(value) for value in row.values()) for row in table]
    return ("\r\n".join(lines) + "\r\n").encode()


def as_json(table: Table) -> bytes:
    """A list of objects."""
    return (json.dumps(list(table), indent=2) + "\n").encode()

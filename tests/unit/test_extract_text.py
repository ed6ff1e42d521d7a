"""Documents become readable text, with offsets; what cannot be read is refused by name."""

import io
import zipfile

import docx
import pytest
from docx.oxml import parse_xml

from include.embedding_etl.media_types import DOCX
from include.embedding_etl.types import Limits, ModelInput
from tests.fixtures_media import (
    SENTENCE,
    extract_all,
    make_csv,
    make_docx,
    make_docx_bomb,
    make_html,
    make_json,
    make_noise,
    make_pdf,
    opened,
    refusal,
)

TEXT = ModelInput(("text",), max_tokens=62)
PDF = "application/pdf"


def read(data: bytes, media_type: str = "text/plain") -> str:
    return "\n\n".join(segment.text for segment in extract_all(opened(data, media_type, TEXT)))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Käse über alles, 漢字 😀", "utf-8"),
        ("Käse über alles, 漢字 😀", "utf-8-sig"),
        ("Käse über alles, 漢字 😀", "utf-16"),
        ("Käse über alles, 漢字 😀", "utf-32"),
        ("The lighthouse keeper counts the ships.", "utf-16-le"),
        ("The lighthouse keeper counts the ships.", "utf-16-be"),
        ("Straße und Käse über alles schön grün. " * 10, "cp1252"),
        ("Смотритель маяка считает корабли ночью. " * 10, "cp1251"),
        ("灯台守は夜に通る船を数える。とても静かな夜です。" * 10, "shift_jis"),
    ],
)
def test_encodings_are_detected(text: str, encoding: str) -> None:
    assert read(text.encode(encoding)).strip() == text.strip()


def test_a_late_foreign_letter_is_found_behind_a_long_stretch_of_ascii() -> None:
    text = "plain words only. " * 10_000 + "Grüße aus Köln, schöne Straße. " * 5
    assert read(text.encode("cp1252")) == text


def test_pain_20_a_few_bad_bytes_in_utf8_cost_themselves_only() -> None:
    data = ("Käse über alles. " * 50).encode()
    text = read(data[:100] + b"\xff\xfe" + data[100:])
    assert text.count("\ufffd") == 2
    assert text.replace("\ufffd", "") == data.decode()


def test_noise_is_not_text() -> None:
    assert refusal(opened(make_noise(5_000), "text/plain", TEXT)) == "NotText"


def test_line_ends_are_one_kind_and_nul_and_half_pairs_are_gone() -> None:
    assert read(b"one\r\ntwo\rthree\0 and a good deal more") == "one\ntwo\nthree and a good deal more"
    assert read(b'{"a": "x \\ud800 y"}', "application/json") == "a: x ? y"


def test_text_longer_than_the_limit_is_refused_before_it_is_read_whole() -> None:
    limits = Limits(max_characters=100)
    assert refusal(opened(b"word " * 1_000, "text/plain", TEXT, limits=limits)) == "TooMuchText"
    page = b"<p>ebb</p>" + b"<br>" * 200  # little text in much markup
    assert refusal(opened(page, "text/html", TEXT, limits=limits)) == "TooMuchText"
    assert refusal(opened(b"word " * 30, "text/plain", TEXT, limits=limits)) == "TooMuchText"
    assert refusal(opened(make_pdf(["x" * 60, "y" * 60]), PDF, TEXT, limits=limits)) == "TooMuchText"


# ---- HTML


def test_html_keeps_the_article_and_drops_what_is_around_it() -> None:
    article = [f"{SENTENCE} This is night number {number}, and all of it is true." for number in range(6)]
    text = read(make_html(article), "text/html")
    assert all(paragraph in text for paragraph in article)
    assert text.startswith("Lighthouses")
    assert not any(word in text for word in ("tracking", "Sign in", "Copyright"))


def test_html_without_an_article_keeps_all_its_words() -> None:
    page = b"<html><head><title>Tide</title></head><body><div>low</div><div><b>high</b></div><script>x</script></body>"
    assert read(page, "text/html").split() == ["Tide", "low", "high"]


def test_html_of_one_short_word_and_html_of_nothing() -> None:
    assert read(b"<p>ebb</p>", "text/html") == "ebb"
    assert extract_all(opened(b"<html><body><script>1</script></body></html>", "text/html", TEXT)) == []


def test_html_is_decoded_as_it_declares() -> None:
    page = '<html><head><meta charset="windows-1251"></head><body><p>Маяк</p></body></html>'
    assert read(page.encode("cp1251"), "text/html") == "Маяк"


def test_xhtml_with_an_xml_declaration_is_read() -> None:
    page = '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>Tür</p></body></html>'
    assert read(page.encode(), "text/html") == "Tür"


# ---- PDF


def test_pdf_is_read_by_page_with_offsets_into_the_whole_text() -> None:
    pages = extract_all(opened(make_pdf(["First page", "", "Third page"]), PDF, TEXT))
    assert [(page.start, page.end, page.text) for page in pages] == [(0, 10, "First page"), (12, 22, "Third page")]


def test_pdf_that_needs_a_password_is_refused_by_name() -> None:
    assert refusal(opened(make_pdf([SENTENCE], user_password="secret"), PDF, TEXT)) == "EncryptedPdf"


def test_pdf_that_is_encrypted_but_opens_without_a_password_is_read() -> None:
    assert read(make_pdf([SENTENCE], user_password=""), PDF) == SENTENCE


def test_pdf_without_text_is_refused_rather_than_indexed_as_nothing() -> None:
    assert refusal(opened(make_pdf(["", ""]), PDF, TEXT)) == "NoText"


def test_noise_with_a_pdf_header_is_refused() -> None:
    assert refusal(opened(b"%PDF-1.7\n" + make_noise(2_000), PDF, TEXT)) == "CorruptPdf"


# ---- DOCX


def test_docx_is_read_by_heading_with_its_tables() -> None:
    data = make_docx(
        {"Tides": ["Low at six.", "High at noon."], "Ships": ["Two."]}, [["Ship", "Tons"], ["Aurora", "12"]]
    )
    sections = extract_all(opened(data, DOCX, TEXT))
    assert [section.text for section in sections] == [
        "Tides\nLow at six.\nHigh at noon.",
        "Ships\nTwo.\nShip | Tons\nAurora | 12",
    ]
    assert [section.start for section in sections] == [0, len(sections[0].text) + 2]


def test_docx_content_controls_and_insertions_are_read_and_deletions_are_not() -> None:
    document = docx.Document()
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    control = f"<w:sdt {space}><w:sdtContent><w:p><w:r><w:t>in a control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    tracked = (
        f"<w:p {space}><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>"
        "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del></w:p>"
    )
    for xml in (control, tracked):
        document.element.body.insert(0, parse_xml(xml))
    out = io.BytesIO()
    document.save(out)
    assert read(out.getvalue(), DOCX) == "inserted\nin a control"


def test_pain_21_a_docx_that_unpacks_to_hundreds_of_megabytes_is_refused_unopened() -> None:
    bomb = make_docx_bomb()
    assert len(bomb) < 8 << 20
    assert refusal(opened(bomb, DOCX, TEXT)) == "ZipBomb"


def test_cut_and_encrypted_and_foreign_archives_are_refused_as_docx() -> None:
    assert refusal(opened(make_docx({"One": ["two"]})[:5_000], DOCX, TEXT)) == "CorruptDocx"
    assert refusal(opened(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), DOCX, TEXT)) == "EncryptedDocx"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("readme.txt", "no document")
    assert refusal(opened(out.getvalue(), DOCX, TEXT)) == "CorruptDocx"


# ---- CSV and JSON


def test_csv_values_stand_beside_their_headers() -> None:
    data = make_csv([["ship", "tons", "note"], ["Aurora", "12", "two,\nlines"], ["Bell", "", "x"]])
    assert read(data, "text/csv") == "ship: Aurora; tons: 12; note: two, lines\nship: Bell; note: x"


def test_csv_with_semicolons_and_csv_without_a_header() -> None:
    assert read(b"ship;tons\nAurora;12\nBell;7\n", "text/csv") == "ship: Aurora; tons: 12\nship: Bell; tons: 7"
    assert read(b"Aurora,12\nBell,7\n", "text/csv") == "Aurora; 12\nBell; 7"


def test_broken_csv_is_still_text() -> None:
    assert "Aurora" in read(b'ship,tons\n"Aurora,12\n', "text/csv")


def test_json_values_stand_beside_their_paths() -> None:
    data = make_json([{"ship": {"name": "Aurora", "tags": ["a", "b"]}, "crew": [{"age": 3}, {"age": 4}]}, {"ok": True}])
    assert read(data, "application/json") == (
        "ship.name: Aurora\nship.tags: a, b\ncrew.age: 3\ncrew.age: 4\n\nok: true"
    )


def test_json_lines_are_read_line_by_line() -> None:
    assert read(b'{"a": 1}\n{"a": "x"}\n', "application/json") == "a: 1\n\na: x"


def test_json_that_is_broken_or_absurdly_deep_is_still_text() -> None:
    assert read(b'{"a": [1, 2', "application/json") == '{"a": [1, 2'
    assert read(b"[" * 100_000, "application/json").startswith("[[[")


def test_markdown_stays_as_it_is() -> None:
    assert read(b"# Tides\n\n* low\n* high\n", "text/markdown") == "# Tides\n\n* low\n* high\n"

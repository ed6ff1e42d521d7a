"""Which lanes a media type enters, and which keys a pipeline looks at."""

import pytest

from include.embedding_etl.lane_settings import LaneSettings, ModelSettings
from include.embedding_etl.routing import KeyFilter, lanes_for


def lane(*accepts: str) -> LaneSettings:
    return LaneSettings(accepts=accepts, model=ModelSettings(kind="clip", id="x"))


LANES = {
    "text": lane("text/*", "application/pdf"),
    "image": lane("image/*"),
    "multimodal": lane("image/*", "text/plain"),
    "everything": lane("*/*"),
}


@pytest.mark.parametrize(
    ("media_type", "names"),
    [
        ("text/plain", ("text", "multimodal", "everything")),
        ("text/markdown", ("text", "everything")),
        ("application/pdf", ("text", "everything")),
        ("image/png", ("image", "multimodal", "everything")),
        ("audio/wav", ("everything",)),
        ("image/svg+xml", ()),
        ("application/octet-stream", ()),
        ("", ()),
    ],
)
def test_a_media_type_enters_every_lane_that_accepts_it(media_type: str, names: tuple[str, ...]) -> None:
    assert lanes_for(media_type, LANES) == names


def test_a_media_type_that_no_lane_accepts_is_unrouted() -> None:
    assert lanes_for("video/mp4", {"text": LANES["text"]}) == ()


@pytest.mark.parametrize(
    ("pattern", "accepted", "refused"),
    [
        ("**", ["a", "a/b", "/a", "a//b", "dir/", "../x", "line\nbreak", "🦉"], []),
        ("*.txt", ["a.txt", "x/y/a.txt", "/a.txt"], ["a.TXT", "a.txt/b", "a.txt "]),
        ("docs/*", ["docs/a"], ["docs/a/b", "docs", "x/docs/a"]),
        ("docs/**", ["docs/a", "docs/a/b", "docs/"], ["docs", "docs2/a"]),
        ("docs/**/*.md", ["docs/a.md", "docs/x/y/a.md"], ["docs/a.txt", "a.md"]),
        ("**/tmp/**", ["tmp/a", "x/tmp/a", "x/y/tmp/a/b"], ["xtmp/a", "tmp"]),
        ("a?c", ["abc", "x/a?c"], ["ac", "a/c", "abbc"]),
        ("[a-c]x/*", ["bx/1"], ["dx/1", "-x/1"]),
        ("[!a-c]x/*", ["dx/1"], ["bx/1"]),
        ("x[^]/*", ["x^/1"], ["xa/1"]),
        ("a.b+c(d)|e", ["a.b+c(d)|e"], ["aXb+c(d)|e", "a.bbc(d)|e"]),
        ("[", ["["], ["a"]),
        ("with space /*", ["with space /x"], ["with space/x"]),
    ],
)
def test_globs(pattern: str, accepted: list[str], refused: list[str]) -> None:
    keys = KeyFilter((pattern,))
    assert [key for key in accepted if not keys.accepts(key)] == []
    assert [key for key in refused if keys.accepts(key)] == []


def test_excluding_wins_and_any_include_is_enough() -> None:
    keys = KeyFilter(("docs/**", "*.pdf"), ("**/drafts/**", "*.tmp"))
    assert [
        key
        for key in ("docs/a", "x/b.pdf", "docs/drafts/a", "drafts/b.pdf", "docs/a.tmp", "x/b.txt")
        if keys.accepts(key)
    ] == ["docs/a", "x/b.pdf"]


def test_no_include_accepts_nothing() -> None:
    assert not KeyFilter(()).accepts("a")

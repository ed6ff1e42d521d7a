"""Three searches that show what was indexed: a question, a described picture, a sound that is not in the corpus."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from include.embedding_etl.cli.tables import plain
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.search import Query, search
from include.embedding_etl.types import Hit
from include.embedding_etl.vectorstore.filters import in_list

QUESTION = "what should I do first if I owe money on my card?"
DESCRIPTION = "a large yellow moon on a black background"
PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/bmp", "image/tiff", "image/heic")


def show_searches(runtime: Runtime, console: Console, sound: Path) -> None:
    """Search the lanes text, multimodal and audio, and print the hits."""
    # The lane holds texts too, and the nearest one to a sentence would be the same sentence.
    only_pictures = in_list("media_type", PICTURES)
    searches = (
        ("text → text", f"“{QUESTION}”", "text", Query(text=QUESTION, top=3)),
        (
            "text → picture",
            f"“{DESCRIPTION}”",
            "multimodal",
            Query(text=DESCRIPTION, filter_expression=only_pictures, top=3),
        ),
        ("sound → sound", f"a bell that is not in the corpus, {sound}", "audio", Query(file=sound, top=3)),
    )
    for kind, asked, lane, query in searches:
        console.print(f"[bold]{kind}[/bold]  {escape(asked)}", highlight=False, soft_wrap=True)
        for hit in search(runtime, lane, query):
            _show_hit(console, hit)


def _show_hit(console: Console, hit: Hit) -> None:
    line = plain(f"  {hit.score:.3f}  {hit.fields['object_key']}", 70)
    text = " ".join(str(hit.fields.get("text") or "").split())
    if text:
        line.append("  ").append(plain(text, 70))
    console.print(line, soft_wrap=True)

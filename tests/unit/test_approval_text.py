"""What a person reads before deciding: keys and texts of strangers cannot leave their code."""

from include.embedding_etl.approval_text import describe_verification
from include.embedding_etl.deletions import Deletions, describe_deletions
from include.embedding_etl.ledger.records import ReindexRecord

HOSTILE = "a`b <script>alert(1)</script>\n\n# heading [x](javascript:alert(1)) ``` | c"


def record(**changes: object) -> ReindexRecord:
    found = {
        "rows": 12,
        "recall": 0.987,
        "queries": 200,
        "overlap": 0.5,
        "dead_letters": 3,
        "questions": ["7 of 9 objects vanished from storage and will be gone"],
        "samples": [{"object_key": HOSTILE, "text": HOSTILE, "before": [HOSTILE] * 10, "after": []}],
        **changes,
    }
    return ReindexRecord("r", "demo", "text", "verified", {}, "new_2", "old_1", found, 0, None)


def code_and_rest(text: str) -> tuple[str, str]:
    """What is inside of backticks, and what is not."""
    parts = text.split("`")
    return "".join(parts[1::2]), "".join(parts[0::2])


def test_the_figures_the_warning_and_the_searches_are_there() -> None:
    text = describe_verification(record())
    for part in ("`new_2`", "`old_1`", "12 rows", "0.987 over 200", "50% are the same", "dead letters: 3", "7 of 9"):
        assert part in text
    assert "after: nothing" in text


def test_a_stranger_cannot_write_markdown_or_html() -> None:
    code, rest = code_and_rest(describe_verification(record()))
    assert "script" in code
    assert "script" not in rest
    assert "heading" not in rest
    assert "\n# heading" not in code


def test_without_a_live_collection_nothing_is_claimed_about_neighbours() -> None:
    assert "no live collection to compare with" in describe_verification(record(overlap=None))


def test_the_question_about_deletions_shows_counts_and_first_keys_only() -> None:
    keys = (*(f"k{number}" for number in range(19)), HOSTILE)
    text = describe_deletions("s3://b/", [Deletions("text", 412, 500, 50, keys)])
    assert "412 of 500 indexed objects" in text
    assert '"k0"' in text
    assert "… and 392 more" in text
    fenced = text.split("```")
    assert len(fenced) == 3  # the key's own fence did not end the block
    assert "script" not in fenced[0] + fenced[2]
    assert len(fenced[1].strip().splitlines()) == 21  # one line a key

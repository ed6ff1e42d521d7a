"""docs/failures.md says of every class of dead letter what to do."""

import re
from pathlib import Path

from include.embedding_etl.diff import LOOK_AGAIN
from include.embedding_etl.status.advice import ADVICE
from include.embedding_etl.types import Limits

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "failures.md").read_text()
CODE = "\n".join(path.read_text() for path in (ROOT / "include" / "embedding_etl").rglob("*.py"))


def classes() -> set[str]:
    named = set(re.findall(r'poison\(\s*"(\w+)"', CODE))
    named |= set(re.findall(r'PoisonObject\(\s*[^,()]+,\s*"?\w+"?,\s*"([A-Z]\w+)"', CODE))
    named |= set(re.findall(r'return "([A-Z]\w+)", f?"', CODE))  # of pictures
    halves = set(re.findall(r'_class\("(\w+)"', CODE))  # of sound and film
    return named | {half + kind for half in halves for kind in ("Audio", "Video")}


def test_the_classes_are_found_in_the_code() -> None:
    assert {
        "EncryptedPdf",
        "NothingToEmbed",
        "TruncatedImage",
        "CorruptVideo",
        "DecoderCrashed",
        "InputRefused",
    } <= classes()


def test_every_class_has_its_advice_and_every_advice_its_class() -> None:
    table = DOCUMENT.split("## Classes")[1].split("## Left out")[0]
    told = {
        name for row in re.findall(r"^\| (`[A-Z].*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert told == classes()


def test_the_pages_give_the_same_advice() -> None:
    table = DOCUMENT.split("## Classes")[1].split("## Left out")[0]
    rows = re.findall(r"^\| (`[A-Z].*?) \| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    told = {name: (meaning, todo) for names, meaning, todo in rows for name in re.findall(r"`(\w+)`", names)}
    assert {name: (advice.meaning, advice.what_to_do) for name, advice in ADVICE.items()} == told


def test_every_reason_to_skip_is_told() -> None:
    reasons = LOOK_AGAIN | {"empty", "directory marker", "oversize", "archived"}
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in DOCUMENT] == []


def test_every_limit_that_is_named_exists() -> None:
    assert set(re.findall(r"`limits\.(\w+)`", DOCUMENT)) <= set(Limits.__slots__)

"""Realistic texts in any number, from the sentences of the sample corpus, the same each time."""

import random

from include.local_stack.corpus.texts import ARTICLES


def make_texts(count: int, seed: int = 1, label: str = "Note", longest: int = 12) -> list[str]:
    """Texts of one to `longest` sentences, each its own; those of another label are others."""
    rng = random.Random(seed)
    sentences = [
        sentence.strip() + "."
        for article in ARTICLES.values()
        for paragraph in article.paragraphs
        for sentence in paragraph.split(".")
        if sentence.strip()
    ]
    return [
        f"{label} {number}. " + " ".join(rng.choices(sentences, k=rng.randint(1, longest))) for number in range(count)
    ]

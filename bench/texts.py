"""Realistic texts in any number, from the sentences of the sample corpus, the same each time."""

import random

from include.local_stack.corpus.texts import ARTICLES


def make_texts(count: int, seed: int = 1) -> list[str]:
    """Texts of one to twelve sentences, each its own."""
    rng = random.Random(seed)
    sentences = [
        sentence.strip() + "."
        for article in ARTICLES.values()
        for paragraph in article.paragraphs
        for sentence in paragraph.split(".")
        if sentence.strip()
    ]
    return [f"Note {number}. " + " ".join(rng.choices(sentences, k=rng.randint(1, 12))) for number in range(count)]

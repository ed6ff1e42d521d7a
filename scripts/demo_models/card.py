"""Write the model card: what a demo model knows, what it does not know, and what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill


@dataclass(frozen=True, slots=True)
class Card:
    """What the figures alone do not say."""

    name: str
    what: str
    knows: str
    does_not_know: str
    method: str
    figures_mean: str


PICTURES = Card(
    name="clip-drawings",
    what="A small CLIPModel (64 px, 128 dimensions): a sentence finds a drawing, and a drawing finds its like.",
    knows="One flat shape on a plain background: 8 shapes, 8 colours, 2 sizes, 9 places, 4 backgrounds, and about "
    "ninety English words for them.",
    does_not_know="Everything else: photographs, people, scenes of several things, grammar, negation, words outside "
    "its vocabulary (they all become one unknown word). Its vector of a photograph says little but the main colours.",
    method="CLIP's contrastive loss (Radford et al. 2021) over drawn scenes with paraphrased captions. A scene comes "
    "with three others that differ from it in one attribute; a picture counts as right for every caption that is true "
    "of it. While training, five linear layers also name the attributes from the picture's vector; they are not kept.",
    figures_mean="`scenes` are all combinations of attributes that training never saw, each drawn once. `recall@1` and "
    "`recall@5`: the scene is first (among the first five) when its full caption is searched among them. "
    "`shape`, `colour`, …: the caption is nearer to its scene than to one that differs in this attribute alone. "
    "`shape alone`: how many of the ten best hits for “a star” are stars, over all shapes.",
)
CLIPS = Card(
    name="perceiver-drawings",
    what="A small PerceiverForMultimodalAutoencoding (16 frames of 32 px, 128 dimensions): a clip finds its like.",
    knows="One flat shape that moves once on a plain background: 8 motions, 8 shapes, 8 colours, 4 backgrounds. Motion "
    "was meant to weigh most, then shape; on combinations it never saw, colour and background weigh more than meant.",
    does_not_know="Everything else: real film, cuts, several things at once. It was taught that sound must not matter. "
    "Its decoder is untrained: the file carries it because the architecture asks for it, and no vector depends on it.",
    method="The mean of the encoder's latents is trained so that the cosine of two clips is the weighted share of the "
    "attributes they have in common, and so that linear layers (not kept) can name the attributes. The sound is "
    "silence, hum or noise at random.",
    figures_mean="`clips` are drawn from combinations of attributes that training never saw. `same … first`: the "
    "nearest clip, among those of other combinations, shares this attribute. It must differ in something: with exactly "
    "the intended likeness, motion would reach 0.99, shape 0.95, background 0.36, colour 0.33. `motion`, `shape`, …: "
    "another drawing of the same combination is nearer than one that differs in this attribute alone. Chance is not "
    "the whole comparison here: after two steps of training the same figures were motion 0.67, shape 0.68, colour "
    "0.90, background 1.00, and the same motion first in 0.14, the same shape in 0.17, the same colour in 0.60, the "
    "same background in 0.99.",
)
CHANCE: Mapping[str, str] = {
    "recall@1": "1 in the number of scenes",
    "recall@5": "5 in the number of scenes",
    "shape alone": "0.12",
    "same background first": "0.25",
    "same shape first": "0.12",
    "same colour first": "0.12",
    "same motion first": "0.12",
}
_MEASURED = (
    "Measured in fp32 through the embedders of this project. Earlier attempts were measured on the same drawings and "
    "the recipe was changed after looking, so the figures are a little flattering."
)
_COUNTS = ("scenes", "clips")


def write_card(card: Card, directory: Path, recipe: object, figures: Mapping[str, float], seconds: float) -> None:
    """Write README.md beside the weights."""
    size = (directory / "model.safetensors").stat().st_size / 1e6
    rows = [
        f"| {name} | {value:.0f} | |" if name in _COUNTS else f"| {name} | {value:.2f} | {CHANCE.get(name, '0.50')} |"
        for name, value in figures.items()
    ]
    training = (
        f"`python scripts/train_demo_models.py {card.name}` writes this directory again (processors differ in the last "
        f"bits, and so will the weights). It took {seconds:.0f} s on a busy machine with 2 cores, on 1 thread. Recipe: "
        f"`{recipe}`. The weights are {size:.1f} MB."
    )
    text = f"""---
license: apache-2.0
---
# {card.name}

{_wrap(card.what)}

**Demo only.** It was trained from nothing, in minutes, on drawings that this repository makes itself, so that the demo
runs without a network. Use a full-size model for anything real.

{_wrap("- Knows: " + card.knows)}
{_wrap("- Does not know: " + card.does_not_know)}

## How it was trained

{_wrap(card.method)}

{_wrap(training)}

## What it reaches

{_wrap(_MEASURED)}

| Figure | Measured | Chance |
|---|---|---|
{chr(10).join(rows)}

{_wrap(card.figures_mean)}

Licence: Apache-2.0, as this repository.
"""
    (directory / "README.md").write_text(text, encoding="utf-8")


def _wrap(text: str) -> str:
    hanging = "  " if text.startswith("- ") else ""
    return fill(text, 120, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)

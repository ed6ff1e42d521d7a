"""Say what a scene shows in many ways, and leave things out as people do. The vocabulary is fixed: all words here."""

import random
from dataclasses import dataclass

from include.local_stack.drawings import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene

ATTRIBUTES = ("shape", "colour", "size", "place", "background")
SPECIAL = ("[PAD]", "[UNK]", "[BOS]", "[EOS]")  # [EOS] must not be 2: CLIPTextModel has a special case for that id

_SHAPE_WORDS = {
    "circle": ("circle", "circle", "disc", "dot"),
    "square": ("square", "square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "cross", "plus"),
    "ring": ("ring", "ring", "hoop"),
    "heart": ("heart",),
    "moon": ("moon", "moon", "crescent"),
}
_COLOUR_WORDS = {"purple": ("purple", "violet")}
_SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "large": ("large", "large", "big", "huge")}
_BACKGROUND_WORDS = {"gray": ("gray", "grey"), "beige": ("beige", "tan")}
_NO_SHAPE = ("shape", "thing", "object", "figure")
_OPENINGS = (
    "", "", "", "a", "a", "a", "the", "one", "a picture of a", "a drawing of a", "an image of a", "there is a",
    "an image that shows a", "picture with a", "show me a", "find a",
)  # fmt: skip
_BACKGROUND_PHRASES = ("on a {} background", "on a {} background", "on {}", "over a {} background", "in front of {}")
_PLACE_PHRASES = {
    "in the center": ("in the center", "in the middle", "centered", "at the center"),
    "at the top": ("at the top", "near the top", "in the upper part"),
    "at the bottom": ("at the bottom", "near the bottom", "in the lower part"),
    "on the left": ("on the left", "on the left side", "to the left"),
    "on the right": ("on the right", "on the right side", "to the right"),
    "at the top left": ("at the top left", "in the top left corner", "in the upper left corner"),
    "at the top right": ("at the top right", "in the top right corner", "in the upper right corner"),
    "at the bottom left": ("at the bottom left", "in the bottom left corner", "in the lower left corner"),
    "at the bottom right": ("at the bottom right", "in the bottom right corner", "in the lower right corner"),
}
# What a caption mentions, and how often: people ask for "a red circle" more than for its background.
_MENTIONED = (
    (ATTRIBUTES, 40),
    (("shape",), 12),
    (("shape", "colour"), 18),
    (("shape", "colour", "size"), 8),
    (("shape", "colour", "place"), 6),
    (("shape", "colour", "background"), 6),
    (("shape", "place"), 5),
    (("colour",), 3),
    (("background",), 2),
)
_FILLER = (
    "any", "please", "some", "with", "nice", "cute", "simple", "plain", "drawn", "colored", "photo",
    "sketch", "is", "are", "has", "its", "and", "of", "very",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence, and which attributes it says something about."""

    text: str
    mentioned: tuple[bool, ...]  # in the order of ATTRIBUTES


def paraphrase(scene: Scene, rng: random.Random) -> Caption:
    """One of many sentences that are true of the scene."""
    chosen = rng.choices([names for names, _ in _MENTIONED], [weight for _, weight in _MENTIONED])[0]
    words = [rng.choice(_OPENINGS)]
    if "size" in chosen:
        words.append(rng.choice(_SIZE_WORDS[scene.size]))
    if "colour" in chosen:
        words.append(rng.choice(_COLOUR_WORDS.get(scene.colour, (scene.colour,))))
    words.append(rng.choice(_SHAPE_WORDS[scene.shape] if "shape" in chosen else _NO_SHAPE))
    phrases = []
    if "place" in chosen:
        phrases.append(rng.choice(_PLACE_PHRASES[scene.place]))
    if "background" in chosen:
        name = rng.choice(_BACKGROUND_WORDS.get(scene.background, (scene.background,)))
        phrases.append(rng.choice(_BACKGROUND_PHRASES).format(name))
    if rng.random() < 0.3:
        rng.shuffle(phrases)
    words += phrases
    if rng.random() < 0.08:
        words = [*phrases, *words[: len(words) - len(phrases)]]
    spelled = " ".join(words).split()
    if rng.random() < 0.15:  # unknown and empty words must not disturb what is known
        spelled.insert(rng.randrange(len(spelled) + 1), rng.choice([*_FILLER, "[UNK]"]))
    return Caption(" ".join(spelled), tuple(name in chosen for name in ATTRIBUTES))


def vocabulary() -> list[str]:
    """Every word the model knows, special tokens first, always in the same order."""
    phrases: list[str] = [*_OPENINGS, *_BACKGROUND_PHRASES, *_NO_SHAPE, *_FILLER]
    phrases += [*SHAPES, *COLOURS, *SIZES, *PLACES, *BACKGROUNDS]
    for table in (_SHAPE_WORDS, _COLOUR_WORDS, _SIZE_WORDS, _BACKGROUND_WORDS, _PLACE_PHRASES):
        phrases += [phrase for alternatives in table.values() for phrase in alternatives]
    words = {word for phrase in phrases for word in phrase.replace("{}", " ").split()}
    return [*SPECIAL, *sorted(words)]

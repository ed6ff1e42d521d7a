"""Measure the demo models on combinations that training never saw, through the embedders of the product."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.lane_settings import ModelKind, ModelSettings
from include.embedding_etl.types import Chunk, Vectors
from include.local_stack.drawings import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    PLACES,
    SHAPES,
    SIZES,
    Clip,
    Scene,
    clip_of,
    draw_clip,
    draw_scene,
)
from scripts.demo_models.clips import FRAMES, shrink

_UNSEEN = 5_000_000  # first seed of drawings that training never draws
_BATCH = 32
_CLIP_SIDE = 64
_SCENE_CHOICES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "place": PLACES, "background": BACKGROUNDS}
_CLIP_CHOICES = {"shape": SHAPES, "colour": COLOURS, "motion": MOTIONS, "background": BACKGROUNDS}

Drawing = TypeVar("Drawing", Scene, Clip)


def load(kind: ModelKind, directory: Path) -> Embedder:
    """The product's embedder for a directory of weights, in fp32: the same figures on every machine."""
    settings = ModelSettings(kind=kind, id=str(directory), weights="path", precision="fp32")
    with TemporaryDirectory() as notes:  # of hashes, which nobody needs here
        return load_embedder(settings, resolve_model(settings, Path(notes)), "cpu")


def measure_pictures(embedder: Embedder, limit: int = 1_000) -> dict[str, float]:
    """How well sentences find drawings.

    Args:
        embedder: Of kind clip.
        limit: Scenes at most; there are fewer that training never saw.
    Returns:
        `scenes`; `recall@1`, `recall@5` of a scene by its caption among all of them; `<attribute>`, how often the
        caption is nearer to its scene than to one that differs in this attribute alone; `shape alone`, how much of the
        ten best for "a star" are stars.
    """
    scenes = _scenes(limit)
    seen, read = _embed_scenes(embedder, scenes), _embed_texts(embedder, [scene.caption for scene in scenes])
    likeness = read @ seen.T
    own = likeness.diagonal()
    rank = np.sum(likeness > own[:, None], axis=1)
    figures = {"scenes": len(scenes), "recall@1": float(np.mean(rank < 1)), "recall@5": float(np.mean(rank < 5))}
    for name, choices in _SCENE_CHOICES.items():
        changed = _embed_scenes(embedder, [_change(scene, name, choices) for scene in scenes])
        figures[name] = float(np.mean(own > np.sum(changed * read, axis=1)))
    order = np.argsort(-_embed_texts(embedder, [f"a {shape}" for shape in SHAPES]) @ seen.T, axis=1)[:, :10]
    hits = [scenes[index].shape == shape for shape, row in zip(SHAPES, order, strict=True) for index in row]
    return {**figures, "shape alone": float(np.mean(hits))}


def measure_clips(embedder: Embedder, limit: int = 400) -> dict[str, float]:
    """How well clips find their like.

    Args:
        embedder: Of kind perceiver.
        limit: Clips, each of a combination that training never saw.
    Returns:
        `clips`; `same <attribute> first`, how often the nearest clip of another combination shares the attribute;
        `<attribute>`, how often another drawing of the same combination is nearer than one that differs in it.
    """
    seeds = (clip_of(seed) for seed in range(_UNSEEN, 2 * _UNSEEN))
    clips = list(islice((clip for clip in seeds if clip.held_out), limit))
    vectors = _embed_clips(embedder, clips)
    again = _embed_clips(embedder, [replace(clip, variant=clip.variant + _UNSEEN) for clip in clips])
    likeness = vectors @ vectors.T
    for row, one in enumerate(clips):
        for column, other in enumerate(clips):
            if replace(one, variant=other.variant) == other:
                likeness[row, column] = -np.inf
    nearest = [clips[index] for index in likeness.argmax(axis=1)]
    own = np.sum(vectors * again, axis=1)
    figures: dict[str, float] = {"clips": len(clips)}
    for name, choices in _CLIP_CHOICES.items():
        pairs = zip(clips, nearest, strict=True)
        figures[f"same {name} first"] = float(np.mean([getattr(one, name) == getattr(two, name) for one, two in pairs]))
        changed = _embed_clips(embedder, [_change(clip, name, choices) for clip in clips])
        figures[name] = float(np.mean(own > np.sum(vectors * changed, axis=1)))
    return figures


def _scenes(limit: int) -> list[Scene]:
    combinations = product(SHAPES, COLOURS, SIZES, PLACES, BACKGROUNDS)
    scenes = [Scene(*values) for values in combinations if Scene(*values).held_out]
    random.Random(0).shuffle(scenes)
    return [replace(scene, variant=_UNSEEN + number) for number, scene in enumerate(scenes[:limit])]


def _change(drawing: Drawing, name: str, choices: Iterable[str]) -> Drawing:
    """Another drawing that differs in one attribute."""
    others = [choice for choice in choices if choice != getattr(drawing, name)]
    other = random.Random(f"{name} {drawing.variant}").choice(others)
    return replace(drawing, **{name: other}, variant=drawing.variant + _UNSEEN)


def _embed_scenes(embedder: Embedder, scenes: Sequence[Scene]) -> Vectors:
    return _embed(embedder, [Chunk(0, 0, 0, pixels=draw_scene(scene)[0]) for scene in scenes])


def _embed_texts(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    return _embed(embedder, [Chunk(0, 0, len(text), text=text) for text in texts])


def _embed_clips(embedder: Embedder, clips: Sequence[Clip]) -> Vectors:
    return _embed(embedder, [Chunk(0, 0, 0, frames=shrink(draw_clip(clip, _CLIP_SIDE, FRAMES)[0])) for clip in clips])


def _embed(embedder: Embedder, chunks: Sequence[Chunk]) -> Vectors:
    starts = range(0, len(chunks), _BATCH)
    return np.concatenate([embedder.embed(chunks[start : start + _BATCH]) for start in starts])

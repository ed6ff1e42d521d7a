"""Train the small Perceiver on drawn clips: how a shape moves, then what it is, then its colour."""

import math
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional
from transformers import PerceiverConfig, PerceiverForMultimodalAutoencoding

from include.local_stack.drawings import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Clip, clip_of, draw_clip

FRAMES = 16
SIDE = 32
SAMPLES_PER_FRAME = 64
CHOICES = {"motion": MOTIONS, "shape": SHAPES, "colour": tuple(COLOURS), "background": tuple(BACKGROUNDS)}
# How much of two clips' cosine each attribute decides. What moves how is what people look for in a film.
_WEIGHTS = {"motion": 0.4, "shape": 0.35, "colour": 0.2, "background": 0.05}
_LIKENESS_WEIGHT = 40.0
_DRAWN_SIDE = 2 * SIDE  # drawn larger and averaged, as the decoder shrinks a film
_SAMPLES_PER_PATCH = 16
_PIXEL_CHANNELS = 3 * 4 * 4  # of a patch
_LABELS = 8


@dataclass(frozen=True, slots=True)
class ClipRecipe:
    """What decides the result, besides the drawing code."""

    seed: int = 1
    clips: int = 4_000
    steps: int = 1_300
    batch: int = 24
    learning_rate: float = 1.5e-3


def make_model(seed: int) -> PerceiverForMultimodalAutoencoding:
    """An untrained model of about 1 million parameters."""
    torch.manual_seed(seed)
    config = PerceiverConfig(
        num_latents=32,
        d_latents=128,
        d_model=max(385 + _SAMPLES_PER_PATCH, 243, _LABELS) + 4,  # widest modality and 4 channels that tell them apart
        num_blocks=1,
        num_self_attends_per_block=4,
        num_self_attention_heads=4,
        num_cross_attention_heads=4,
        qk_channels=128,
        v_channels=128,
        attention_probs_dropout_prob=0.0,
        image_size=SIDE,
        num_frames=FRAMES,
        audio_samples_per_frame=SAMPLES_PER_FRAME,
        samples_per_patch=_SAMPLES_PER_PATCH,
        output_shape=[1, FRAMES, SIDE, SIDE],
        output_num_channels=64,
        num_labels=_LABELS,
        sampling_rate=16_000,
        _label_trainable_num_channels=64,  # of the decoder, which nobody runs: 1,024 would be two thirds of the file
    )
    return PerceiverForMultimodalAutoencoding(config)


def shrink(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames of any square size as the model sees them."""
    return np.stack([np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BOX)) for frame in frames])


def train(recipe: ClipRecipe, directory: Path) -> float:
    """Train and save. Returns the seconds it took."""
    started = time.perf_counter()
    clips = _training_clips(recipe)
    frames = np.stack([shrink(draw_clip(clip, _DRAWN_SIDE, FRAMES)[0]) for clip in clips])
    labels = torch.tensor([[CHOICES[name].index(getattr(clip, name)) for name in CHOICES] for clip in clips])
    print(f"drew {len(clips)} clips in {time.perf_counter() - started:.0f} s", flush=True)

    model = make_model(recipe.seed)
    decoder, model.perceiver.decoder = model.perceiver.decoder, None
    _begin_well(model)
    heads = torch.nn.ModuleList([torch.nn.Linear(model.config.d_latents, len(values)) for values in CHOICES.values()])
    weights = torch.tensor(list(_WEIGHTS.values()))
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, recipe.steps))
    rng = np.random.default_rng(recipe.seed)
    model.train()
    for step in range(recipe.steps):
        chosen = rng.choice(len(clips), recipe.batch, replace=False)
        pooled = _pool(model, frames[chosen], _any_sound(rng, recipe.batch))
        vectors = functional.normalize(pooled, dim=-1)
        wanted = labels[chosen]
        similar = ((wanted[:, None] == wanted[None]) * weights).sum(-1)
        apart = ~torch.eye(recipe.batch, dtype=torch.bool)
        unlike = functional.mse_loss((vectors @ vectors.T)[apart], similar[apart])
        named = [functional.cross_entropy(head(pooled), right) for head, right in zip(heads, wanted.T, strict=True)]
        loss = _LIKENESS_WEIGHT * unlike + sum(named)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            shown = " ".join(f"{name} {value.item():.2f}" for name, value in zip(CHOICES, named, strict=True))
            print(f"step {step} unlike {unlike.item():.3f} {shown} {time.perf_counter() - started:.0f} s", flush=True)
    model.perceiver.decoder = decoder  # from_pretrained wants its weights; they are untrained and no vector needs them
    model.eval().save_pretrained(directory)
    return time.perf_counter() - started


def _begin_well(model: PerceiverForMultimodalAutoencoding) -> None:
    """Start where pixels weigh more against places and padding: as transformers begins, 120 steps taught no colour.

    What comes before the first matrices could be scaled by them as well, so it stays as it is: half the work of a step.
    """
    encoder, inputs = model.perceiver.encoder, model.perceiver.input_preprocessor
    inputs.requires_grad_(False)
    norm = encoder.cross_attention.attention.self.layernorm2.requires_grad_(False)
    with torch.no_grad():
        for padding in inputs.padding.values():
            padding.zero_()
        norm.weight[:_PIXEL_CHANNELS] = 10
        for matrix in (weights for weights in encoder.parameters() if weights.ndim == 2):
            matrix *= 2.5
        latents = model.perceiver.embeddings.latents
        latents -= latents.mean(0)  # or every clip would begin with the same large mean


def _pool(
    model: PerceiverForMultimodalAutoencoding, frames: NDArray[np.uint8], sound: NDArray[np.float32]
) -> torch.Tensor:
    """What the product's embedder does, with gradients: the mean of the encoder's latents."""
    inputs = {
        "image": torch.from_numpy(frames).permute(0, 1, 4, 2, 3).float() / 255,
        "audio": torch.from_numpy(sound)[..., None],
        "label": torch.zeros(len(frames), model.config.num_labels),
    }
    latents: torch.Tensor = model.perceiver(inputs=inputs).last_hidden_state
    return latents.mean(1)


def _training_clips(recipe: ClipRecipe) -> list[Clip]:
    clips = (clip_of(seed) for seed in count())
    chosen = (clip for clip in clips if not clip.held_out)
    return [next(chosen) for _ in range(recipe.clips)]


def _any_sound(rng: np.random.Generator, clips: int) -> NDArray[np.float32]:
    """Silence, hum or noise, whatever the picture shows: the sound of a film must not move its vector."""
    length = FRAMES * SAMPLES_PER_FRAME
    tone = np.sin(np.arange(length) * rng.uniform(0.01, 1.0, (clips, 1)))
    noise = rng.uniform(-1, 1, (clips, length))
    loudness = rng.uniform(0, 1, (2, clips, 1)) * rng.integers(0, 2, (2, clips, 1))
    return np.asarray((loudness[0] * tone + loudness[1] * noise) / 2, np.float32)


def _learning_rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))

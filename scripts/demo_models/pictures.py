"""Train the small CLIP model on drawn scenes and their captions."""

import io
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoImageProcessor, CLIPConfig, CLIPImageProcessorPil, CLIPModel

from include.local_stack.drawings import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, draw_scene, scene_of
from scripts.demo_models.captions import ATTRIBUTES, Caption, paraphrase, vocabulary

SIDE = 64
MAX_TOKENS = 32
GROUP = 4  # a scene and three that differ from it in one attribute: without them, shape is hardly learned
_CHOICES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "place": PLACES, "background": BACKGROUNDS}
_DIFFER_IN = ("shape", "shape", "shape", "size", "place", "colour", "background")
_HEAD_WEIGHT = 0.3
_FILE_SIZES = (96, 128, 192, 256, 256, 384)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the result, besides the drawing code."""

    seed: int = 1
    scenes: int = 12_288
    steps: int = 850
    batch: int = 128
    learning_rate: float = 2e-3


def make_model(seed: int) -> CLIPModel:
    """An untrained model of about 0.9 million parameters."""
    torch.manual_seed(seed)
    words = vocabulary()
    shared = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={
            **shared,
            "num_hidden_layers": 2,
            "vocab_size": len(words),
            "max_position_embeddings": MAX_TOKENS,
            "pad_token_id": words.index("[PAD]"),
            "bos_token_id": words.index("[BOS]"),
            "eos_token_id": words.index("[EOS]"),
        },
        vision_config={**shared, "num_hidden_layers": 3, "image_size": SIDE, "patch_size": 8},
        projection_dim=128,
        attn_implementation="eager",
    )
    model = CLIPModel(config)
    with torch.no_grad():  # as transformers begins, places were at chance after 800 steps
        model.vision_model.embeddings.position_embedding.weight *= 15
    return model


def make_tokenizer() -> Tokenizer:
    """Whole words of a fixed list; everything else is [UNK]."""
    words = {word: number for number, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", words["[BOS]"]), ("[EOS]", words["[EOS]"])]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[BOS]", "[EOS]"])
    return tokenizer


def save_processor(directory: Path) -> None:
    """Write the picture preprocessing next to the weights, as transformers expects it."""
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor.save_pretrained(directory)


def train(recipe: Recipe, directory: Path) -> float:
    """Train and save. Returns the seconds it took."""
    started = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    save_processor(directory)
    tokenizer = make_tokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    scenes = list(_training_scenes(recipe))
    pictures = _pictures(scenes, recipe.seed, directory)
    labels = np.array([[list(_CHOICES[name]).index(getattr(scene, name)) for name in ATTRIBUTES] for scene in scenes])
    print(f"drew {len(scenes)} scenes in {time.perf_counter() - started:.0f} s", flush=True)

    model = make_model(recipe.seed)
    heads = torch.nn.ModuleList([torch.nn.Linear(128, len(_CHOICES[name])) for name in ATTRIBUTES])
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *heads.parameters()], lr=recipe.learning_rate, weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, recipe.steps))
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")  # noqa: S106 - no password
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    rng = random.Random(recipe.seed)
    model.train()
    for step in range(recipe.steps):
        groups = rng.sample(range(len(scenes) // GROUP), recipe.batch // GROUP)
        chosen = [group * GROUP + member for group in groups for member in range(GROUP)]
        captions = [paraphrase(scenes[index], rng) for index in chosen]
        encoded = tokenizer.encode_batch([caption.text for caption in captions])
        pixels = torch.from_numpy(pictures[chosen]).permute(0, 3, 1, 2).float() / 255
        seen = model.get_image_features((pixels - mean) / std).pooler_output
        read = model.get_text_features(
            input_ids=torch.tensor([item.ids for item in encoded]),
            attention_mask=torch.tensor([item.attention_mask for item in encoded]),
        ).pooler_output
        logits = model.logit_scale.exp().clamp(max=100) * normalize(read, dim=-1) @ normalize(seen, dim=-1).T
        loss = _loss(logits, _true_of(captions, labels[chosen]))
        # Named directly, attributes are learned in far fewer steps.
        named = [
            cross_entropy(head(seen), wanted)
            for head, wanted in zip(heads, torch.from_numpy(labels[chosen]).T, strict=True)
        ]
        loss = loss + _HEAD_WEIGHT * sum(named)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            shown = " ".join(f"{name} {value.item():.2f}" for name, value in zip(ATTRIBUTES, named, strict=True))
            print(f"step {step} loss {loss.item():.2f} {shown} {time.perf_counter() - started:.0f} s", flush=True)
    model.eval().save_pretrained(directory)
    return time.perf_counter() - started


def _true_of(captions: list[Caption], labels: NDArray[np.int64]) -> torch.Tensor:
    """[i, j] = caption i says nothing false about picture j."""
    silent = ~np.array([caption.mentioned for caption in captions])
    same = labels[:, None, :] == labels[None, :, :]
    return torch.from_numpy((same | silent[:, None, :]).all(axis=2)).float()


def _loss(logits: torch.Tensor, true_of: torch.Tensor) -> torch.Tensor:
    """CLIP's loss, where several pictures may fit one caption: "a circle" is true of every circle in the batch."""
    by_text = -(true_of / true_of.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    by_picture = -(true_of / true_of.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (by_text + by_picture) / 2


def _learning_rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 60) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _training_scenes(recipe: Recipe) -> Iterator[Scene]:
    rng = random.Random(recipe.seed)
    seed = 0
    for _ in range(recipe.scenes // GROUP):
        base = scene_of(seed)
        while base.held_out:
            seed += 1
            base = scene_of(seed)
        yield base
        for member in range(1, GROUP):
            neighbour = base
            while neighbour == base or neighbour.held_out:
                attribute = rng.choice(_DIFFER_IN)
                change: dict[str, Any] = {attribute: rng.choice(list(_CHOICES[attribute]))}
                neighbour = replace(base, **change)
            yield replace(neighbour, variant=-(seed * GROUP + member))
        seed += 1


def _pictures(scenes: list[Scene], seed: int, directory: Path) -> NDArray[np.uint8]:
    """Each scene as the model will see it: drawn as a file of some size, perhaps as JPEG, then shrunk."""
    rng = random.Random(seed)
    processor = AutoImageProcessor.from_pretrained(
        directory, backend="pil", do_normalize=False, do_rescale=False, local_files_only=True
    )
    pictures = np.empty((len(scenes), SIDE, SIDE, 3), np.uint8)
    for index, scene in enumerate(scenes):
        drawn, _ = draw_scene(scene, rng.choice(_FILE_SIZES))
        if rng.random() < 0.3:
            body = io.BytesIO()
            Image.fromarray(drawn).save(body, "JPEG", quality=rng.randint(60, 95))
            drawn = np.asarray(Image.open(body))
        pictures[index] = processor(drawn, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    return pictures

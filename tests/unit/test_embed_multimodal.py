import numpy as np
import pytest

from include.embedding_etl.errors import PoisonObject
from include.embedding_etl.types import Chunk
from tests.fixtures_models import SmallModels, lowest_cosine, pictures, text_chunks, unit

PICTURES = [Chunk(number, 0, 0, pixels=pixels) for number, pixels in enumerate(pictures(3))]
TEXTS = text_chunks("a red circle", "a small blue square on the left of the sea", "cat")
MIXED = [TEXTS[0], PICTURES[0], PICTURES[1], TEXTS[1], PICTURES[2], TEXTS[2]]


def reference(small_models: SmallModels) -> np.ndarray:
    """One input at a time, in the order of MIXED, through transformers and nothing of ours."""
    import torch
    from PIL import Image
    from tokenizers import Tokenizer
    from transformers import AutoImageProcessor, CLIPModel

    path = small_models.path("clip")
    model = CLIPModel.from_pretrained(path).eval()
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_truncation()
    rows = []
    with torch.no_grad():
        for chunk in MIXED:
            if chunk.pixels is None:
                ids = torch.tensor([tokenizer.encode(chunk.text).ids])
                rows.append(model.text_projection(model.text_model(input_ids=ids).pooler_output)[0])
            else:
                seen = model.vision_model(**processor(Image.fromarray(chunk.pixels), return_tensors="pt"))
                rows.append(model.visual_projection(seen.pooler_output)[0])
    return unit(np.stack(rows))


def test_a_mixed_batch_keeps_its_order(small_models: SmallModels) -> None:
    vectors = small_models.load("clip").embed(MIXED)
    assert vectors.shape == (6, 24)
    np.testing.assert_allclose(vectors, reference(small_models), atol=5e-6)


@pytest.mark.parametrize("chunks", [PICTURES, TEXTS], ids=["pictures", "texts"])
def test_a_batch_equals_its_members_one_by_one(small_models: SmallModels, chunks: list[Chunk]) -> None:
    embedder = small_models.load("clip")
    one_by_one = np.concatenate([embedder.embed([chunk]) for chunk in chunks])
    np.testing.assert_allclose(embedder.embed(chunks), one_by_one, atol=5e-6)


def test_bfloat16_gives_almost_the_same_vectors(small_models: SmallModels) -> None:
    exact, fast = (small_models.load("clip", precision).embed(MIXED) for precision in ("fp32", "bf16"))
    assert lowest_cosine(exact, fast) > 0.999
    assert not np.array_equal(exact, fast)


def test_pain_28_a_text_beyond_the_models_window_is_refused_not_cut(small_models: SmallModels) -> None:
    with pytest.raises(PoisonObject, match="clip reads 18"):
        small_models.load("clip").embed(text_chunks(" ".join(["cat"] * 19)))

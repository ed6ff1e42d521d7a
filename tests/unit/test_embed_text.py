import numpy as np
import pytest

from include.embedding_etl.errors import PoisonObject
from tests.fixtures_models import SmallModels, lowest_cosine, text_chunks, unit

TEXTS = ("a red circle", "a small blue square on the left of the large sea", "cat", "the cat on the right of the sea")


def reference(small_models: SmallModels, name: str) -> np.ndarray:
    """One text at a time, without padding, through transformers and nothing of ours."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    path = small_models.path(name)
    model = AutoModel.from_pretrained(path).eval()
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_truncation()
    with torch.no_grad():
        return unit(
            [model(input_ids=torch.tensor([tokenizer.encode(t).ids])).last_hidden_state[0].mean(0) for t in TEXTS]
        )


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_vectors_are_the_mean_over_the_tokens(small_models: SmallModels, name: str) -> None:
    vectors = small_models.load(name).embed(text_chunks(*TEXTS))
    assert vectors.shape == (4, 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors, reference(small_models, name), atol=2e-6)


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_padding_beside_a_longer_text_changes_nothing(small_models: SmallModels, name: str) -> None:
    embedder = small_models.load(name)
    together = embedder.embed(text_chunks(*TEXTS))
    one_by_one = np.concatenate([embedder.embed(text_chunks(text)) for text in TEXTS])
    np.testing.assert_allclose(together, one_by_one, atol=2e-6)


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_bfloat16_gives_almost_the_same_vectors(small_models: SmallModels, name: str) -> None:
    exact, fast = (small_models.load(name, precision).embed(text_chunks(*TEXTS)) for precision in ("fp32", "bf16"))
    assert lowest_cosine(exact, fast) > 0.9999
    assert not np.array_equal(exact, fast)


def test_pain_28_the_truncation_in_a_tokenizer_file_is_not_obeyed(small_models: SmallModels) -> None:
    embedder = small_models.load("bert")
    long, other_end = "a red circle on the left of the sea cat", "a red circle on the left of the large square"
    first, second = embedder.embed(text_chunks(long, other_end))
    assert first @ second < 0.9999  # the file says 8 tokens: cut there, both would be the same


def test_pain_28_a_text_beyond_the_models_window_is_refused_not_cut(small_models: SmallModels) -> None:
    embedder = small_models.load("bert")
    embedder.embed(text_chunks(" ".join(["cat"] * 18)))
    with pytest.raises(PoisonObject, match="has 19 tokens, bert reads 18"):
        embedder.embed(text_chunks(" ".join(["cat"] * 19)))


def test_the_first_token_is_used_where_the_model_says_so(small_models: SmallModels, tmp_path) -> None:
    import shutil

    import torch
    from transformers import AutoModel

    from include.embedding_etl.embed.load import load_embedder
    from include.embedding_etl.embed.models import resolve_model

    path = tmp_path / "cls"
    shutil.copytree(small_models.path("bert"), path)
    (path / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    settings = small_models.settings("bert").model_copy(update={"id": str(path)})
    info = resolve_model(settings, tmp_path)
    vectors = load_embedder(settings, info, "cpu").embed(text_chunks("cat"))
    with torch.no_grad():
        states = AutoModel.from_pretrained(path).eval()(input_ids=torch.tensor([[2, 17, 3]])).last_hidden_state
    assert info.pooling == "cls"
    np.testing.assert_allclose(vectors, unit(states[:, 0]), atol=2e-6)

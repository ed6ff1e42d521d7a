"""Texts as arrays of token ids, by the model's own tokenizer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from include.embedding_etl.embed.pretrained import loading
from include.embedding_etl.errors import PoisonObject
from include.embedding_etl.types import ModelInfo

Ids = NDArray[np.int64]


class TextReader:
    """A tokenizer that neither cuts nor hides anything.

    Raises:
        ConfigError: tokenizer.json cannot be read.
    """

    def __init__(self, info: ModelInfo, pad_id: int) -> None:
        self._info = info
        self._pad_id = pad_id
        with loading(info):
            self._tokenizer = Tokenizer.from_file(info.input.tokenizer_path)
        self._tokenizer.no_truncation()  # many files carry one: a text would lose its end silently
        self._tokenizer.no_padding()
        self._special = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def read(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """Token ids, padded on the right to the longest text, and the mask of what is not padding.

        Raises:
            PoisonObject: a text is longer than the model reads. The chunker never lets it come to that; a query may.
        """
        rows: list[list[int]] = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        longest = max(map(len, rows), default=0)
        tokens, limit = longest - self._special, self._info.input.max_tokens
        if tokens > limit:
            raise PoisonObject(
                "", "embed", "TextTooLong", f"the text has {tokens} tokens, {self._info.model_id} reads {limit}"
            )
        ids: Ids = np.full((len(rows), longest), self._pad_id, dtype=np.int64)
        mask: Ids = np.zeros((len(rows), longest), dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask

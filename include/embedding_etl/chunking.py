"""Segments -> chunks. Text is cut by the model's own tokenizer, so that nothing is ever truncated by the model.

Every chunk is counted again after it was cut. Pictures, windows of sound and spans of film are chunks already.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from semantic_text_splitter import TextSplitter
from tokenizers import Tokenizer

from include.embedding_etl.errors import ConfigError, PoisonObject
from include.embedding_etl.types import Chunk, ChunkSettings, Limits, ModelInput, Segment

MAX_CHUNK_BYTES = 60_000  # a Milvus VARCHAR holds 65,535; a token can be a hundred dashes
_BLOCK_CHARACTERS_PER_TOKEN = 32
_MIN_BLOCK_CHARACTERS = 2_000

Piece = tuple[int, str]  # offset in the segment, text


@dataclass(frozen=True, slots=True)
class TextCutter:
    """Cuts text to at most `max_tokens` tokens and MAX_CHUNK_BYTES bytes."""

    splitter: TextSplitter
    count_tokens: Callable[[str], int]
    max_tokens: int

    def cut(self, text: str) -> Iterator[Piece]:
        """Yield (offset, text) in order, overlapping as configured.

        Cuts block by block: the splitter's time grows faster than the length of an unbroken stretch of text. The last
        piece of a block ends where the block happens to end, so it is dropped and the next block begins where it began.
        """
        block = max(_MIN_BLOCK_CHARACTERS, _BLOCK_CHARACTERS_PER_TOKEN * self.max_tokens)
        start = 0
        while start < len(text):
            pieces = self.splitter.chunk_indices(text[start : start + block])
            if start + block >= len(text):
                next_start = len(text)
            elif len(pieces) > 1 and pieces[-1][0] > 0:
                next_start = start + pieces.pop()[0]
            else:
                next_start = start + block
            for offset, piece in pieces:
                yield from self._fit(start + offset, piece)
            start = next_start

    def _fit(self, offset: int, piece: str) -> Iterator[Piece]:
        """Halve a piece until it fits. The splitter's pieces do, but for the bytes: this is where it is made sure."""
        if len(piece.encode()) <= MAX_CHUNK_BYTES and self.count_tokens(piece) <= self.max_tokens:
            yield offset, piece
        elif len(piece) > 1:
            middle = len(piece) // 2
            cut = piece.rfind(" ", 1, middle) + 1 or middle
            yield from self._fit(offset, piece[:cut])
            yield from self._fit(offset + cut, piece[cut:])
        # A single character of more tokens than the model reads has no meaning to it.


def chunk(
    key: str, segments: Iterable[Segment], model_input: ModelInput, settings: ChunkSettings, limits: Limits
) -> Iterator[Chunk]:
    """Yield an object's chunks, numbered from 0 over all its segments; start and end count from the object's beginning.

    Raises:
        PoisonObject: NothingToEmbed, TooManyChunks; and what `segments` raises. Chunks yielded before are void then.
        ConfigError: the tokenizer cannot be read.
    """
    ordinal = 0
    for segment in segments:
        for start, end, text in _cut(segment, model_input, settings):
            if ordinal >= limits.max_chunks:
                raise PoisonObject(
                    key, "chunk", "TooManyChunks", f"more chunks than limits.max_chunks ({limits.max_chunks:,}) allows"
                )
            yield Chunk(ordinal, start, end, text, segment.pixels, segment.samples, segment.frames)
            ordinal += 1
    if ordinal == 0:
        raise PoisonObject(key, "chunk", "NothingToEmbed", "there is no text, picture, sound or film in it")


@lru_cache(maxsize=4)
def load_cutter(tokenizer_path: str, max_tokens: int, overlap_tokens: int) -> TextCutter:
    """A cutter for one tokenizer. Without a tokenizer a byte counts as a token: no byte-level tokenizer makes more.

    Args:
        max_tokens: Special tokens excluded.
        overlap_tokens: At most half of `max_tokens` is used.
    Raises:
        ConfigError: the file cannot be read, or there is no limit to cut to.
    """
    if max_tokens < 1:
        raise ConfigError("the model's max_tokens is not known; set chunk.max_tokens or model.max_tokens of the lane")
    overlap = min(overlap_tokens, max_tokens // 2)
    if not tokenizer_path:
        return TextCutter(TextSplitter.from_callback(_count_bytes, max_tokens, overlap), _count_bytes, max_tokens)
    try:
        tokenizer = Tokenizer.from_file(tokenizer_path)
    except Exception as error:  # the library raises no class of its own
        raise ConfigError(f"{tokenizer_path}: not a readable tokenizer.json: {error}") from error
    # Both are often stored in the file, and would hide how long a text really is.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TextCutter(
        TextSplitter.from_huggingface_tokenizer(tokenizer, max_tokens, overlap),
        lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids),
        max_tokens,
    )


def _cut(segment: Segment, model_input: ModelInput, settings: ChunkSettings) -> Iterator[tuple[int, int, str]]:
    if not segment.text:
        yield segment.start, segment.end, ""
        return
    limits = [limit for limit in (settings.max_tokens, model_input.max_tokens) if limit]
    cutter = load_cutter(model_input.tokenizer_path, min(limits, default=0), settings.overlap_tokens)
    for offset, text in cutter.cut(segment.text):
        start = segment.start + offset
        yield start, start + len(text), text


def _count_bytes(text: str) -> int:
    return len(text.encode())

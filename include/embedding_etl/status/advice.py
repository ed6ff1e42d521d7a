"""What each class of dead letter means, and what a person does about it. docs/failures.md has the same table."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """For the person who looks at a dead letter."""

    meaning: str
    what_to_do: str


_TABLE: tuple[tuple[tuple[str, ...], Advice], ...] = (
    (
        ("EncryptedPdf", "EncryptedDocx"),
        Advice(
            "It wants a password",
            "Upload it without one",
        ),
    ),
    (
        ("CorruptPdf", "CorruptDocx", "CorruptImage", "CorruptAudio", "CorruptVideo"),
        Advice(
            "Damaged: more cannot be read than can be passed over",
            "Upload a good copy",
        ),
    ),
    (
        ("TruncatedImage", "TruncatedAudio", "TruncatedVideo"),
        Advice(
            "Cut off; half of it, indexed as if it were all, would be a silent loss",
            "Upload it again",
        ),
    ),
    (
        ("UnidentifiedImage", "NotText"),
        Advice(
            "The content is not what its first bytes promise",
            "Upload a good copy, or exclude it under `source.exclude`",
        ),
    ),
    (
        ("NoText",),
        Advice(
            "A PDF of pictures",
            "Run text recognition on it first",
        ),
    ),
    (
        ("NothingToEmbed", "EmptyAudio", "EmptyVideo"),
        Advice(
            "There is nothing in it",
            "Dismiss it, or exclude it",
        ),
    ),
    (
        ("NoAudioStream", "NoVideoStream"),
        Advice(
            "A container without sound or film",
            "Dismiss it, or exclude it",
        ),
    ),
    (
        ("UnsupportedMediaType", "UnsupportedCodec"),
        Advice(
            "No decoder for it",
            "Convert it",
        ),
    ),
    (
        ("TooManyPixels", "TooLong", "TooMuchText", "TooManyChunks", "ZipBomb"),
        Advice(
            "Beyond a limit; the message names it",
            "Raise that key under `limits:`, or dismiss it. No replay is needed",
        ),
    ),
    (
        ("DecodeTimeout", "OutOfMemory", "DecoderCrashed"),
        Advice(
            "The decoder needed too long, too much, or died; it runs in a process of its own",
            "Raise `limits.decode_timeout_s` or `limits.decode_memory_bytes`; if the machine was overloaded, replay",
        ),
    ),
    (
        ("InputRefused",),
        Advice(
            "The endpoint refuses this text; the message has its reason",
            "Mend the endpoint or the text, then replay",
        ),
    ),
    (
        ("TextTooLong",),
        Advice(
            "More tokens than the model reads, though it was cut to fit",
            "Set `model.tokenizer` or a smaller `chunk.max_tokens`, then reindex",
        ),
    ),
    (
        ("BadVector",),
        Advice(
            "The model gave a vector that is not finite or not of unit length",
            "Replay once; if it stays, look at the model",
        ),
    ),
    (
        ("Forbidden", "Archived", "RefusedByStore"),
        Advice(
            "The store does not give it to us",
            "Grant `s3:GetObject`, restore it, or see the code in the message; then replay",
        ),
    ),
    (
        ("LengthMismatch",),
        Advice(
            "The store sent more or fewer bytes than it had listed",
            "Replay; if it stays, upload the object again",
        ),
    ),
    (
        ("OutsideSource",),
        Advice(
            "A link that leads out of the directory",
            "Put the file itself there",
        ),
    ),
)
_UNFORESEEN = Advice("An error of the decoder that nobody foresaw", "Look at the message, and mend or dismiss")

ADVICE: Mapping[str, Advice] = {name: advice for names, advice in _TABLE for name in names}


def advice_for(error_class: str) -> Advice:
    """What to do about letters of a class; a class that is not in the table has the name of a Python exception."""
    return ADVICE.get(error_class, _UNFORESEEN)

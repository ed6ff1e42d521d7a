"""The four things an error can ask of us. Everything that this package raises on purpose is one of them.

    EmbeddingEtlError
    ├── ConfigError      stop; a person edits the configuration
    ├── TransientError   retry with backoff: storage, Milvus or a model endpoint had a bad moment
    ├── PoisonObject     dead-letter this object; the shard goes on
    └── IntegrityError   stop; what we see contradicts itself

Adapters translate foreign errors once, at the edge, with `from`. Messages name the file, the key and what is allowed,
and never carry a secret. Arguments are positional so that every error survives pickling between processes.
"""


class EmbeddingEtlError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(EmbeddingEtlError):
    """Stop: a person has to edit the configuration. The message says which file, which key and what is allowed."""


class TransientError(EmbeddingEtlError):
    """Retry with backoff: the same call may succeed later."""


class IntegrityError(EmbeddingEtlError):
    """Stop: a partial listing, a wrong dimension, counts that do not match. Going on would make a false claim."""


class PoisonObject(EmbeddingEtlError):
    """This object cannot be processed, however often it is tried. It becomes a dead letter; the shard goes on.

    Args:
        key: Object key, unescaped.
        stage: Where it failed: identify, fetch, extract, chunk or embed.
        error_class: A short CamelCase name to group by, such as `EncryptedPdf`.
        message: Plain English for the person who will fix the object.
    """

    def __init__(self, key: str, stage: str, error_class: str, message: str) -> None:
        super().__init__(key, stage, error_class, message)
        self.key = key
        self.stage = stage
        self.error_class = error_class
        self.message = message

    def __str__(self) -> str:
        return f"{self.error_class} while {self.stage}: {self.message}"


class ChangedMeanwhile(EmbeddingEtlError):
    """The object is no longer the version that was listed. Not a failure: the next run sees the new version."""

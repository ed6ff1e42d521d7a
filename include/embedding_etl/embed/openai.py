"""Embeddings from any endpoint that speaks the OpenAI protocol."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from include.embedding_etl.embed.device import normalise
from include.embedding_etl.embed.endpoint import DEFAULT_BASE_URL, read_api_key
from include.embedding_etl.errors import ConfigError, EmbeddingEtlError, IntegrityError, PoisonObject, TransientError
from include.embedding_etl.redaction import redact
from include.embedding_etl.settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError
    from openai.types import CreateEmbeddingResponse

TIMEOUT_S = 60.0
ATTEMPTS = 4  # then the task's own retry, which waits for minutes
MAX_WAIT_S = 20.0

_FIRST_WAIT_S = 0.5
_INPUT_REFUSED = {400, 413, 422}
_NOT_ALLOWED = {401, 403, 404}
_PASSING = {408, 409, 425, 429}


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "OpenAiEmbedder":  # noqa: ARG001 - Loader
    """Connect to the endpoint. Nothing is sent before the first batch.

    Raises:
        ConfigError: the variable with the key is not set.
    """
    from openai import OpenAI

    # All three are given, so that OPENAI_* variables of the machine never decide where texts and keys go.
    client = OpenAI(
        base_url=settings.base_url or DEFAULT_BASE_URL,
        api_key=read_api_key(settings),
        organization="",
        timeout=TIMEOUT_S,
        max_retries=0,
    )
    return OpenAiEmbedder(client, settings, info)


class OpenAiEmbedder:
    """An endpoint, called with one batch at a time."""

    def __init__(self, client: "OpenAI", settings: ModelSettings, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self._client = client
        self._info = info
        self._where = redact(f"{settings.base_url or DEFAULT_BASE_URL}, model {settings.id}")
        # Only models of the text-embedding-3 kind take it; others refuse, and we then stop asking.
        self._options: dict[str, Any] = {"dimensions": settings.dimension} if settings.dimension else {}

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed texts in input order.

        Raises:
            PoisonObject: the endpoint refuses the input; of a batch, find out whose by sending one at a time.
            TransientError: it did not answer, or not now, however often it was asked.
            ConfigError: it does not let us in, or has no such model, or its vectors have another length.
            IntegrityError: its answer does not fit what was asked.
        """
        if not chunks:
            return np.empty((0, self.dimension), np.float32)
        data = sorted(self._ask([chunk.text for chunk in chunks]).data, key=lambda item: item.index)
        if [item.index for item in data] != list(range(len(chunks))):
            raise IntegrityError(f"{self._where}: gave {len(data)} vectors for {len(chunks)} texts")
        lengths = {len(item.embedding) for item in data}
        if lengths != {self.dimension}:
            raise ConfigError(
                f"{self._where}: gives vectors of {', '.join(map(str, sorted(lengths)))} values, but model.dimension "
                f"is {self.dimension}; set it to what the endpoint gives"
            )
        return normalise(np.array([item.embedding for item in data], dtype=np.float32), self._info)

    def _ask(self, texts: list[str]) -> "CreateEmbeddingResponse":
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, TransientError)),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait_s,
            reraise=True,
        )
        return retrying(self._ask_once, texts)

    def _ask_once(self, texts: list[str]) -> "CreateEmbeddingResponse":
        from openai import OpenAIError

        try:
            return self._client.embeddings.create(model=self._info.model_id, input=texts, **self._options)
        except OpenAIError as error:
            if self._options and _status(error) in _INPUT_REFUSED and "dimension" in str(error).lower():
                self._options = {}
                return self._ask_once(texts)
            ours = self._translate(error)
            # Some endpoints quote the key that they refuse, and Airflow logs causes as they are.
            raise ours from (error if isinstance(ours, TransientError) else None)
        except ValueError as error:  # the client found no embeddings in an answer with status 200
            raise TransientError(f"{self._where}: answered without embeddings") from error

    def _translate(self, error: "OpenAIError") -> EmbeddingEtlError:
        """Our error for the client's. Never quotes an answer to a refused key: some endpoints repeat the key in it."""
        status = _status(error)
        if status in _NOT_ALLOWED:
            return ConfigError(
                f"{self._where}: refused with HTTP {status}; check model.id, model.base_url and the key in the "
                "variable that model.api_key_env names"
            )
        if getattr(error, "code", None) == "insufficient_quota":
            return ConfigError(f"{self._where}: the account has no quota left")
        if status in _INPUT_REFUSED:
            return PoisonObject("", "embed", "InputRefused", f"the endpoint refuses this text: {_reason(error)}")
        if status is None or status in _PASSING or status >= 500:
            what = type(error).__name__ if status is None else f"HTTP {status}"
            return TransientError(f"{self._where}: did not answer now ({what})")
        return ConfigError(f"{self._where}: answered with HTTP {status}; check model.base_url")


def _wait_s(state: RetryCallState) -> float:
    """Seconds until the next attempt: what the endpoint asks for, within reason, else twice as long each time."""
    error = state.outcome.exception() if state.outcome else None
    response = getattr(error.__cause__ if error else None, "response", None)
    asked = response.headers.get("retry-after", "") if response is not None else ""
    wait_s = float(asked) if asked.replace(".", "", 1).isdigit() else _FIRST_WAIT_S * 2.0**state.attempt_number
    return min(wait_s, MAX_WAIT_S) * random.uniform(1.0, 1.25)  # noqa: S311 - jitter


def _status(error: "OpenAIError") -> int | None:
    status = getattr(error, "status_code", None)
    return int(status) if status is not None else None


def _reason(error: "OpenAIError") -> str:
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error)[:300]

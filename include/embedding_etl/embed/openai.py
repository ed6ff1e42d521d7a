"""Embeddings from any endpoint that speaks the OpenAI protocol: OpenAI's own, or a TEI, Infinity or vLLM of one's own.

An endpoint that is overloaded gets fewer requests at once; a batch that it finds too large is cut; a text that it
refuses is that text's fault.
"""

import os
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from include.embedding_etl.embed.device import normalise
from include.embedding_etl.embed.endpoint import DEFAULT_BASE_URL, read_api_key
from include.embedding_etl.embed.in_flight import InFlight
from include.embedding_etl.errors import ConfigError, EmbeddingEtlError, IntegrityError, PoisonObject, TransientError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.redaction import redact
from include.embedding_etl.types import Chunk, ModelInfo, Vectors

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError
    from openai.types import Embedding

TIMEOUT_S = 60.0
ATTEMPTS = 4  # then the task's own retry, which waits for minutes
PATIENCE_S = 180.0  # nothing is asked again after that

_OF_THE_ACCOUNT = ("OpenAI-Organization", "OpenAI-Project")
_FIRST_WAIT_S = 0.5
_LONGEST_STEP = 3  # of doubling
_INPUT_REFUSED = {400, 413, 422}
_NOT_ALLOWED = {401, 403, 404}
_PASSING = {408, 409, 424, 425, 429}  # 424: what TEI says when its backend failed
_OVERLOADED = {429, 503}
_TOO_LARGE = "BatchTooLarge"
# What OpenAI, TEI, Infinity and vLLM say of too many texts at once, or too many tokens of all of them.
_ABOUT_THE_BATCH = re.compile(
    r"batch.?size|array too long|at most \d+ items|too many (inputs|items|texts)|per request|payload|entity too large",
    re.IGNORECASE,
)
_MOST_TEXTS = re.compile(r"(?:maximum|max|at most)\D{0,40}(\d+)", re.IGNORECASE)


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "OpenAiEmbedder":  # noqa: ARG001 - Loader
    """Connect to the endpoint. Nothing is sent before the first batch.

    Raises:
        ConfigError: the variable with the key is not set.
    """
    from openai import OpenAI

    # Nothing is left to the machine's OPENAI_* variables: they would decide where texts and keys go.
    key = read_api_key(settings)
    client = OpenAI(
        base_url=settings.base_url or DEFAULT_BASE_URL,
        api_key=key,
        default_headers=_headers(key),
        timeout=TIMEOUT_S,
        max_retries=0,
    )
    return OpenAiEmbedder(client, settings, info)


def _headers(key: str) -> dict[str, Any]:
    """Ours, and of those that the client would take from the machine's variables none."""
    from openai import Omit

    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    names = [*_OF_THE_ACCOUNT, *(line.partition(":")[0].strip() for line in lines)]
    return {**dict.fromkeys(names, Omit()), "Authorization": f"Bearer {key}"}


class OpenAiEmbedder:
    """An endpoint. May be called from many threads; no more than `model.concurrency` requests are in flight."""

    def __init__(self, client: "OpenAI", settings: ModelSettings, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self.in_flight = InFlight(settings.concurrency)
        self._client = client
        self._info = info
        self._where = redact(f"{settings.base_url or DEFAULT_BASE_URL}, model {settings.id}")
        # Only models of the text-embedding-3 kind take it; others refuse, and we then stop asking.
        self._options: dict[str, Any] = {"dimensions": settings.dimension} if settings.dimension else {}
        self._most_texts = settings.batch_size  # of one request; less where the endpoint says so

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
        vectors = self._fitting([chunk.text for chunk in chunks])
        lengths = {len(vector) for vector in vectors}
        if lengths != {self.dimension}:
            raise ConfigError(
                f"{self._where}: gives vectors of {', '.join(map(str, sorted(lengths)))} values, but model.dimension "
                f"is {self.dimension}; set it to what the endpoint gives"
            )
        return normalise(np.array(vectors, dtype=np.float32), self._info)

    def _fitting(self, texts: list[str]) -> list[list[float]]:
        """Vectors of the texts, in as many requests as the endpoint wants."""
        most = self._most_texts
        if len(texts) > most:
            return [vector for n in range(0, len(texts), most) for vector in self._fitting(texts[n : n + most])]
        try:
            return self._ask(texts)
        except PoisonObject as error:
            if error.error_class != _TOO_LARGE:
                raise
            allowed = _MOST_TEXTS.search(error.message)
            if allowed and 0 < int(allowed.group(1)) < len(texts):
                self._most_texts = min(self._most_texts, int(allowed.group(1)))
                return self._fitting(texts)
        half = len(texts) // 2
        return self._fitting(texts[:half]) + self._fitting(texts[half:])

    def _ask(self, texts: list[str]) -> list[list[float]]:
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError), stop=_Patience(self.in_flight), wait=_wait_s, reraise=True
        )
        data = sorted(retrying(self._ask_in_turn, texts), key=lambda item: item.index)
        if [item.index for item in data] != list(range(len(texts))):
            raise IntegrityError(f"{self._where}: gave {len(data)} vectors for {len(texts)} texts")
        return [item.embedding for item in data]

    def _ask_in_turn(self, texts: list[str]) -> list["Embedding"]:
        with self.in_flight.slot() as ticket:
            try:
                data = self._ask_once(texts)
            except TransientError as error:
                if _status(error.__cause__) in _OVERLOADED:
                    self.in_flight.overloaded(ticket, min(_asked_s(error) or 0.0, PATIENCE_S))
                raise
        self.in_flight.succeeded()
        return data

    def _ask_once(self, texts: list[str]) -> list["Embedding"]:
        from openai import OpenAIError

        try:
            return self._client.embeddings.create(model=self._info.model_id, input=texts, **self._options).data
        except OpenAIError as error:
            if self._options and _status(error) in _INPUT_REFUSED and "dimension" in _reason(error).lower():
                self._options = {}
                return self._ask_once(texts)
            ours = self._translate(error, len(texts))
            # Some endpoints quote the key that they refuse, and Airflow logs causes as they are.
            raise ours from (error if isinstance(ours, TransientError) else None)
        except ValueError as error:  # the client found no embeddings in an answer with status 200
            raise TransientError(f"{self._where}: answered without embeddings") from error

    def _translate(self, error: "OpenAIError", texts: int) -> EmbeddingEtlError:
        """Our error for the client's. Never quotes an answer to a refused key: some endpoints repeat the key in it."""
        status = _status(error)
        if status in _NOT_ALLOWED:
            return ConfigError(
                f"{self._where}: refused with HTTP {status}; check model.id, model.base_url and the key in the "
                "variable that model.api_key_env names"
            )
        if getattr(error, "code", None) == "insufficient_quota":
            return ConfigError(f"{self._where}: the account has no quota left")
        if status in _INPUT_REFUSED and texts > 1 and _is_about_the_batch(status, _reason(error)):
            return PoisonObject("", "embed", _TOO_LARGE, _reason(error))
        if status in _INPUT_REFUSED:
            return PoisonObject("", "embed", "InputRefused", f"the endpoint refuses this text: {_reason(error)}")
        if status is None or status in _PASSING or status >= 500:
            what = type(error).__name__ if status is None else f"HTTP {status}"
            return TransientError(f"{self._where}: did not answer now ({what})")
        return ConfigError(f"{self._where}: answered with HTTP {status}; check model.base_url")


class _Patience:
    """When to stop asking: after a number of attempts in vain, or when time is up.

    Where the endpoint has too much to do, but answers others of our requests meanwhile, this one has only to wait.
    """

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._successes = in_flight.successes
        self._in_vain = 0

    def __call__(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        successes = self._in_flight.successes
        if _status(error.__cause__ if error else None) not in _OVERLOADED or successes == self._successes:
            self._in_vain += 1
        self._successes = successes
        return self._in_vain >= ATTEMPTS or (state.seconds_since_start or 0.0) + (_asked_s(error) or 0.0) > PATIENCE_S


def _wait_s(state: RetryCallState) -> float:
    """Seconds until the next attempt: what the endpoint asks for, else twice as long each time."""
    asked_s = _asked_s(state.outcome.exception() if state.outcome else None)
    if asked_s is None:
        asked_s = _FIRST_WAIT_S * 2.0 ** min(state.attempt_number, _LONGEST_STEP)
    return asked_s * random.uniform(1.0, 1.25)  # noqa: S311 - jitter


def _asked_s(error: BaseException | None) -> float | None:
    """How long the endpoint wants to be left alone, by its Retry-After: seconds or a date. None = it does not say."""
    response = getattr(error.__cause__ if error else None, "response", None)
    asked = response.headers.get("retry-after", "") if response is not None else ""
    if asked.replace(".", "", 1).isdigit():
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # not a date; a date without a time zone
        return None


def _status(error: BaseException | None) -> int | None:
    status = getattr(error, "status_code", None)
    return int(status) if status is not None else None


def _is_about_the_batch(status: int, reason: str) -> bool:
    """Whether fewer texts at once would do; a text with too many tokens stays too long on its own."""
    return bool(_ABOUT_THE_BATCH.search(reason)) or (status == 413 and "token" not in reason.lower())


def _reason(error: "OpenAIError") -> str:
    """What the endpoint says, by the key under which OpenAI, TEI or FastAPI says it; never what it was sent."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        said = body.get("message") or body.get("error") or body.get("detail")
        if isinstance(said, list):
            said = "; ".join(str(each.get("msg", "")) for each in said if isinstance(each, dict))
        body = said
    return str(body or error)[:300]

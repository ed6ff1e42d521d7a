"""Several requests in flight at an endpoint that can take fewer, smaller or later ones than we would like."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from tenacity import RetryCallState, Retrying

from include.embedding_etl.content_stream import ChunkReady, ContentEnded, Event, ObjectFailed
from include.embedding_etl.embed import openai as module
from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.in_flight import InFlight
from include.embedding_etl.embed.load import calls_at_once, load_embedder
from include.embedding_etl.embed.model_calls import in_order
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.errors import PoisonObject, TransientError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ObjectRecord
from include.embedding_etl.vector_assembly import ObjectEmbedded, VectorAssembly
from tests.embedding_endpoint import DIMENSION, EmbeddingEndpoint, word_vector
from tests.fixtures_models import text_chunks


def settings_of(endpoint: EmbeddingEndpoint, concurrency: int = 8, batch_size: int = 4) -> ModelSettings:
    return ModelSettings.model_validate(
        {
            "kind": "openai", "id": "word-hash", "weights": "remote", "base_url": endpoint.url, "dimension": DIMENSION,
            "max_tokens": 64, "concurrency": concurrency, "batch_size": batch_size,
        }
    )  # fmt: skip


def load(endpoint: EmbeddingEndpoint, concurrency: int = 8, batch_size: int = 4) -> Embedder:
    settings = settings_of(endpoint, concurrency, batch_size)
    return load_embedder(settings, resolve_model(settings, Path("unused")))


def events(texts: list[str]) -> Iterator[Event]:
    for number, text in enumerate(texts):
        yield ChunkReady(str(number), Chunk(0, 0, len(text), text))
        yield ContentEnded(ObjectRecord(f"{number}.txt", "v", 1, 0, "text/plain", str(number)))


def embed_all(
    endpoint: EmbeddingEndpoint, texts: list[str], concurrency: int = 8
) -> tuple[dict[str, ObjectEmbedded | ObjectFailed], module.OpenAiEmbedder]:
    """{key: outcome}, and the embedder that did it."""
    settings = settings_of(endpoint, concurrency)
    embedder = load(endpoint, concurrency)
    assert isinstance(embedder, module.OpenAiEmbedder)
    assembly = VectorAssembly(embedder, settings.batch_size, calls_at_once(settings))
    outcomes = list(assembly.outcomes(events(texts)))
    assert all(isinstance(outcome, ObjectEmbedded | ObjectFailed) for outcome in outcomes)
    return {outcome.record.key: outcome for outcome in outcomes}, embedder  # type: ignore[union-attr,misc]


@pytest.fixture
def quick(endpoint: EmbeddingEndpoint, monkeypatch: pytest.MonkeyPatch) -> EmbeddingEndpoint:
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.005)
    return endpoint


def test_as_many_requests_are_in_flight_as_the_lane_says(endpoint: EmbeddingEndpoint) -> None:
    endpoint.latency_s = 0.05
    outcomes, _ = embed_all(endpoint, [f"text {n}" for n in range(128)])
    assert len(outcomes) == 128
    assert len(endpoint.batches) == 32
    assert endpoint.most_at_once == 8  # eight times the latency of one batch, in the time of one
    assert endpoint.overloads == 0


def test_by_default_four_are_in_flight(endpoint: EmbeddingEndpoint) -> None:
    assert ModelSettings(kind="openai", id="m").concurrency == 4
    assert calls_at_once(ModelSettings(kind="sentence-transformers", id="m")) == 1  # a local model has one thread


def test_every_vector_is_that_of_its_own_text(endpoint: EmbeddingEndpoint) -> None:
    endpoint.latency_s = 0.01
    texts = [f"word{n} " * (n % 7 + 1) for n in range(60)]
    outcomes, _ = embed_all(endpoint, texts)
    for number, text in enumerate(texts):
        outcome = outcomes[f"{number}.txt"]
        assert isinstance(outcome, ObjectEmbedded)
        assert float(outcome.embedding.vectors[0] @ word_vector(text)) == pytest.approx(1, abs=1e-5)


def test_an_overloaded_endpoint_gets_fewer_requests_and_everything_is_embedded(quick: EmbeddingEndpoint) -> None:
    quick.max_in_flight = 2
    quick.latency_s = 0.02
    quick.retry_after = ""
    texts = [f"text {n}" for n in range(400)]
    outcomes, embedder = embed_all(quick, texts)
    assert {type(outcome) for outcome in outcomes.values()} == {ObjectEmbedded}
    assert quick.take_texts() == sorted(texts)  # each text once: what was turned away was not embedded
    assert quick.most_answered_at_once == 2
    assert embedder.in_flight.limit <= 3
    # Too many at first, then one too many now and again: not one refusal a batch.
    assert 1 <= quick.overloads < len(quick.batches) / 2


def test_requests_that_were_in_flight_together_halve_the_number_once() -> None:
    in_flight = InFlight(8)
    with in_flight.slot() as first, in_flight.slot() as second:
        in_flight.overloaded(first, 0)
        in_flight.overloaded(second, 0)
    assert in_flight.limit == 4
    with in_flight.slot() as third:
        in_flight.overloaded(third, 0)
    assert in_flight.limit == 2


def test_the_number_in_flight_grows_again_slowly_and_never_above_what_the_lane_says() -> None:
    in_flight = InFlight(3)
    with in_flight.slot() as ticket:
        in_flight.overloaded(ticket, 0)
    assert in_flight.limit == 2
    in_flight.succeeded()
    assert in_flight.limit == 2
    for _ in range(20):
        in_flight.succeeded()
    assert in_flight.limit == 3
    for _ in range(100):
        in_flight.succeeded()
    assert in_flight.limit == 3


def test_an_overloaded_endpoint_is_left_alone_for_as_long_as_it_asks() -> None:
    in_flight = InFlight(4)
    started = time.monotonic()
    with in_flight.slot() as ticket:
        in_flight.overloaded(ticket, 0.3)
        in_flight.overloaded(ticket, 0)  # another one, which was not told for how long
    with in_flight.slot():  # whoever asks next waits too
        assert time.monotonic() - started >= 0.3


def test_the_others_requests_wait_too_when_one_is_told_to(quick: EmbeddingEndpoint) -> None:
    quick.fail_next, quick.retry_after = 1, "0.5"
    embedder = load(quick)
    first = threading.Thread(target=embedder.embed, args=(text_chunks("first"),))
    first.start()
    while quick.fail_next:
        time.sleep(0.005)
    time.sleep(0.05)  # until its answer has been read
    asked = time.monotonic()
    embedder.embed(text_chunks("second"))
    assert time.monotonic() - asked >= 0.4
    first.join()


def test_an_endpoint_that_recovers_gets_as_many_requests_as_before(quick: EmbeddingEndpoint) -> None:
    quick.fail_next = 1
    embedder = load(quick, concurrency=2)
    assert isinstance(embedder, module.OpenAiEmbedder)
    embedder.embed(text_chunks("a"))
    assert embedder.in_flight.limit == 1
    for _ in range(20):
        embedder.embed(text_chunks("a"))
    assert embedder.in_flight.limit == 2


def test_those_that_failed_together_do_not_come_back_at_the_same_moment() -> None:
    state = RetryCallState(Retrying(), None, (), {})
    assert len({module._wait_s(state) for _ in range(10)}) > 1


def test_one_that_stays_overloaded_is_transient(quick: EmbeddingEndpoint) -> None:
    quick.fail_next = 1_000
    with pytest.raises(TransientError, match="HTTP 503"):
        load(quick).embed(text_chunks("a"))
    assert 1_000 - quick.fail_next == module.ATTEMPTS


def test_one_that_asks_for_more_time_than_there_is_is_not_waited_for(quick: EmbeddingEndpoint) -> None:
    quick.fail_next, quick.retry_after = 1_000, "3600"
    with pytest.raises(TransientError, match="HTTP 503"):
        load(quick).embed(text_chunks("a"))
    assert 1_000 - quick.fail_next == 1


def test_the_time_may_be_a_date(quick: EmbeddingEndpoint) -> None:
    quick.fail_next, quick.retry_after = 1_000, format_datetime(datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(TransientError):
        load(quick).embed(text_chunks("a"))
    assert 1_000 - quick.fail_next == 1


def test_a_batch_that_is_too_large_is_cut_and_no_text_is_blamed(endpoint: EmbeddingEndpoint) -> None:
    endpoint.max_batch = 3
    embedder = load(endpoint, batch_size=16)
    vectors = embedder.embed(text_chunks(*[f"text {n}" for n in range(10)]))
    assert vectors.shape == (10, DIMENSION)
    assert float(vectors[9] @ word_vector("text 9")) == pytest.approx(1, abs=1e-5)
    assert endpoint.batches == [3, 3, 3, 1]  # the endpoint said how many
    endpoint.batches.clear()
    embedder.embed(text_chunks(*[f"text {n}" for n in range(4)]))
    assert endpoint.batches == [3, 1]  # and need not say it again


@pytest.mark.parametrize(
    ("status", "message", "is_about_the_batch"),
    [
        (413, "batch size 33 > maximum allowed batch size 32", True),  # TEI
        (422, "List should have at most 2048 items after validation, not 3000", True),  # Infinity
        (400, "Invalid 'input': array too long. Expected an array with maximum length 2048", True),  # OpenAI
        (400, "Requested 400000 tokens, max 300000 tokens per request", True),  # OpenAI
        (413, "<html>413 Request Entity Too Large</html>", True),  # a proxy
        (413, "`inputs` must have less than 512 tokens. Given: 600", False),  # TEI, of one text
        (400, "This model's maximum context length is 8192 tokens", False),  # OpenAI, of one text
        (422, "input is too long", False),
    ],
)
def test_what_servers_say_of_batches_and_of_texts(status: int, message: str, is_about_the_batch: bool) -> None:
    assert module._is_about_the_batch(status, message) is is_about_the_batch


def test_a_refused_text_costs_its_object_only(endpoint: EmbeddingEndpoint) -> None:
    endpoint.refused_word = "unwanted"
    outcomes, _ = embed_all(endpoint, [*(f"text {n}" for n in range(30)), "an unwanted one"])
    failed = [key for key, outcome in outcomes.items() if isinstance(outcome, ObjectFailed)]
    assert failed == ["30.txt"]
    assert len(outcomes) == 31


def test_what_was_at_the_model_when_another_batch_failed_is_kept(quick: EmbeddingEndpoint) -> None:
    quick.latency_s = 0.05
    quick.fail_texts = {"a much longer text, which is sent first"}
    settings = settings_of(quick, 4, 1)
    assembly = VectorAssembly(load(quick, 4, 1), 1, calls_at_once(settings))
    kept: list[object] = []
    with pytest.raises(TransientError):
        kept.extend(assembly.outcomes(events([*quick.fail_texts, *(f"text {n}" for n in range(40))])))
    assert kept
    assert len(kept) == len(quick.texts)  # all that the model was asked for


def test_no_more_batches_are_taken_than_may_be_at_the_model() -> None:
    taken, gate = [], threading.Event()

    def batches() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    def call(number: int) -> int:
        gate.wait(10)
        return number

    calls = in_order(call, batches(), 3)
    threading.Timer(0.2, lambda: (most.append(len(taken)), gate.set())).start()
    most: list[int] = []
    assert [batch for batch, answer in calls if answer.result() == batch] == list(range(20))
    assert most == [3]


def test_the_key_is_in_no_message(quick: EmbeddingEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    quick.fail_next = 100
    settings = settings_of(quick).model_copy(update={"api_key_env": "MY_KEY"})
    with pytest.raises((TransientError, PoisonObject)) as caught:
        load_embedder(settings, resolve_model(settings, Path("unused"))).embed(text_chunks("a"))
    assert "sk-very" not in "".join(map(str, (caught.value, caught.value.__cause__, settings)))

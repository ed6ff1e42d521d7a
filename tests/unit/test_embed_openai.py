"""The OpenAI protocol over HTTP, against a server that answers as told and remembers what it was asked."""

import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.embedding_etl.embed import openai as module
from include.embedding_etl.embed.base import Embedder
from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.errors import ConfigError, IntegrityError, PoisonObject, TransientError
from include.embedding_etl.lane_settings import ModelSettings
from tests.fixtures_models import text_chunks

SECRET = "sk-very-secret-value"
Answer = tuple[int, dict[str, Any], dict[str, str]]


class Endpoint:
    """Gives `answers` first, then vectors: the first value is the length of the text."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.length = 4
        self.refuses_dimensions = False
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append(asked)
                endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, document, headers = endpoint.answer(asked)
                body = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def answer(self, asked: dict[str, Any]) -> Answer:
        if self.answers:
            return self.answers.pop(0)
        if self.refuses_dimensions and "dimensions" in asked:
            return error(400, "this model does not support dimensions")
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0, *[0.5] * (self.length - 2)]}
            for index, text in enumerate(asked["input"])
        ]
        data.reverse()  # the index says where a vector belongs, not its place
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return 200, {"object": "list", "model": asked["model"], "data": data, "usage": usage}, {}


def error(status: int, message: str, headers: dict[str, str] | None = None, code: str | None = None) -> Answer:
    return status, {"error": {"message": message, "type": "x", "code": code}}, headers or {}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.005)
    server = Endpoint()
    yield server
    server.server.shutdown()
    server.server.server_close()


def load(endpoint: Endpoint, **values: Any) -> Embedder:
    settings = ModelSettings.model_validate(
        {
            "kind": "openai", "id": "m", "weights": "remote", "base_url": endpoint.url, "dimension": 4, **values,
        }
    )  # fmt: skip
    return load_embedder(settings, resolve_model(settings, Path("unused")))


def test_vectors_come_in_the_order_of_the_texts(endpoint: Endpoint) -> None:
    vectors = load(endpoint).embed(text_chunks("a", "four", "sixteen"))
    assert endpoint.asked[0]["input"] == ["a", "four", "sixteen"]
    assert endpoint.asked[0]["model"] == "m"
    wanted = np.array([[length, 1, 0.5, 0.5] for length in (1, 4, 7)])
    np.testing.assert_allclose(vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)


def test_the_key_comes_from_the_variable_that_the_file_names(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    load(endpoint, api_key_env="MY_KEY").embed(text_chunks("a"))
    assert endpoint.headers[0]["authorization"] == f"Bearer {SECRET}"


def test_a_missing_variable_is_named(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        load(endpoint, api_key_env="MY_KEY")


def test_the_key_of_openai_is_never_sent_to_another_server(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/elsewhere")
    load(endpoint).embed(text_chunks("a"))
    assert SECRET not in str(endpoint.headers)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_ORG_ID", SECRET),
        ("OPENAI_PROJECT_ID", SECRET),
        ("OPENAI_ADMIN_KEY", SECRET),
        ("OPENAI_CUSTOM_HEADERS", f"X-Gateway: {SECRET}"),
        ("OPENAI_CUSTOM_HEADERS", f"no header\nauthorization: Bearer {SECRET}\nAuthorization: Bearer {SECRET}"),
    ],
)
def test_what_the_machine_has_set_for_other_programs_goes_nowhere(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("MY_KEY", "mine")
    monkeypatch.setenv(variable, value)
    load(endpoint, api_key_env="MY_KEY").embed(text_chunks("a"))
    assert endpoint.headers[0]["authorization"] == "Bearer mine"
    assert SECRET not in str(endpoint.headers)
    assert not {"openai-organization", "openai-project"} & set(endpoint.headers[0])


@pytest.mark.parametrize("status", [408, 424, 429, 500, 503])
def test_a_bad_moment_is_asked_again(endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [error(status, "busy")] * 2
    assert load(endpoint).embed(text_chunks("a")).shape == (1, 4)
    assert len(endpoint.asked) == 3


def test_after_a_bounded_number_of_attempts_it_is_transient(endpoint: Endpoint) -> None:
    endpoint.answers = [error(503, "busy")] * 100
    with pytest.raises(TransientError, match="HTTP 503"):
        load(endpoint).embed(text_chunks("a"))
    assert len(endpoint.asked) == module.ATTEMPTS


def test_the_endpoint_says_how_long_to_wait(endpoint: Endpoint) -> None:
    import time

    endpoint.answers = [error(429, "busy", {"Retry-After": "0.4"})]
    started = time.monotonic()
    load(endpoint).embed(text_chunks("a"))
    assert time.monotonic() - started >= 0.4


def test_nobody_there_is_transient(endpoint: Endpoint) -> None:
    embedder = load(endpoint, base_url="http://127.0.0.1:1/v1")
    with pytest.raises(TransientError, match="did not answer"):
        embedder.embed(text_chunks("a"))


def test_a_password_in_the_address_is_not_told(endpoint: Endpoint) -> None:
    embedder = load(endpoint, base_url=f"http://user:{SECRET}@127.0.0.1:1/v1?key={SECRET}")
    with pytest.raises(TransientError, match=r"http://\*\*\*@127") as caught:
        embedder.embed(text_chunks("a"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_no_permission_or_no_such_model_stops_without_showing_the_key(
    endpoint: Endpoint, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    endpoint.answers = [error(status, f"Incorrect API key provided: {SECRET}")]
    with pytest.raises(ConfigError, match=f"HTTP {status}") as caught:
        load(endpoint, api_key_env="MY_KEY").embed(text_chunks("a"))
    assert SECRET not in "".join(traceback.format_exception(caught.value))  # as a log has it
    assert len(endpoint.asked) == 1


def test_an_exhausted_account_stops(endpoint: Endpoint) -> None:
    endpoint.answers = [error(429, "pay", code="insufficient_quota")]
    with pytest.raises(ConfigError, match="no quota"):
        load(endpoint).embed(text_chunks("a"))
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_text_is_poison(endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [error(status, "input is too long")]
    with pytest.raises(PoisonObject, match="input is too long") as caught:
        load(endpoint).embed(text_chunks("a"))
    assert (caught.value.key, caught.value.error_class) == ("", "InputRefused")
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"message": "`inputs` must have less than 512 tokens", "type": "validation"}, "less than 512 tokens"),  # TEI
        ({"error": "it is empty", "error_type": "Empty"}, "it is empty"),  # TEI
        ({"detail": [{"msg": "String should be shorter", "input": "private words"}]}, "should be shorter"),  # Infinity
    ],
)
def test_what_the_endpoint_says_is_told_and_never_what_it_was_sent(
    endpoint: Endpoint, document: dict[str, Any], said: str
) -> None:
    endpoint.answers = [(422, document, {})]
    with pytest.raises(PoisonObject, match=said) as caught:
        load(endpoint).embed(text_chunks("private words"))
    assert "private" not in str(caught.value)


def test_of_a_long_answer_the_beginning_is_told(endpoint: Endpoint) -> None:
    endpoint.answers = [error(400, "x" * 100_000)]
    with pytest.raises(PoisonObject) as caught:
        load(endpoint).embed(text_chunks("a"))
    assert "x" * 300 in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_batch_too_large_for_a_server_that_says_it_in_a_list_is_cut(endpoint: Endpoint) -> None:
    said = {"msg": "List should have at most 2 items after validation, not 3", "input": ["a", "b", "c"]}
    endpoint.answers = [(422, {"detail": [said]}, {})]
    assert load(endpoint).embed(text_chunks("a", "b", "c")).shape == (3, 4)
    assert [len(asked["input"]) for asked in endpoint.asked] == [3, 2, 1]


def test_a_model_that_refuses_the_dimensions_parameter_is_asked_without(endpoint: Endpoint) -> None:
    endpoint.refuses_dimensions = True
    embedder = load(endpoint)
    embedder.embed(text_chunks("a"))
    embedder.embed(text_chunks("b"))
    assert ["dimensions" in asked for asked in endpoint.asked] == [True, False, False]


def test_vectors_of_another_length_stop(endpoint: Endpoint) -> None:
    endpoint.length = 6
    with pytest.raises(ConfigError, match=r"gives vectors of 6 values, but model\.dimension is 4"):
        load(endpoint).embed(text_chunks("a"))


def test_fewer_vectors_than_texts_stop(endpoint: Endpoint) -> None:
    one = [{"object": "embedding", "index": 0, "embedding": [1.0, 0.0, 0.0, 0.0]}]
    endpoint.answers = [(200, {"object": "list", "model": "m", "data": one, "usage": {}}, {})]
    with pytest.raises(IntegrityError, match="1 vectors for 2 texts"):
        load(endpoint).embed(text_chunks("a", "b"))


def test_pain_14_a_vector_without_numbers_is_never_passed_on(endpoint: Endpoint) -> None:
    zero = [{"object": "embedding", "index": 0, "embedding": [0.0, 0.0, 0.0, 0.0]}]
    endpoint.answers = [(200, {"object": "list", "model": "m", "data": zero, "usage": {}}, {})]
    with pytest.raises(IntegrityError, match="not finite or has no direction"):
        load(endpoint).embed(text_chunks("a"))

"""An embedding endpoint that counts. It speaks the OpenAI protocol over HTTP and embeds by hashing words.

Fast, deterministic, and a witness from outside of how often the model was called, and by how many at once. Benches
start it as a process of its own: `python -m bench.endpoint --latency-ms 200`.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIMENSION = 16


def word_vector(text: str) -> np.ndarray:
    """A unit vector that depends on every word of the text and its count."""
    total = np.full(DIMENSION, 1e-3)
    for word in re.findall(r"\w+", text.lower()):
        total += _direction(word)
    return (total / np.linalg.norm(total)).astype(np.float32)


@lru_cache(100_000)
def _direction(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=DIMENSION)


class EmbeddingEndpoint:
    """The server. `texts` is every text it was ever asked to embed.

    It answers 503 to the `fail_next` next requests, and to every request with a text that is in `fail_texts`. It
    refuses texts with `refused_word` in them for good, with 400; `refusals` counts.

    As a busy server of one's own does, it answers 429 above `max_in_flight` requests, and 413 above `max_batch` texts
    of one request, in TEI's words. A request takes `latency_s`.
    """

    def __init__(self, port: int = 0) -> None:
        self.texts: list[str] = []
        self.fail_next = 0
        self.fail_texts: set[str] = set()
        self.refused_word = ""
        self.refusals = 0
        self.latency_s = 0.0
        self.max_batch = 0  # 0 = any
        self.max_in_flight = 0  # 0 = any
        self.retry_after = "0"  # our own waiting is tested elsewhere
        self.batches: list[int] = []  # texts of every request that was answered
        self.overloads = 0  # requests that were turned away
        self.most_at_once = 0  # requests in flight, those turned away too
        self.most_answered_at_once = 0
        self._at_once = 0
        self._answering = 0
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, endpoint.figures())

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with endpoint._entered() as is_let_in:
                    if not is_let_in:
                        self._answer(429, {"message": "Model is overloaded", "code": 429, "type": "overloaded"})
                        return
                    self._answer(*endpoint.answer(asked))

            def _answer(self, status: int, document: object) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status in (429, 503) and endpoint.retry_after:
                    self.send_header("Retry-After", endpoint.retry_after)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # many clients begin at the same moment
            daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, asked: dict[str, Any]) -> tuple[int, object]:
        """Status and document for one request."""
        texts = asked["input"]
        if self.fail_next > 0 or not self.fail_texts.isdisjoint(texts):
            self.fail_next = max(0, self.fail_next - 1)
            return 503, {"error": {"message": "overloaded"}}
        if self.refused_word and any(self.refused_word in text for text in texts):
            self.refusals += 1
            return 400, {"error": {"message": f"{self.refused_word}: refused, api_key=hunter2"}}
        if 0 < self.max_batch < len(texts):
            message = f"batch size {len(texts)} > maximum allowed batch size {self.max_batch}"
            return 413, {"message": message, "code": 413, "type": "validation"}
        time.sleep(self.latency_s)
        with self._lock:
            self.texts += texts
            self.batches.append(len(texts))
        as_base64 = asked.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.tobytes()).decode() if as_base64 else vector.tolist(),
            }
            for index, vector in enumerate(map(word_vector, texts))
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return 200, {"object": "list", "model": asked["model"], "data": data, "usage": usage}

    def figures(self) -> dict[str, int]:
        """What it has seen so far."""
        with self._lock:
            return {
                "texts": len(self.texts),
                "requests": len(self.batches),
                "overloads": self.overloads,
                "most_at_once": self.most_at_once,
                "most_answered_at_once": self.most_answered_at_once,
            }

    def take_texts(self) -> list[str]:
        """The texts it was asked to embed since the last time, sorted."""
        taken, self.texts = sorted(self.texts), []
        return taken

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def _entered(self) -> Iterator[bool]:
        """Count a request while it is in flight. Yields whether there is room for it."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            is_let_in = not self.max_in_flight or self._answering < self.max_in_flight
            self._answering += is_let_in
            self.overloads += not is_let_in
            self.most_answered_at_once = max(self.most_answered_at_once, self._answering)
        try:
            yield is_let_in
        finally:
            with self._lock:
                self._at_once -= 1
                self._answering -= is_let_in

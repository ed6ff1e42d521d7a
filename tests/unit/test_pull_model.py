"""`etl models pull` against a server that speaks the hub's protocol. In a process of its own: the client reads its
address when it is imported.
"""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from include.embedding_etl.embed.load import load_embedder
from include.embedding_etl.embed.models import resolve_model
from include.embedding_etl.embed.pickled_weights import convert_pickle
from include.embedding_etl.errors import ConfigError
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.places import PROJECT_ROOT
from tests.fixtures_models import SmallModels, text_chunks

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = ModelSettings(kind="sentence-transformers", id="a/b", revision=COMMIT, precision="fp32")
PULL = (
    "import sys; from pathlib import Path\n"
    "from include.embedding_etl.embed.models import pull_model\n"
    "from include.embedding_etl.lane_settings import ModelSettings\n"
    "model = ModelSettings(kind='sentence-transformers', id=sys.argv[1], revision=sys.argv[2])\n"
    "print(pull_model(model, Path(sys.argv[3])))"
)


class Hub:
    """Serves one directory as the model a/b at COMMIT."""

    def __init__(self, directory: Path) -> None:
        self.sent: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._serve(with_body=False)

            def do_GET(self) -> None:
                self._serve(with_body=True)

            def _serve(self, with_body: bool) -> None:
                path = self.path.partition("?")[0]
                files = [file for file in directory.rglob("*") if file.is_file()]
                if path == f"/api/models/a/b/revision/{COMMIT}":
                    siblings = [{"rfilename": str(file.relative_to(directory))} for file in files]
                    document: object = {"id": "a/b", "sha": COMMIT, "siblings": siblings}
                    self._answer(200, json.dumps(document).encode(), with_body, {"Content-Type": "application/json"})
                elif path == f"/api/models/a/b/tree/{COMMIT}":
                    document = [
                        {
                            "type": "file",
                            "oid": "0",
                            "size": file.stat().st_size,
                            "path": str(file.relative_to(directory)),
                        }
                        for file in files
                    ]
                    self._answer(200, json.dumps(document).encode(), with_body, {"Content-Type": "application/json"})
                elif path.startswith(f"/a/b/resolve/{COMMIT}/"):
                    name = path.removeprefix(f"/a/b/resolve/{COMMIT}/")
                    body = (directory / name).read_bytes()
                    if with_body:
                        hub.sent.append(name)
                    etag = f'"{hashlib.sha256(body).hexdigest()}"'
                    self._answer(200, body, with_body, {"ETag": etag, "X-Repo-Commit": COMMIT})
                elif path.startswith("/api/models/a/ill"):
                    self._answer(501, b"{}", with_body, {})
                else:
                    self._answer(404, b"{}", with_body, {"X-Error-Code": "RepoNotFound"})

            def _answer(self, status: int, body: bytes, with_body: bool, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def source(small_models: SmallModels, tmp_path: Path) -> Path:
    """What the hub has: a model, another copy of its weights, and code."""
    directory = tmp_path / "source"
    shutil.copytree(small_models.path("bert"), directory)
    (directory / "modeling_custom.py").write_text("raise SystemExit")
    (directory / "onnx").mkdir()
    (directory / "onnx" / "config.json").write_text("{}")
    return directory


@pytest.fixture
def hub(source: Path) -> Iterator[Hub]:
    server = Hub(source)
    yield server
    server.server.shutdown()
    server.server.server_close()


def pull(url: str, models_dir: Path, model_id: str = "a/b") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(models_dir / "home"), "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PULL, model_id, COMMIT, str(models_dir)],
        env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def test_a_pulled_model_resolves_and_loads(hub: Hub, small_models: SmallModels, tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    answer = pull(hub.url, models_dir)
    assert answer.stdout.strip() == str(models_dir / "a--b" / COMMIT), answer.stderr
    assert "modeling_custom.py" not in hub.sent
    assert "onnx/config.json" not in hub.sent
    info = resolve_model(SETTINGS, models_dir)
    vectors = load_embedder(SETTINGS, info, "cpu").embed(text_chunks("a red circle"))
    assert (vectors == small_models.load("bert").embed(text_chunks("a red circle"))).all()


def test_pulling_again_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    pull(hub.url, tmp_path / "models")
    hub.sent.clear()
    assert pull(hub.url, tmp_path / "models").returncode == 0
    assert hub.sent == []


def test_a_checkpoint_that_exists_only_as_a_pickle_becomes_safetensors(
    hub: Hub, source: Path, small_models: SmallModels, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    answer = pull(hub.url, tmp_path / "models")
    assert answer.returncode == 0, answer.stderr
    info = resolve_model(SETTINGS, tmp_path / "models")
    assert not (Path(info.weights_path) / "pytorch_model.bin").exists()
    vectors = load_embedder(SETTINGS, info, "cpu").embed(text_chunks("a red circle"))
    assert (vectors == small_models.load("bert").embed(text_chunks("a red circle"))).all()


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Malicious()}))
    with pytest.raises(ConfigError, match="does not hold weights alone"):
        convert_pickle(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pytorch_model.bin"]


def test_a_model_that_the_hub_does_not_have_stops(hub: Hub, tmp_path: Path) -> None:
    answer = pull(hub.url, tmp_path / "models", "no/such-model")
    assert "ConfigError: the hub has no no/such-model" in answer.stderr
    assert not (tmp_path / "models" / "no--such-model" / COMMIT).exists()


def test_a_hub_that_is_not_well_is_transient(hub: Hub, tmp_path: Path) -> None:
    assert "TransientError: the hub did not give us a/ill" in pull(hub.url, tmp_path / "models", "a/ill").stderr

"""A whole pipeline on real parts: a directory as source, SQLite, Milvus Lite, and an embedding endpoint that counts.

The endpoint speaks the OpenAI protocol over HTTP and embeds by hashing words: fast, deterministic, and a witness from
outside of how often the model was called.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from include.embedding_etl.converge import Request, converge
from include.embedding_etl.pipeline_files import find_pipeline
from include.embedding_etl.places import Places
from include.embedding_etl.runtime import MilvusAddress, Runtime
from include.embedding_etl.s3_credentials import S3Credentials
from include.embedding_etl.stages.report import Report
from include.embedding_etl.vectorstore.base import VectorStore
from include.embedding_etl.vectorstore.schema import row_id
from tests.embedding_endpoint import DIMENSION, EmbeddingEndpoint
from tests.fixtures_ledger import LEDGERS, url_of
from tests.fixtures_milvus import fresh_name


@dataclass
class Project:
    """One pipeline of one text lane, with everything it needs in a directory of its own."""

    root: Path
    milvus_uri: str
    endpoint: EmbeddingEndpoint
    milvus_token: str = ""
    ledger_url: str = ""  # "" = SQLite below root
    name: str = field(default_factory=lambda: fresh_name("p"))
    thresholds: dict[str, Any] = field(default_factory=dict)
    runs: int = 0
    open_store: Callable[[MilvusAddress], VectorStore] | None = None  # None = Milvus at milvus_uri

    def __post_init__(self) -> None:
        self.ledger_url = self.ledger_url or f"sqlite:///{self.root / 'ledger.db'}"
        for directory in ("source", "pipelines", "state"):
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        self.configure()

    def configure(self, **changes: Any) -> None:
        """Write the pipeline file; `changes` replace top-level keys."""
        lane = {
            "accepts": ["text/*"],
            "model": {
                "kind": "openai",
                "id": "word-hash",
                "weights": "remote",
                "base_url": self.endpoint.url,
                "dimension": DIMENSION,
                "max_tokens": 64,
                "batch_size": 16,
            },
            "chunk": {"overlap_tokens": 0},
            "index": {"type": "FLAT", "params": {}},
        }
        document = {
            "name": self.name,
            "source": {"uri": f"file://{self.root / 'source'}"},
            "lanes": {"text": lane},
            "thresholds": self.thresholds,
            **changes,
        }
        (self.root / "pipelines" / f"{self.name}.yaml").write_text(yaml.safe_dump(document))

    @property
    def alias(self) -> str:
        return f"{self.name}_text"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ETL_PIPELINES_DIR": str(self.root / "pipelines"),
            "ETL_STATE_URI": str(self.root / "state"),
            "ETL_LEDGER_URL": self.ledger_url,
            "ETL_MILVUS_URI": self.milvus_uri,
            "ETL_MILVUS_TOKEN": self.milvus_token,
        }

    def put(self, key: str, text: str | bytes) -> Path:
        path = self.root / "source" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def put_many(self, count: int, prefix: str = "doc") -> list[str]:
        keys = [f"{prefix}-{number:03d}.txt" for number in range(count)]
        for number, key in enumerate(keys):
            self.put(key, f"{prefix} number {number} is about topic {number * 7919}")
        return keys

    def remove(self, key: str) -> None:
        (self.root / "source" / key).unlink()

    def lose_ledger(self) -> None:
        """Drop every table of the ledger."""
        engine = sa.create_engine(self.ledger_url, poolclass=sa.NullPool)
        tables = sa.MetaData()
        tables.reflect(engine)
        tables.drop_all(engine)

    def open(self, credentials: S3Credentials | None = None) -> Runtime:
        places = Places(
            _env_file=None,
            pipelines_dir=self.root / "pipelines",
            state_uri=str(self.root / "state"),
            ledger_url=self.ledger_url,
            milvus_uri=self.milvus_uri,
            milvus_token=self.milvus_token,
        )
        pipeline = find_pipeline(places.pipelines_dir, self.name)
        return Runtime(pipeline, places, credentials, open_store=self.open_store, one_process=True)

    def run(self, request: Request | None = None, credentials: S3Credentials | None = None) -> Report:
        """Converge in this process."""
        self.runs += 1
        with self.open(credentials) as runtime:
            return converge(runtime, f"run-{self.runs}", request)

    def run_process(self, failpoint: str = "", *arguments: str) -> subprocess.CompletedProcess[str]:
        """Converge in a process of its own, as `etl run`, which may be made to die at a failpoint."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("etl")), "run", self.name, "--json", *arguments],
            env={**os.environ, **self.environment, "ETL_FAILPOINT": failpoint},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def rows(self) -> dict[str, tuple[str, str]]:
        """{id: (object_key, object_version)} of everything that readers of the alias can see."""
        with self.open() as runtime:
            target = runtime.store.alias_target(self.alias)
            if target is None:
                return {}
            return {
                str(row["id"]): (str(row["object_key"]), str(row["object_version"]))
                for page in runtime.store.iterate(target, ["object_key", "object_version"])
                for row in page
            }

    def expected_rows(
        self, chunks: dict[str, int] | None = None, credentials: S3Credentials | None = None
    ) -> dict[str, tuple[str, str]]:
        """What the alias must show: from a listing of the source alone, one chunk an object unless told otherwise."""
        with self.open(credentials) as runtime:
            listed = list(runtime.source.list())
        return {
            row_id(self.name, "text", item.key, ordinal): (item.key, item.etag)
            for item in listed
            for ordinal in range((chunks or {}).get(item.key, 1))
        }


@pytest.fixture
def endpoint() -> Iterator[EmbeddingEndpoint]:
    server = EmbeddingEndpoint()
    yield server
    server.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `both_ledgers` run twice: on SQLite, and marked `cluster` on PostgreSQL."""
    if "project_ledger_url" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_ledgers"):
        metafunc.parametrize("project_ledger_url", LEDGERS, indirect=True)


@pytest.fixture
def project_ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The ledger of the test's pipelines."""
    return url_of(request, tmp_path)


@pytest.fixture
def project(tmp_path: Path, milvus_lite_uri: str, endpoint: EmbeddingEndpoint, project_ledger_url: str) -> Project:
    """A pipeline whose parts are all real and all its own."""
    return Project(tmp_path, milvus_lite_uri, endpoint, ledger_url=project_ledger_url)

"""One pipeline on every kind of vector store in turn, behind a line that can be made to fail. For tests/contract."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import pytest
import yaml

from include.embedding_etl.errors import TransientError
from include.embedding_etl.types import JsonValue, Row
from include.embedding_etl.vectorstore.base import VectorStore
from include.embedding_etl.vectorstore.fake import InMemoryStore
from tests.fixtures_pipeline import EmbeddingEndpoint, Project

Fault: TypeAlias = Literal[
    "refused",  # the write never arrives, and we are told so
    "lost",  # it arrives, the reply does not
    "swallowed",  # it is answered as if it had been done, and was not
]


@dataclass
class Line:
    """The way to a vector store. Chosen writes go wrong on it; the ids of all of them are written down."""

    connect: Callable[[], VectorStore]
    upserts: list[list[str]] = field(default_factory=list)
    deletes: list[list[str]] = field(default_factory=list)
    _faults: dict[str, tuple[Fault, int]] = field(default_factory=dict)

    def break_at(self, verb: Literal["upsert", "delete"], fault: Fault, call: int = 1) -> None:
        """Let the next `upsert` or `delete` go wrong, or the one that many calls from now. It happens once."""
        self._faults[verb] = (fault, call)

    def take_writes(self) -> tuple[set[str], set[str]]:
        """The ids that were upserted and those that were deleted since the last time; each once, or the test fails."""
        upserted, deleted = ([each for call in calls for each in call] for calls in (self.upserts, self.deletes))
        assert len(upserted) == len(set(upserted))
        assert len(deleted) == len(set(deleted))
        self.upserts, self.deletes = [], []
        return set(upserted), set(deleted)

    def open(self, _address: object) -> VectorStore:
        """For `Project.open_store`."""
        return cast("VectorStore", _Connection(self, self.connect()))

    def send(self, verb: str, write: Callable[[], None]) -> None:
        """Do the write as well as the line allows."""
        fault, calls_left = self._faults.pop(verb, ("", 0))
        if calls_left > 1:
            self._faults[verb] = (cast("Fault", fault), calls_left - 1)
            fault = ""
        if fault not in ("refused", "swallowed"):
            write()
        if fault in ("refused", "lost"):
            raise TransientError(f"{verb}: the line broke")


class _Connection:
    """A store whose writes pass the line; everything else reaches it directly."""

    def __init__(self, line: Line, store: VectorStore) -> None:
        self._line = line
        self._store = store

    def upsert(self, name: str, rows: Sequence[Row]) -> None:
        self._line.upserts.append([row.id for row in rows])
        self._line.send("upsert", lambda: self._store.upsert(name, rows))

    def delete(self, name: str, ids: Sequence[str]) -> None:
        self._line.deletes.append(list(ids))
        self._line.send("delete", lambda: self._store.delete(name, ids))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture(params=["memory", "lite"])
def line(request: pytest.FixtureRequest) -> Line:
    """The way to a store in memory, then to Milvus Lite."""
    if request.param == "memory":
        store = InMemoryStore()
        return Line(lambda: store)
    from include.embedding_etl.vectorstore.milvus import MilvusStore

    uri = request.getfixturevalue("milvus_lite_uri")
    return Line(lambda: MilvusStore(uri))


@pytest.fixture
def pipeline(tmp_path: Path, line: Line, endpoint: EmbeddingEndpoint, project_ledger_url: str) -> Project:
    """A pipeline at the other end of the line: a real directory, ledger and endpoint."""
    address = "at the other end of the line"
    return Project(tmp_path, address, endpoint, open_store=line.open, ledger_url=project_ledger_url)


def neighbour(pipeline: Project, source: str = "source") -> Project:
    """Another pipeline with the same ledger, state, endpoint and vector store."""
    other = Project(
        pipeline.root,
        pipeline.milvus_uri,
        pipeline.endpoint,
        open_store=pipeline.open_store,
        ledger_url=pipeline.ledger_url,
    )
    (other.root / source).mkdir(exist_ok=True)
    other.configure(source={"uri": f"file://{other.root / source}"})
    return other


def edit(pipeline: Project, lane: str = "text", **changes: dict[str, Any]) -> None:
    """Change keys within a lane's settings, as in `model={"batch_size": 1}`; a new lane begins as a copy of `text`."""
    path = pipeline.root / "pipelines" / f"{pipeline.name}.yaml"
    document = yaml.safe_load(path.read_text())
    settings = document["lanes"].setdefault(lane, yaml.safe_load(yaml.safe_dump(document["lanes"]["text"])))
    for part, keys in changes.items():
        settings[part] |= keys
    path.write_text(yaml.safe_dump(document))


def read_field(pipeline: Project, name: str, lane: str = "text") -> dict[tuple[str, int], JsonValue]:
    """{(object_key, ordinal): field} of all rows that readers of a lane see, in that order."""
    with pipeline.open() as runtime:
        target = runtime.store.alias_target(f"{pipeline.name}_{lane}")
        assert target is not None
        rows = [row for page in runtime.store.iterate(target, ["object_key", "ordinal", name]) for row in page]
    rows.sort(key=lambda row: (str(row["object_key"]), int(str(row["ordinal"]))))
    return {(str(row["object_key"]), int(str(row["ordinal"]))): row[name] for row in rows}


def long_text(sentences: int, topic: str = "things") -> str:
    """A document of about as many chunks as sentences, all different."""
    return " ".join(f"sentence {number} speaks of {topic} that matter to us." for number in range(sentences))

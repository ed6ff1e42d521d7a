"""The opened parts of one pipeline: ledger, state, source, vector store. Each is opened when it is first needed."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from include.embedding_etl.errors import TransientError
from include.embedding_etl.ledger import Ledger
from include.embedding_etl.ledger.records import Lease
from include.embedding_etl.places import Places
from include.embedding_etl.settings import PipelineSettings
from include.embedding_etl.state import StateStore
from include.embedding_etl.storage.base import Source
from include.embedding_etl.storage.select import S3Credentials, open_source
from include.embedding_etl.vectorstore.base import VectorStore


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """Where Milvus is and how to get in."""

    uri: str
    token: SecretStr = SecretStr("")  # noqa: RUF009 - immutable
    database: str = "default"
    tls: Mapping[str, str] = field(default_factory=dict)  # files of certificates and server name, by pymilvus's names


class Runtime(AbstractContextManager["Runtime"]):
    """What every stage gets as its first argument.

    Args:
        pipeline: The validated pipeline file.
        places: Where ledger and state are, and Milvus and S3 unless given.
        credentials: S3 credentials from a connection; None = those of `places`, else the usual AWS chain.
        milvus: The address from a connection; None = that of `places`.
        open_store: How to connect to the vector store; tests put in a fake.
        one_process: The whole run lives in this process, so its leases die with it.
        has_ended: Whether a run is known to be over, so that nobody need wait for its leases; None = nobody knows.
    """

    def __init__(
        self,
        pipeline: PipelineSettings,
        places: Places,
        credentials: S3Credentials | None = None,
        milvus: MilvusAddress | None = None,
        open_store: Callable[[MilvusAddress], VectorStore] | None = None,
        one_process: bool = False,
        has_ended: Callable[[str], bool | None] = lambda _: None,
    ) -> None:
        self.pipeline = pipeline
        self.places = places
        self.milvus = milvus or MilvusAddress(places.milvus_uri, places.milvus_token, places.milvus_database)
        self._credentials = credentials
        self._one_process = one_process
        self.has_ended = has_ended
        self._open_store = open_store or _connect
        self._opened = ExitStack()

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, brought to the current schema."""
        return self._opened.enter_context(Ledger.open(self.places.ledger_url.get_secret_value(), migrate=True))

    @cached_property
    def state(self) -> StateStore:
        """Snapshots, shard files and the embedding store."""
        return StateStore(self.places.state_uri, self.places)

    @cached_property
    def source(self) -> Source:
        """The bucket prefix or directory."""
        return open_source(self.pipeline.source, self.places, self._credentials)

    @cached_property
    def store(self) -> VectorStore:
        """Milvus."""
        store = self._open_store(self.milvus)
        self._opened.callback(store.close)
        return store

    @property
    def turn(self) -> str:
        """The lease of the pipeline's ingestion: two runs of it at once would only wait for each other."""
        return f"ingestion of {self.pipeline.name}"

    @property
    def listing(self) -> str:
        """The lease of bringing ledger.objects up to a listing, which reindexes do too."""
        return f"listing of {self.pipeline.name}"

    def reindexing(self, lane: str) -> str:
        """The lease of a lane's reindex."""
        return f"reindex of {self.pipeline.alias(lane)}"

    def lease(self, name: str, run_id: str, wait_s: float = 0.0, ttl_s: float | None = None) -> Lease:
        """Take or renew the run's right to write to a collection. The new token fences off older writers.

        Args:
            name: A collection's real name, `turn` or `listing`.
            run_id: Who asks.
            wait_s: How long to ask again and again before giving up.
            ttl_s: For how long it is held if the run shows no life; None = `places.lease_ttl_s`.
        Raises:
            TransientError: another run has it.
        """
        ttl_s, until = ttl_s or self.places.lease_ttl_s, time.monotonic() + wait_s
        bound, ended = self._one_process, set[str]()
        while True:
            try:
                return self.ledger.leases.acquire(name, run_id, ttl_s, bound_to_process=bound, instead_of=ended)
            except TransientError:
                holder = self.ledger.leases.find(name)
                if holder is not None and holder.owner not in ended and self.has_ended(holder.owner):
                    ended.add(holder.owner)
                    continue
                if time.monotonic() > until:
                    raise
            time.sleep(min(1.0, wait_s / 10))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()


def _connect(address: MilvusAddress) -> VectorStore:
    from include.embedding_etl.vectorstore.milvus import MilvusStore

    return MilvusStore(address.uri, address.token.get_secret_value(), address.database, tls=address.tls)

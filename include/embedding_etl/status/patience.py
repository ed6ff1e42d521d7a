"""Milvus for a page: somebody is waiting, so a server that does not answer is said to be down after seconds."""

from include.embedding_etl.runtime import MilvusAddress
from include.embedding_etl.vectorstore.base import VectorStore
from include.embedding_etl.vectorstore.retry import RetryPolicy

WINDOW_S = 1.5


def connect_for_a_page(address: MilvusAddress) -> VectorStore:
    """As tasks connect, but without their patience."""
    from include.embedding_etl.vectorstore.milvus import MilvusStore

    return MilvusStore(
        address.uri,
        address.token.get_secret_value(),
        address.database,
        timeout_s=10.0,
        retry=RetryPolicy(window_s=WINDOW_S),
        tls=address.tls,
    )

"""A fresh Milvus server is made safe: root gets another password, pipelines a user who may do little else."""

from collections.abc import Iterator

import pytest

from include.deployment.milvus_users import DEFAULT_ROOT_PASSWORD, secure_milvus
from include.embedding_etl.errors import TransientError
from include.embedding_etl.vectorstore.milvus import MilvusStore

ROOT_PASSWORD = "another-one-for-root"
USER, PASSWORD = "pipelines_of_a_test", "a-password-of-a-test"
pytestmark = pytest.mark.milvus_server


@pytest.fixture
def uri(milvus_server_uri: str) -> Iterator[str]:
    """The suite's server; root's password is set back afterwards."""
    from pymilvus import MilvusClient

    yield milvus_server_uri
    root = MilvusClient(milvus_server_uri, token=f"root:{ROOT_PASSWORD}", dedicated=True)
    root.drop_user(USER)
    root.update_password("root", ROOT_PASSWORD, DEFAULT_ROOT_PASSWORD)
    root.close()


def test_root_has_a_new_password_and_the_user_may_do_little_else(uri: str) -> None:
    import grpc
    from pymilvus import MilvusClient, MilvusException

    for password in ("an-earlier-password", PASSWORD, PASSWORD):  # a changed one is set; again changes nothing
        secure_milvus(uri, ROOT_PASSWORD, USER, password)
    with pytest.raises(MilvusException):
        MilvusClient(uri, token=f"root:{DEFAULT_ROOT_PASSWORD}", timeout=3, dedicated=True)
    with pytest.raises(TransientError, match="MILVUS_ROOT_PASSWORD"):
        secure_milvus(uri, "not-the-password", USER, PASSWORD)
    user = MilvusClient(uri, token=f"{USER}:{PASSWORD}", dedicated=True)
    for forbidden in (user.list_users, lambda: user.create_user("x", "yyyyyyyy"), lambda: user.create_database("z")):
        with pytest.raises((MilvusException, grpc.RpcError), match=r"(?i)permission"):
            forbidden()
    user.close()
    store = MilvusStore(uri, f"{USER}:{PASSWORD}")
    assert isinstance(store.list_collections(), list)
    store.close()

"""What lineage names: the source's prefix and the collection, as assets and as OpenLineage datasets."""

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from pydantic import SecretStr

from include.embedding_etl.runtime import MilvusAddress
from include.embedding_etl.steps.lineage import source_uri, target_uri
from include.milvus_provider.assets import collection_uri, convert_asset_to_openlineage, namespace_and_name
from include.milvus_provider.get_provider_info import get_provider_info


class _Runtime:
    def __init__(self, uri: str, database: str = "default") -> None:
        self.milvus = MilvusAddress(uri, SecretStr("root:s3cret"), database)


@pytest.mark.parametrize(
    ("uri", "asset"),
    [
        ("s3://bucket/some/prefix", "s3://bucket/some/prefix"),
        ("file:///data/in", "file:///data/in"),
        ("/data/in put", "file:///data/in%20put"),
    ],
)
def test_the_source_is_named_by_its_prefix(uri: str, asset: str) -> None:
    assert source_uri(uri) == asset


def test_a_directory_of_the_project_is_named_in_full() -> None:
    assert source_uri("./docs") == Path("docs").resolve().as_uri()


@pytest.mark.parametrize(
    ("uri", "asset"),
    [
        ("http://milvus:19530", "milvus://milvus:19530/default/p_text__1"),
        ("https://user:s3cret@milvus.example.org", "milvus://milvus.example.org:19530/default/p_text__1"),
    ],
)
def test_the_collection_is_named_by_server_and_database_without_secrets(uri: str, asset: str) -> None:
    runtime: Any = _Runtime(uri)
    assert target_uri(runtime, "p_text__1") == asset


def test_a_collection_becomes_an_openlineage_dataset() -> None:
    asset = Asset(uri=collection_uri("milvus", 19530, "my db", "p_text__1"))
    assert namespace_and_name(asset.uri) == ("milvus://milvus:19530", "my db.p_text__1")


def test_the_asset_of_an_alias_is_no_dataset_of_a_server() -> None:
    assert namespace_and_name("milvus://embedding-etl/demo_text") is None


def test_airflow_is_told_how_to_convert_such_assets() -> None:
    (entry,) = get_provider_info()["asset-uris"]
    assert entry["schemes"] == ["milvus"]
    assert (
        entry["to_openlineage_converter"] == f"{convert_asset_to_openlineage.__module__}.convert_asset_to_openlineage"
    )

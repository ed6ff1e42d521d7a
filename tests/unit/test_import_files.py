"""The Parquet that Milvus imports, and the settings that say where it goes."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.settings import BulkImportSettings
from include.embedding_etl.types import Row
from include.embedding_etl.vectorstore.import_files import IMPORT, import_batch
from include.embedding_etl.vectorstore.schema import FIELDS


def row(number: int = 0) -> Row:
    vector = np.zeros(3, np.float32)
    vector[number % 3] = 1.0
    fixed = ("k", "v", "h", "text/plain", number, 0, 5, "wörds", 5, 1_700_000_000_000, "run", {"ü": '"'})
    return Row(f"id{number}", vector, *fixed)


def test_a_batch_has_the_fields_of_a_collection_in_their_order() -> None:
    batch = import_batch([row(0), row(1)], 3)
    assert batch.schema == IMPORT
    assert batch.schema.names == [field.name for field in FIELDS]
    first = batch.to_pylist()[1]
    assert first["vector"] == [0.0, 1.0, 0.0]
    assert first["meta"] == '{"ü": "\\""}'
    assert first["text"] == "wörds"


@pytest.mark.parametrize(
    "bad",
    [
        replace(row(), vector=np.array([2.0, 0.0, 0.0], np.float32)),
        replace(row(), vector=np.array([np.nan, 0.0, 1.0], np.float32)),
        replace(row(), text="x" * 70_000),
    ],
)
def test_what_an_upsert_would_refuse_is_not_written_to_a_file_either(bad: Row) -> None:
    with pytest.raises(IntegrityError):
        import_batch([row(1), bad], 3)


@pytest.mark.parametrize(
    ("uri", "server_path", "named"),
    [
        ("s3://milvus-bucket/etl/import", None, "etl/import"),
        ("s3://milvus-bucket/etl/import/", None, "etl/import"),
        ("/mnt/shared/import", None, "/mnt/shared/import"),
        ("file:///mnt/shared/import", None, "/mnt/shared/import"),
        ("/mnt/here", "/var/lib/milvus/import/", "/var/lib/milvus/import"),
    ],
)
def test_the_server_is_told_its_own_name_of_the_staging_place(uri: str, server_path: str | None, named: str) -> None:
    assert BulkImportSettings(staging_uri=uri, server_path=server_path).named_by_server == named


@pytest.mark.parametrize("uri", ["s3://bucket", "./here", "relative/path", "http://host/x", ""])
def test_a_staging_place_that_only_one_side_could_see_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError, match="which the Milvus server sees too"):
        BulkImportSettings(staging_uri=uri)

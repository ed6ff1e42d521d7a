"""Paths of a run never take anything dangerous from a run id."""

import pytest

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.run_files import RunFiles, parse_shard, shard_reference


@pytest.mark.parametrize("run_id", ["../../etc", "a/b", "manual__2026-11-22T10:00:00+00:00", "ü" * 300, "", ".."])
def test_a_run_id_never_leaves_its_directory(run_id: str) -> None:
    parts = RunFiles("demo", run_id).snapshot.split("/")
    assert parts[:2] == ["runs", "demo"]
    assert len(parts) == 4
    assert not parts[2].startswith(".")
    assert len(parts[2]) < 100


def test_run_ids_that_differ_in_odd_characters_have_different_directories() -> None:
    assert RunFiles("demo", "a/b").prefix != RunFiles("demo", "a:b").prefix


def test_a_shard_reference_is_read_back() -> None:
    assert parse_shard(shard_reference("text", 12)) == ("text", 12)
    assert RunFiles("demo", "r").shard("text/3").endswith("/text/shard-003.parquet")


@pytest.mark.parametrize("reference", ["text", "text/-1", "../x/1", "text/1/2"])
def test_anything_else_is_refused(reference: str) -> None:
    with pytest.raises(IntegrityError, match="shard reference"):
        parse_shard(reference)

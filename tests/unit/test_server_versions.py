import pytest

from include.embedding_etl.vectorstore.server_versions import security_warning


@pytest.mark.parametrize("version", ["v2.3.5-lite", "2.5.26", "v2.5.0", "2.6.0", "v2.6.9-gpu"])
def test_a_version_with_known_holes_is_warned_about(version: str) -> None:
    assert version in security_warning(version)
    assert "2.5.27, 2.6.10" in security_warning(version)


@pytest.mark.parametrize("version", ["v2.5.27", "2.5.30", "2.6.10", "v2.6.11", "3.0.0", "milvus_lite-3.2.2", "", "dev"])
def test_others_are_not(version: str) -> None:
    assert security_warning(version) == ""

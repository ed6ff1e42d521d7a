"""Where a source's credentials come from."""

import pytest

from include.embedding_etl.places import Places
from include.embedding_etl.s3_credentials import S3Credentials, credentials_from
from include.embedding_etl.settings import SourceSettings
from include.embedding_etl.storage.select import open_source
from tests.fixtures_storage import S3Server


def test_repr_hides_the_secrets() -> None:
    credentials = S3Credentials("access-key", "very-secret", "session-token", "http://endpoint", "region")
    assert "access-key" in repr(credentials)
    assert "very-secret" not in repr(credentials)
    assert "session-token" not in repr(credentials)


def test_places_are_used_when_there_is_no_connection(seaweed_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_S3_ENDPOINT", seaweed_server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed_server.secret_key)
    places = Places(_env_file=None)
    assert list(open_source(SourceSettings(uri=f"s3://{seaweed_server.make_bucket()}"), places).list()) == []


def test_a_connection_is_not_mixed_with_places(seaweed_server: S3Server) -> None:
    places = Places(
        _env_file=None, s3_endpoint="http://127.0.0.1:1", aws_access_key_id="other", aws_secret_access_key="other"
    )
    uri = f"s3://{seaweed_server.make_bucket()}"
    assert list(open_source(SourceSettings(uri=uri), places, seaweed_server.credentials()).list()) == []


def test_the_usual_aws_chain_is_the_last_resort(seaweed_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(_env_file=None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed_server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed_server.secret_key)
    assert list(open_source(SourceSettings(uri=f"s3://{seaweed_server.make_bucket()}"), places).list()) == []


def test_all_that_places_know_is_passed_on() -> None:
    places = Places(
        _env_file=None,
        s3_endpoint="http://e",
        s3_region="r",
        aws_access_key_id="a",
        aws_secret_access_key="s",
        aws_session_token="t",
    )
    assert credentials_from(places) == S3Credentials("a", "s", "t", "http://e", "r")

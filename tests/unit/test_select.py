"""Where a source's credentials come from."""

from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest

from include.embedding_etl.places import Places
from include.embedding_etl.s3_credentials import S3Credentials, credentials_from
from include.embedding_etl.settings import SourceSettings
from include.embedding_etl.steps.connections import s3_credentials_of
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
        s3_public_endpoint="http://p",
        s3_region="r",
        aws_access_key_id="a",
        aws_secret_access_key="s",
        aws_session_token="t",
    )
    assert credentials_from(places) == S3Credentials("a", "s", "t", "http://e", "r", public_endpoint="http://p")


def test_a_link_leads_to_the_public_endpoint_and_is_signed_for_it(seaweed_server: S3Server) -> None:
    public = seaweed_server.endpoint.replace("127.0.0.1", "localhost")
    credentials = replace(seaweed_server.credentials(), public_endpoint=public)
    bucket = seaweed_server.make_bucket()
    seaweed_server.client().put_object(Bucket=bucket, Key="a b.txt", Body=b"words")
    source = open_source(SourceSettings(uri=f"s3://{bucket}"), Places(_env_file=None), credentials)
    (listed,) = source.list()
    link = source.sign_link(listed, 60)
    assert link.startswith(f"{public}/{bucket}/a%20b.txt?")
    answer = httpx.get(link, trust_env=False)
    assert (answer.status_code, answer.content) == (200, b"words")
    elsewhere = httpx.get(link.replace(public, seaweed_server.endpoint), trust_env=False)
    assert elsewhere.status_code == 403  # the store does look at the signature, and the address is part of it


@pytest.mark.parametrize(("extra", "public"), [({"public_endpoint_url": "http://p"}, "http://p"), ({}, None)])
def test_a_connection_names_the_public_endpoint(extra: dict[str, str], public: str | None) -> None:
    connection = SimpleNamespace(
        conn_id="c", login="a", password="s", extra_dejson={"endpoint_url": "http://e", **extra}
    )
    credentials = s3_credentials_of(connection)
    assert (credentials.endpoint, credentials.public_endpoint) == ("http://e", public)


def test_an_empty_variable_names_no_public_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_S3_PUBLIC_ENDPOINT", "")
    assert credentials_from(Places(_env_file=None)).public_endpoint is None

"""Secrets are blotted out of messages; what helps a person stays."""

import time

import pytest

from include.embedding_etl.redaction import redact

SIGNED = (
    "https://bucket.s3.eu-central-1.amazonaws.com/docs/a.pdf?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential={key}%2F20261122%2Feu-central-1%2Fs3%2Faws4_request&X-Amz-Date=20261122T101010Z"
    "&X-Amz-Expires=3600&X-Amz-Security-Token=FQoGZXIvYXdzEHUaDFsecret%3D&X-Amz-Signature=5d672d79c15b13162d9279b0855cfba"
)
KEY = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    ("message", "secrets"),
    [
        ("POST https://bob:hunter2@embed.example:8443/v1 failed", ["bob", "hunter2"]),
        ("postgresql+psycopg://etl:p@ss:w@rd@db:5432/ledger", ["p@ss", "w@rd"]),
        (SIGNED.format(key=KEY) + " answered 403", [KEY, "FQoG", "5d672d79"]),
        (f"GET /k?AWSAccessKeyId={KEY}&Signature=vjbyPxybdZaNmGa%2ByT&Expires=1", [KEY, "vjby"]),
        ("https://blob.core.windows.net/c/k?sv=2024-08-04&sig=Zm9vYmFy%3D&se=2026", ["Zm9v"]),
        ("https://generativelanguage.googleapis.com/v1?key=AIzaSyA-1234567890abcdefghijklmnopqrstu", ["AIza"]),
        ("https://embed.example/v1?api_key=5f4dcc3b5aa7&model=m", ["5f4dcc3b"]),
        ("Incorrect API key provided: sk-proj-abcd1234*****wxyz. You can find it at …", ["abcd1234", "wxyz"]),
        ("Invalid API key: 8f3a9c0d", ["8f3a9c0d"]),
        ("headers: {'Authorization': 'Bearer abc.DEF-123~xyz'}", ["abc.DEF", "xyz"]),
        ("Authorization: Basic dXNlcjpwYXNz", ["dXNlcjpwYXNz"]),
        ("Proxy-Authorization: Basic dXNlcjpwYXNzd29yZDE=", ["dXNl"]),
        ('{"x-api-key": "5f4dcc3b", "model": "m"}', ["5f4dcc3b"]),
        ("OPENAI_API_KEY=zzz9 is not valid", ["zzz9"]),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY", ["wJalr", "bPxRfi"]),
        ("password='correct horse'", ["correct"]),
        ("Set-Cookie: session=0123456789", ["0123456789"]),
        ("token hf_AbCdEfGhIjKlMnOpQrStUv was refused", ["AbCdEf"]),
        ("ghp_0123456789abcdefghijABCDEFGHIJ", ["0123456789"]),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN", ["eyJ", "dozj"]),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----", ["MIIEp"]),
        ("-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA", ["MIIEp"]),
    ],
)
def test_secrets_are_blotted_out(message: str, secrets: list[str]) -> None:
    redacted = redact(message)
    assert [secret for secret in secrets if secret in redacted] == []
    assert "***" in redacted


@pytest.mark.parametrize(
    "message",
    [
        "the file is encrypted",
        "the text has 300 tokens, word-hash reads 256",
        "more chunks than limits.max_chunks (20,000) allows",
        "max_tokens=64 and overlap_tokens: 32",
        "nothing came out within limits.decode_timeout_s (120 s)",
        "a basic understanding of tokens",
        "not allowed to read it: the credentials need s3:GetObject on it",
        "the store answered 403 SignatureDoesNotMatch",
        "http://127.0.0.1:9000/v1, model m: refused; write to ann@example.com",
        "s3://bucket/keys/secretary.txt?versionId=3",
        "cannot decode 'sk-etch.png'",
        "",
    ],
)
def test_what_helps_a_person_stays(message: str) -> None:
    assert redact(message) == message


def test_the_rest_of_a_url_stays() -> None:
    assert redact("https://bob:hunter2@embed.example/v1?api_key=abc&model=m") == (
        "https://***@embed.example/v1?api_key=***&model=m"
    )


@pytest.mark.parametrize(
    "evil", ["a", "basic ", "token: ", "://", "://a", "sk-", "?key=", "-----BEGIN PRIVATE KEY-----"]
)
def test_a_message_made_to_be_slow_is_not(evil: str) -> None:
    started = time.process_time()
    redact(evil * (200_000 // len(evil)))
    assert time.process_time() - started < 2

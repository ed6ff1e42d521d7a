"""Real S3 servers on free ports of 127.0.0.1, and a proxy that spoils their replies.

moto lists in UTF-8 byte order and keeps every key exactly, but accepts any secret; SeaweedFS checks signatures and
persists, but lists in path-segment order and rewrites hostile keys. So the contract suite runs over both.
"""

import json
import os
import resource
import secrets
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from include.embedding_etl.s3_credentials import S3Credentials
from tests.ports import free_ports

REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """Where a test server listens, and with what it lets in."""

    endpoint: str
    access_key: str
    secret_key: str

    def session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, region_name=REGION
        )

    def client(self) -> Any:
        return _client(self)

    def credentials(self, endpoint: str | None = None) -> S3Credentials:
        return S3Credentials(self.access_key, self.secret_key, endpoint=endpoint or self.endpoint, region=REGION)

    def make_bucket(self) -> str:
        bucket = f"test-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=bucket)
        return bucket


@cache
def _client(server: S3Server) -> Any:
    """One for all tests: making one takes longer than most of them. It may be used by many threads at once."""
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}, max_pool_connections=32)
    return server.session().client("s3", endpoint_url=server.endpoint, config=config)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """moto in a thread of this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield S3Server(f"http://127.0.0.1:{port}", "testing-access-key", secrets.token_hex(16))
    server.stop()


@pytest.fixture(scope="session")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS: master, volume server, filer and S3 gateway in one process, every port on 127.0.0.1."""
    directory = tmp_path_factory.mktemp("seaweed")
    access_key, secret_key = f"test{secrets.token_hex(8)}", secrets.token_hex(20)
    ports = free_ports(8)
    log = (directory / "log").open("wb")
    process = subprocess.Popen(
        _seaweed_command(directory, access_key, secret_key, ports), stdout=log, stderr=log, cwd=directory
    )
    server = S3Server(f"http://127.0.0.1:{ports[0]}", access_key, secret_key)
    try:
        _wait_until_it_stores(server, process, directory / "log")
        yield server
    finally:
        process.kill()  # the data is thrown away: no need for the slow way
        process.wait()
        log.close()


def _seaweed_command(directory: Path, access_key: str, secret_key: str, ports: list[int]) -> list[str]:
    identity = {
        "name": "test",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (directory / "data").mkdir()
    names = ["s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    names += ["filer.port", "filer.port.grpc"]
    return [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={directory / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.config={directory / 's3.json'}",
        f"-s3.localSocket={directory / 's3.sock'}",
        f"-filer.localSocket={directory / 'filer.sock'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=0",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]


def _wait_until_it_stores(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """A gateway that answers may still have no volume to write to: only a stored object proves that it is ready."""
    client = server.client()
    deadline = time.monotonic() + 60
    bucket = f"ready-{uuid.uuid4().hex[:8]}"
    while True:
        try:
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="ready", Body=b"x")
            client.delete_object(Bucket=bucket, Key="ready")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)


@dataclass
class Reply:
    """What the server answered, on its way through the proxy; a fault changes it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    cut_after: int | None = None  # send so many bytes of the body, then break the connection off
    silent_reset: bool = False  # send nothing, reset the connection


Fault = Callable[[Reply], None]


def broken_off(after: int) -> Fault:
    """The connection ends after so many bytes of the body."""

    def fault(reply: Reply) -> None:
        reply.cut_after = after

    return fault


def reset(reply: Reply) -> None:
    """The connection is reset before anything was answered."""
    reply.silent_reset = True


def answered(status: int, body: bytes, **headers: str) -> Fault:
    """The server (or something before it) answers this instead."""

    def fault(reply: Reply) -> None:
        reply.status, reply.body = status, body
        reply.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]

    return fault


def s3_error(status: int, code: str, **headers: str) -> Fault:
    """An error document of S3."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>"
    return answered(status, body.encode(), **headers)


def rewritten(rewrite: Callable[[bytes], bytes]) -> Fault:
    """The body passes through `rewrite`."""

    def fault(reply: Reply) -> None:
        reply.body = rewrite(reply.body)

    return fault


def untouched(reply: Reply) -> None:
    """The reply passes as it is."""


@dataclass
class FaultyProxy:
    """Passes requests on to a server and spoils the replies in the order that was asked for.

    One fault is used up by each request that `matches`; when there are none left, replies pass untouched. `always`
    spoils all of them.
    """

    upstream: str
    port: int = 0
    matches: Callable[[str], bool] = field(default=lambda path: True)
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    paths: list[str] = field(default_factory=list)
    request_headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spoil(self, *faults: Fault) -> None:
        self.faults.extend(faults)

    def next_fault(self, path: str, headers: dict[str, str]) -> Fault:
        with self.lock:
            self.paths.append(path)
            self.request_headers.append(headers)
            if not self.matches(path):
                return untouched
            return self.always or (self.faults.popleft() if self.faults else untouched)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def _pass_on(self) -> None:
        fault = self.proxy.next_fault(self.path, dict(self.headers.items()))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = HTTPConnection(urlsplit(self.proxy.upstream).netloc, timeout=30)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body or None)
        answer = upstream.getresponse()
        reply = Reply(answer.status, answer.getheaders(), answer.read())
        upstream.close()
        fault(reply)
        self._send(reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - the names http.server looks for

    def _send(self, reply: Reply) -> None:
        if reply.silent_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: reply.cut_after])
        if reply.cut_after is not None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server uses
        """Tests read what happened from the proxy, not from stderr."""


@pytest.fixture
def faulty_proxy(moto_server: S3Server) -> Iterator[FaultyProxy]:
    """A proxy before moto; use `proxy.endpoint` instead of the server's."""
    proxy = FaultyProxy(moto_server.endpoint)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield proxy
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def tiny_disk() -> Iterator[None]:
    """No file of this process can grow beyond 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(autouse=True)
def no_aws_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may use, or need, the AWS credentials of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

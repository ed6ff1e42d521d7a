"""Local servers that receive what the pipeline tells: mail by SMTP, webhooks by HTTP, metrics by UDP."""

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class MailServer:
    """Takes any mail. `messages` is what came; it refuses recipients while `refuse` is set."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.refuse = False
        server = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 here")
                while line := self.rfile.readline():
                    command = line.strip().upper().decode()
                    if command.startswith("RCPT") and server.refuse:
                        self._say("550 nobody of that name")
                    elif command == "DATA":
                        self._say("354 go on")
                        server.messages.append(message_from_bytes(self._body(), policy=policy.default))  # type: ignore[arg-type]
                        self._say("250 taken")
                    elif command == "QUIT":
                        self._say("221 bye")
                        return
                    else:
                        self._say("250 yes")

            def _body(self) -> bytes:
                lines = []
                while (line := self.rfile.readline()) != b".\r\n":
                    lines.append(line.removeprefix(b"."))
                return b"".join(lines)

            def _say(self, words: str) -> None:
                self.wfile.write(f"{words}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "etl@example.org", "retry_limit": 0}
        self.connection = json.dumps(
            {"conn_type": "smtp", "host": "127.0.0.1", "port": self._server.server_address[1], "extra": extra}
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Webhook:
    """Takes JSON. `received` is every document that came; it answers `status`."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"json://127.0.0.1:{self._server.server_port}/hook/s3cret-token"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class StatsdServer:
    """A UDP socket. `lines()` is every metric that came since."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.environment = {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self._socket.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }

    def lines(self) -> list[str]:
        found: list[str] = []
        while True:
            try:
                found += self._socket.recv(65_536).decode().splitlines()
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    yield server
    server.close()


@pytest.fixture
def statsd_server() -> Iterator[StatsdServer]:
    server = StatsdServer()
    yield server
    server.close()

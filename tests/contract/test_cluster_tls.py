"""PostgreSQL and Redis over TLS with an authority of one's own: whoever it has not signed is refused."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.embedding_etl.errors import EmbeddingEtlError
from include.embedding_etl.ledger import Ledger
from tests.certificates import Certificates, make_certificates
from tests.fixtures_postgresql import PostgresqlServer, _own
from tests.ports import free_port

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ours"), ["127.0.0.1"])


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    return make_certificates(tmp_path, ["127.0.0.1"]).ca


@pytest.fixture
def secured(postgresql_server: PostgresqlServer, certificates: Certificates) -> Iterator[PostgresqlServer]:
    """The session's server, which speaks TLS for the time of a test."""
    for source, name in ((certificates.certificate, "server.crt"), (certificates.key, "server.key")):
        target = postgresql_server.data / name
        shutil.copy(source, target)
        target.chmod(0o600)
        _own(target)
    _switch(postgresql_server, "on")
    yield postgresql_server
    _switch(postgresql_server, "off")


def _switch(server: PostgresqlServer, ssl: str) -> None:
    with server.admin() as connection:
        connection.execute(f"ALTER SYSTEM SET ssl = '{ssl}'")
        connection.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 10
    while True:
        with server.admin() as connection:
            (found,) = connection.execute("SHOW ssl").fetchone() or ("",)
        if found == ssl:
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_ledger_is_reached_by_tls_that_is_fully_verified(
    secured: PostgresqlServer, certificates: Certificates, stranger: Path
) -> None:
    import sqlalchemy as sa

    url = secured.url.update_query_dict({"sslmode": "verify-full", "sslrootcert": str(certificates.ca)})
    with Ledger.open(url.render_as_string(hide_password=False), migrate=True) as ledger:
        assert ledger.leases.find("nobody's") is None
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    wrong = url.update_query_dict({"sslrootcert": str(stranger)})
    with pytest.raises(EmbeddingEtlError, match=r"certificate|signature failure") as caught:
        Ledger.open(wrong.render_as_string(hide_password=False), migrate=True)
    assert secured.password not in str(caught.value)


@pytest.fixture
def redis_port(certificates: Certificates, tmp_path: Path) -> Iterator[int]:
    """A broker that speaks nothing but TLS."""
    program = shutil.which("redis-server")
    assert program, "there is no redis-server: run `make test-cluster`"
    port = free_port()
    files = ("--tls-cert-file", str(certificates.certificate), "--tls-key-file", str(certificates.key))
    arguments = [program, "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", *files]
    arguments += ["--tls-ca-cert-file", str(certificates.ca), "--tls-auth-clients", "no", "--save", ""]
    with (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=tmp_path)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def test_celery_s_broker_is_reached_by_tls_that_is_verified(
    redis_port: int, certificates: Certificates, stranger: Path
) -> None:
    from kombu import Connection
    from kombu.exceptions import OperationalError

    def ask(ca: Path, attempts: int) -> None:
        url = f"rediss://127.0.0.1:{redis_port}/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}"
        with Connection(url) as connection:
            connection.ensure_connection(max_retries=attempts, interval_start=0.1, interval_step=0.1)
            connection.default_channel.client.ping()

    ask(certificates.ca, 50)
    with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(stranger, 1)

"""Certificates of an authority of the tests' own, for servers that speak TLS."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "milvus.example"


@dataclass(frozen=True)
class Certificates:
    """Files of PEM. The certificate serves servers and clients alike."""

    ca: Path
    certificate: Path
    key: Path

    def server(self) -> grpc.ServerCredentials:
        """For a server that anybody may talk to."""
        return grpc.ssl_server_credentials([(self.key.read_bytes(), self.certificate.read_bytes())])

    def mutual_server(self) -> grpc.ServerCredentials:
        """For a server that wants to see a certificate of the same authority."""
        pair = [(self.key.read_bytes(), self.certificate.read_bytes())]
        return grpc.ssl_server_credentials(pair, self.ca.read_bytes(), require_client_auth=True)


def make_certificates(directory: Path, addresses: Sequence[str] = ()) -> Certificates:
    """An authority and a certificate for milvus.example and for IP addresses, valid for a day."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    made = Certificates(directory / "ca.pem", directory / "own.pem", directory / "own.key")
    made.ca.write_bytes(_signed(issuer, issuer, authority, authority, x509.BasicConstraints(True, None)))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    numbers = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), *numbers])
    made.certificate.write_bytes(_signed(subject, issuer, own, authority, names))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    made.key.write_bytes(own.private_bytes(encoding, form, serialization.NoEncryption()))
    return made


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=False)
    )
    return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

"""Certificates made for a test: an authority and a server certificate that it signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Certificate(msgspec.Struct, frozen=True):
    """``chain_file`` holds the key and the certificate, ``ca_file`` the authority's certificate."""

    chain_file: Path
    ca_file: Path

    @property
    def key(self) -> str:
        text = self.chain_file.read_text()
        return text[: text.index("-----BEGIN CERTIFICATE")]

    @property
    def certificate(self) -> str:
        return self.chain_file.read_text().removeprefix(self.key)

    @property
    def ca(self) -> str:
        return self.ca_file.read_text()


def make_certificate(
    folder: Path, *names: str, valid: timedelta = timedelta(days=1), key: Key | None = None
) -> Certificate:
    """For these host names and addresses. A negative ``valid`` makes one that has run out."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), key or ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    root = _builder(authority, authority, authority_key, timedelta(days=1)).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    leaf = _builder(subject, authority, key, valid).add_extension(alternatives, critical=False)
    made = Certificate(folder / f"{names[0]}.pem", folder / f"{names[0]}-ca.pem")
    made.ca_file.write_bytes(root.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    made.chain_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return made


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, valid: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + valid)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)

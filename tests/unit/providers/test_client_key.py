"""Private keys that somebody made to cost time are refused before they do; all that TLS uses are read."""

from __future__ import annotations

import base64
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from gateway.providers.client_key import UnusableKey, read_client_key

E = 65537
PKCS8, TRADITIONAL = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
RSA = rsa.generate_private_key(E, 2048)


def pem(key: PrivateKeyTypes, form: PrivateFormat = PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def as_large(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def composite(bits: int) -> rsa.RSAPrivateKey:
    """Its two factors are as large as they should be, but not prime."""
    while True:
        p, q = (secrets.randbits(bits // 2) | 1 | 3 << (bits // 2 - 2) for _ in range(2))
        try:
            d, inverse = pow(E, -1, (p - 1) * (q - 1)), pow(q, -1, p)
        except ValueError:  # one of them has no inverse
            continue
        public = rsa.RSAPublicNumbers(E, p * q)
        numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), inverse, public)
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)


@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL])
@pytest.mark.parametrize("key", [RSA, ec.generate_private_key(ec.SECP384R1())], ids=["RSA", "EC"])
def test_the_kinds_that_tls_uses_are_read(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: PrivateFormat
) -> None:
    """In both forms of PEM."""
    read = read_client_key(pem(key, form))
    assert pem(read) == pem(key)


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()])
def test_so_are_those_that_have_pkcs_8_alone(key: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) -> None:
    """The newer curves."""
    assert pem(read_client_key(pem(key))) == pem(key)


def test_parameters_before_a_key_are_passed_over() -> None:
    """As ``openssl ecparam -genkey`` writes them."""
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    key = ec.generate_private_key(ec.SECP256R1())
    assert pem(read_client_key(parameters + pem(key, TRADITIONAL))) == pem(key)


def test_no_primes_are_looked_for() -> None:
    """That takes half a minute for a large key, in which nothing else runs: a key without primes is read."""
    key = composite(4096)
    assert pem(read_client_key(pem(key))) == pem(key)


@pytest.mark.parametrize(("bits", "words"), [(1024, "too weak"), (8192, "too large")])
def test_an_rsa_key_has_a_size_that_servers_take(bits: int, words: str) -> None:
    """One that is larger costs every handshake."""
    with pytest.raises(UnusableKey, match=words):
        read_client_key(pem(composite(bits)))


@pytest.mark.parametrize("name", ["n", "d", "p", "q"])
def test_the_numbers_of_an_rsa_key_belong_together(name: str) -> None:
    """A key that was damaged on its way is refused when it is given, and not at the first handshake."""
    numbers = RSA.private_numbers()
    number: int = getattr(numbers.public_numbers if name == "n" else numbers, name)
    whole = RSA.private_bytes(Encoding.DER, TRADITIONAL, NoEncryption())
    damaged = base64.b64encode(whole.replace(as_large(number), as_large(number ^ 2))).decode()
    with pytest.raises(UnusableKey, match="not a private key"):
        read_client_key(f"-----BEGIN RSA PRIVATE KEY-----\n{damaged}\n-----END RSA PRIVATE KEY-----\n")


@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL])
def test_other_kinds_are_not_looked_into(form: PrivateFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public half of a DSA key would be worked out, and its numbers are as large as somebody likes."""
    key = dsa.generate_private_key(1024)  # noqa: S505 - it is not read, and the smallest is the quickest to make
    monkeypatch.setattr("gateway.providers.client_key.load_pem_private_key", None)
    with pytest.raises(UnusableKey, match="not a private key"):
        read_client_key(pem(key, form))


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        pem(RSA) * 2,
        pem(RSA).replace("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\nComment: x\n\n"),
        "-----BEGIN PRIVATE KEY-----\nA===\n-----END PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ],
)
def test_what_is_not_one_plain_key_is_refused(text: str) -> None:
    """Several, or what another reader might take for another key."""
    with pytest.raises(UnusableKey, match="not a private key"):
        read_client_key(text)


@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL])
def test_a_passphrase_is_told_of(form: PrivateFormat) -> None:
    """There is nobody to ask for it."""
    text = RSA.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"sesame")).decode()
    with pytest.raises(UnusableKey, match="is encrypted"):
        read_client_key(text)

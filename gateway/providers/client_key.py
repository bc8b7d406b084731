"""The private key of a client certificate, read so that a hostile one costs next to nothing.

Whoever may write destinations chooses the text, and it is read on the event loop. The library would test the primes of
an RSA key, which takes half a minute for 16,384 bits and stops every thread meanwhile, and would work out the public
half of a DSA key. So kinds and sizes that TLS does not use are refused, and of RSA it is checked that its numbers
belong together, but not that they are prime: with a key where they are not, its own destination gets no connection.
"""

from __future__ import annotations

import base64
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

RSA_BITS_MIN = 2048  # what OpenSSL asks for by itself
RSA_BITS_MAX = 4096

_BLOCK = re.compile(r"-----BEGIN ([A-Z ]{0,40}PRIVATE KEY)-----([A-Za-z0-9+/=\s]*)-----END \1-----")
_OWN_LABELS = frozenset({"RSA PRIVATE KEY", "EC PRIVATE KEY"})
_KINDS = tuple(
    map(
        bytes.fromhex,
        (
            "06092a864886f70d010101",  # RSA
            "06092a864886f70d01010a",  # RSA for PSS alone
            "06072a8648ce3d0201",  # EC
            "06032b6570",  # Ed25519
            "06032b6571",  # Ed448
        ),
    )
)
_KIND_AT_MAX = 11  # behind two lengths and a version
_NO_KEY = "is not a private key (RSA, EC, Ed25519, Ed448) in PEM form"


class UnusableKey(ValueError):
    """Says what is wrong with it, in words for whoever gave it."""


def read_client_key(pem: str) -> PrivateKeyTypes:
    """Raises UnusableKey."""
    if "ENCRYPTED" in pem:
        raise UnusableKey("is encrypted: give it without a passphrase, it is stored encrypted here")
    blocks = _BLOCK.findall(pem)
    if len(blocks) != 1 or pem.count("PRIVATE KEY") != 2:
        raise UnusableKey(_NO_KEY)
    label, body = blocks[0]
    if label not in _OWN_LABELS and not _is_of_a_kind(body):
        raise UnusableKey(_NO_KEY)
    try:
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableKey(_NO_KEY) from None
    if isinstance(key, rsa.RSAPrivateKey):
        _check_rsa(key)
    return key


def _is_of_a_kind(body: str) -> bool:
    """By the algorithm that PKCS #8 names at its beginning."""
    start = "".join(body[:64].split())
    try:
        der = base64.b64decode(start[: len(start) // 4 * 4])
    except ValueError:
        return False
    return any(0 <= der.find(kind) <= _KIND_AT_MAX for kind in _KINDS)


def _check_rsa(key: rsa.RSAPrivateKey) -> None:
    if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        what = "weak" if key.key_size < RSA_BITS_MIN else "large"
        raise UnusableKey(f"is too {what}: RSA needs {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")
    numbers = key.private_numbers()
    p, q, d, public = numbers.p, numbers.q, numbers.d, numbers.public_numbers
    are_odd = min(p, q) > 1 and p & q & 1
    if not are_odd or p * q != public.n or d * public.e % (p - 1) != 1 or d * public.e % (q - 1) != 1:
        raise UnusableKey(_NO_KEY)

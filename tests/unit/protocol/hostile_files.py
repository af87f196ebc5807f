"""Key files that someone made to hurt: bombs, misfits and look-alikes, written in DER."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from django_cybs_jwt.exceptions import UnreadableKeyFile
from django_cybs_jwt.protocol import der
from django_cybs_jwt.protocol.der import encode
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.p12_encoding import DATA, data_content, gateway_p12, oid, p12_around

PASSWORD = "Bomb-Password-7"
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)

AES_256_CBC = oid("2.16.840.1.101.3.4.1.42")
ENCRYPTED_DATA = oid("1.2.840.113549.1.7.6")
PBES2 = oid("1.2.840.113549.1.5.13")
PBKDF2 = oid("1.2.840.113549.1.5.12")
PKCS12_RC2_40 = oid("1.2.840.113549.1.12.1.6")
PKCS12_TRIPLE_DES = oid("1.2.840.113549.1.12.1.3")
RSA_ENCRYPTION = oid("1.2.840.113549.1.1.1")
RSA_PSS = oid("1.2.840.113549.1.1.10")
SCRYPT = oid("1.3.6.1.4.1.11591.4.11")
SHROUDED_KEY_BAG = oid("1.2.840.113549.1.12.10.1.2")
# The default, SHA-1, has no place in DER.
PRFS = {"SHA1": b""} | {
    f"SHA{bits}": encode(der.SEQUENCE, oid(f"1.2.840.113549.2.{number}"), b"\x05\x00")
    for number, bits in ((8, 224), (9, 256), (10, 384), (11, 512))
}
SHA256_PRF = PRFS["SHA256"]


def number(value: int) -> bytes:
    return encode(der.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def key() -> rsa.RSAPrivateKey:
    return material.rsa_key(name="hostile")


def certificate(**changes: Any) -> x509.Certificate:
    return material.certificate(key(), **{"common_name": "acme", "kid": "1" * 22} | changes)


def modern_p12(
    private_key: Any = None, own: Any = None, others: Sequence[x509.Certificate] = ()
) -> bytes:
    """A P12 as cryptography writes it: PBES2, certificates encrypted too."""
    encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
    return pkcs12.serialize_key_and_certificates(None, private_key, own, others, encryption)


def good_p12(*certificates: x509.Certificate) -> bytes:
    """A P12 in the gateway's shape around `key()`."""
    return gateway_p12(key(), certificates or (certificate(),), PASSWORD)


def pem(private_key: Any = None, password: str | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    return (private_key or key()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def pem_text(label: str, content: bytes) -> bytes:
    """One PEM block around any bytes."""
    body = base64.encodebytes(content).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


def certificate_pem(found: x509.Certificate | None = None) -> bytes:
    return (found or certificate()).public_bytes(serialization.Encoding.PEM)


def triple_des_pem() -> bytes:
    """The encrypted key of a gateway P12, as a PEM file of its own."""
    last = der.parse(safe_of(good_p12())).children()[-1]
    bag = der.parse(last.children()[1].children()[0].content).children()[0]
    return pem_text("ENCRYPTED PRIVATE KEY", bag.children()[1].content)


def rewrite(data: bytes, change: Callable[[der.Element], bytes | None]) -> bytes:
    """DER with every element replaced for which *change* gives bytes; lengths fit again."""
    return b"".join(_rewritten(element, change) for element in der.read_all(data))


def _rewritten(element: der.Element, change: Callable[[der.Element], bytes | None]) -> bytes:
    replacement = change(element)
    if replacement is not None:
        return replacement
    if element.tag & 0x20:
        return encode(element.tag, rewrite(element.content, change))
    if element.tag == der.OCTET_STRING:
        try:
            return encode(element.tag, rewrite(element.content, change))
        except UnreadableKeyFile:
            return element.encoded
    return element.encoded


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    return rewrite(data, lambda element: new if element.encoded == old else None)


def reseal(data: bytes) -> bytes:
    """The same P12 with a MAC that fits its changed content."""
    return p12_around(safe_of(data), PASSWORD)


def safe_of(data: bytes) -> bytes:
    """The encoded AuthenticatedSafe of a P12."""
    return der.parse(data).children()[1].children()[1].children()[0].content


def p12_of(*bags: bytes) -> bytes:
    """A P12 with these bags in clear."""
    return p12_around(encode(der.SEQUENCE, data_content(b"".join(bags))), PASSWORD)


def mac_bomb(iterations: int = 2**31 - 1) -> bytes:
    safe = safe_of(good_p12())
    return p12_around(safe, PASSWORD, declared_iterations=iterations.to_bytes(5))


def pbes2_bomb() -> bytes:
    """A key bag of 10^7 iterations under a right password."""
    return reseal(replaced(modern_p12(key(), certificate()), number(20_000), number(10**7)))


def many_bags(count: int = 1_000, iterations: int = 100_000) -> bytes:
    parameters = encode(der.SEQUENCE, encode(der.OCTET_STRING, b""), number(iterations))
    algorithm = encode(der.SEQUENCE, PKCS12_TRIPLE_DES, parameters)
    return p12_of(shrouded_bag(algorithm) * count)


def shrouded_bag(algorithm: bytes) -> bytes:
    encrypted = encode(der.SEQUENCE, algorithm, encode(der.OCTET_STRING, b"\0" * 8))
    return encode(der.SEQUENCE, SHROUDED_KEY_BAG, encode(der.CONTEXT_0, encrypted))


def nested_bomb(algorithm: bytes) -> bytes:
    """A key bag under *algorithm*, hidden inside a safe that only the password opens."""
    bags = encode(der.SEQUENCE, shrouded_bag(algorithm))
    return p12_around(encode(der.SEQUENCE, encrypted_content(bags)), PASSWORD)


def encrypted_content(bags: bytes, digest: str = "SHA256") -> bytes:
    """Bags as one encrypted ContentInfo: PBKDF2 with 2,048 iterations, AES-256-CBC."""
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    derived = hashlib.pbkdf2_hmac(digest, PASSWORD.encode(), salt, 2_048, 32)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(bags) + padder.finalize()) + encryptor.finalize()
    scheme = pbes2(pbkdf2(2_048, salt, PRFS[digest]), iv)
    info = encode(der.SEQUENCE, DATA, scheme, encode(0x80, ciphertext))
    content = encode(der.SEQUENCE, number(0), info)
    return encode(der.SEQUENCE, ENCRYPTED_DATA, encode(der.CONTEXT_0, content))


def pbes2(kdf: bytes, iv: bytes = b"\0" * 16) -> bytes:
    cipher = encode(der.SEQUENCE, AES_256_CBC, encode(der.OCTET_STRING, iv))
    return encode(der.SEQUENCE, PBES2, encode(der.SEQUENCE, kdf, cipher))


def pbkdf2(iterations: int, salt: bytes = b"\0" * 8, prf: bytes | None = None) -> bytes:
    hmac = SHA256_PRF if prf is None else prf
    parameters = encode(der.SEQUENCE, encode(der.OCTET_STRING, salt), number(iterations), hmac)
    return encode(der.SEQUENCE, PBKDF2, parameters)


def scrypt(cost: int, block: int = 8, parallel: int = 1) -> bytes:
    parameters = encode(
        der.SEQUENCE,
        encode(der.OCTET_STRING, b"\0" * 8),
        number(cost),
        number(block),
        number(parallel),
    )
    return encode(der.SEQUENCE, SCRYPT, parameters)


def encrypted_key(kdf: bytes, ciphertext: bytes = b"\0" * 1232) -> bytes:
    """An encrypted PKCS#8 PEM file whose password is never found."""
    content = encode(der.SEQUENCE, pbes2(kdf), encode(der.OCTET_STRING, ciphertext))
    return pem_text("ENCRYPTED PRIVATE KEY", content)


def inconsistent_key() -> rsa.RSAPrivateKey:
    """An RSA key whose private exponent does not belong to its modulus."""
    n = key().private_numbers()
    return _unchecked(n.p, n.q, n.d + 2)


def enormous_key() -> rsa.RSAPrivateKey:
    """A key of 16,384 bits; its factors are not primes, but finding that out takes long."""
    return _unchecked(2**8191 | secrets.randbits(8190) | 1, 2**8191 | 2**8190 | 1, 65537)


def _unchecked(p: int, q: int, d: int) -> rsa.RSAPrivateKey:
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(65537, p * q),
    ).private_key(unsafe_skip_rsa_key_validation=True)


def two_keys_p12() -> bytes:
    contents = der.parse(safe_of(good_p12())).content * 2
    return p12_around(encode(der.SEQUENCE, contents), PASSWORD)


def bags_of(data: bytes) -> list[bytes]:
    """The bags of a P12 that lie in clear, those of keys last."""
    contents = der.parse(safe_of(data)).children()
    lists = [der.parse(content.children()[1].children()[0].content) for content in contents]
    return [bag.encoded for bags in lists for bag in bags.children()]


def hiding_p12(hidden: Sequence[bytes], clear: Sequence[bytes] = ()) -> bytes:
    """A P12 with bags in a safe that only the password opens, and others in clear."""
    contents = [encrypted_content(encode(der.SEQUENCE, *hidden))]
    if clear:
        contents.insert(0, data_content(b"".join(clear)))
    return p12_around(encode(der.SEQUENCE, *contents), PASSWORD)


def scrypt_safe_p12() -> bytes:
    """A P12 with one safe under a derivation that no known writer of such files uses."""
    info = encode(der.SEQUENCE, DATA, pbes2(scrypt(16)), encode(0x80, b"\0" * 16))
    content = encode(der.CONTEXT_0, encode(der.SEQUENCE, number(0), info))
    contents = der.parse(safe_of(good_p12())).content
    odd = encode(der.SEQUENCE, ENCRYPTED_DATA, content)
    return p12_around(encode(der.SEQUENCE, contents, odd), PASSWORD)


def nested_safe(*bags: bytes) -> bytes:
    """Bags as one bag of kind SafeContents, which may hold more of its kind."""
    kind = oid("1.2.840.113549.1.12.10.1.6")
    return encode(der.SEQUENCE, kind, encode(der.CONTEXT_0, encode(der.SEQUENCE, *bags)))


def strangers_bags() -> list[bytes]:
    """Certificate and key of somebody else, under the same password."""
    other = material.rsa_key(name="stranger")
    own = material.certificate(other, common_name="stranger", kid="2" * 22)
    return bags_of(gateway_p12(other, [own], PASSWORD))


def without_mac(data: bytes) -> bytes:
    return encode(der.SEQUENCE, *(child.encoded for child in der.parse(data).children()[:2]))


def unencrypted_p12() -> bytes:
    """A P12 with its key bag in clear, under a right MAC."""
    return p12_of(plain_key_bag())


def plain_key_bag() -> bytes:
    """A key bag that is not encrypted by itself."""
    plain = key().private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    kind = oid("1.2.840.113549.1.12.10.1.1")
    return encode(der.SEQUENCE, kind, encode(der.CONTEXT_0, plain))


def indefinite_safe() -> bytes:
    """A P12 whose safe, inside its octet string, has a length left open."""
    return p12_around(indefinite(safe_of(good_p12())), PASSWORD)


def indefinite_bags() -> bytes:
    """A P12 whose first list of bags has a length left open."""
    first, *others = der.parse(safe_of(good_p12())).children()
    bags = indefinite(first.children()[1].children()[0].content)
    data = encode(der.CONTEXT_0, encode(der.OCTET_STRING, bags))
    content = encode(der.SEQUENCE, DATA, data)
    rest = (other.encoded for other in others)
    return p12_around(encode(der.SEQUENCE, content, *rest), PASSWORD)


def indefinite(data: bytes) -> bytes:
    """The same file with an outer length that is left open, as BER allows."""
    return b"\x30\x80" + der.parse(data).content + b"\0\0"


def deep(levels: int) -> bytes:
    data = b""
    for _ in range(levels):
        data = encode(der.SEQUENCE, data)
    return data


def pss(data: bytes) -> bytes:
    """DER with RSA keys declared as RSA-PSS keys."""
    plain = encode(der.SEQUENCE, RSA_ENCRYPTION, b"\x05\x00")
    return replaced(data, plain, encode(der.SEQUENCE, RSA_PSS))


def pss_certificate() -> x509.Certificate:
    """The BIT STRING of a key is copied as it is, so only the algorithm changes."""
    return x509.load_der_x509_certificate(
        pss(certificate().public_bytes(serialization.Encoding.DER))
    )


def named(common_name: str, kid: str = "1" * 22) -> x509.Certificate:
    """A certificate whose CN breaks every rule that a builder would keep."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name, _validate=False),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, kid),
        ]
    )
    return self_signed(key(), subject)


def elliptic_certificate() -> x509.Certificate:
    """A certificate of an elliptic key."""
    return self_signed(ec.generate_private_key(ec.SECP256R1()))


def ended_short_root() -> x509.Certificate:
    """A root as the gateway's own files have it: 1024 bits, ended."""
    return self_signed(material.rsa_key(1024, name="short"), begin=NOW - 900 * DAY, days=300)


def self_signed(
    private_key: Any, subject: x509.Name | None = None, begin: datetime = NOW - DAY, days: int = 365
) -> x509.Certificate:
    name = subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(7)
        .not_valid_before(begin)
        .not_valid_after(begin + days * DAY)
        .sign(private_key, hashes.SHA256())
    )

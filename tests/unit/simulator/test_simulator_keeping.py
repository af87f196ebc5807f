"""What the simulator keeps: used token ids, its identity, its registry."""

from __future__ import annotations

import stat
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from django_cybs_jwt.simulator import (
    ChainedRegistry,
    Gateway,
    Identity,
    Ledger,
    MemoryRegistry,
    RegisteredKey,
)
from django_cybs_jwt.simulator.refusals import RefusalError
from django_cybs_jwt.simulator.replays import Replays
from django_cybs_jwt.simulator.tls import TLSFiles
from tests.unit.simulator.callers import HOST, Caller, certificate

THREADS = 16


def test_of_sixteen_threads_with_one_token_exactly_one_is_accepted(
    gateway: Gateway, shop: Caller
) -> None:
    request = shop.request()
    together = threading.Barrier(THREADS)

    def send(_: int) -> str:
        together.wait(60)
        return str(gateway.handle(request).refusal)

    with ThreadPoolExecutor(THREADS) as pool:
        refusals = Counter(pool.map(send, range(THREADS)))

    assert refusals == {"None": 1, "REPLAYED": THREADS - 1}
    assert len(gateway.ledger.entries()) == 1


def test_of_sixteen_threads_with_one_transaction_id_exactly_one_is_processed(
    gateway: Gateway, shop: Caller
) -> None:
    requests = [shop.request() for _ in range(THREADS)]

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = Counter(answer.status for answer in pool.map(gateway.handle, requests))

    assert statuses == {201: 1, 400: THREADS - 1}
    assert len(gateway.ledger.entries()) == 1


def test_a_token_id_is_forgotten_when_its_token_has_expired() -> None:
    replays = Replays()

    assert replays.first_use("shop", "a", until=100, now=0)
    assert not replays.first_use("shop", "a", until=100, now=100)
    assert replays.first_use("shop", "b", until=200, now=101)
    assert len(replays) == 1


def test_token_ids_of_two_issuers_do_not_meet() -> None:
    replays = Replays()

    assert replays.first_use("shop", "a", until=100, now=0)
    assert replays.first_use("kiosk", "a", until=100, now=0)


def test_an_identity_survives_a_restart_in_a_file_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"

    first = Identity.at(path)
    second = Identity.at(path)

    assert (first.kid, first.pem) == (second.kid, second.pem)
    assert first.private_key.private_numbers() == second.private_key.private_numbers()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_expired_identity_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    first = Identity.at(path)

    later = datetime.now(UTC) + timedelta(days=4 * 365)

    assert Identity.at(path, later).kid != first.kid


def test_an_identity_needs_the_certificate_of_its_key(
    tmp_path: Path, identity: Identity, signing_key: rsa.RSAPrivateKey
) -> None:
    path = tmp_path / "identity.pem"
    Identity(signing_key, identity.certificate).save(path)

    with pytest.raises(ValueError, match="Delete it"):
        Identity.load(path)


def test_an_elliptic_key_is_no_identity(tmp_path: Path, identity: Identity) -> None:
    path = tmp_path / "identity.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + identity.pem.encode())

    with pytest.raises(ValueError, match="Delete it"):
        Identity.load(path)


def test_an_identity_shows_no_key(identity: Identity) -> None:
    assert "private_key" not in repr(identity)
    assert len(identity.kid) == 22


def test_a_registered_secret_is_not_shown() -> None:
    key = RegisteredKey(owner="o", kid="k", algorithm_family="HMAC", secret=b"very-secret")

    assert "very-secret" not in repr(key)
    assert key.material == b"very-secret"


@pytest.mark.parametrize("secret", [None, b""])
def test_a_registered_key_has_material(secret: bytes | None) -> None:
    with pytest.raises(ValueError, match="shared secret"):
        RegisteredKey(owner="o", kid="k", algorithm_family="HMAC", secret=secret)


def test_a_registered_rsa_key_has_no_secret(signing_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(ValueError, match="public key"):
        RegisteredKey(
            owner="o",
            kid="k",
            algorithm_family="RSA",
            public_key=signing_key.public_key(),
            secret=b"s",
        )


def test_a_registry_knows_hosts_and_coverage() -> None:
    registry = MemoryRegistry()
    registry.add("owner", kid="k", secret="QUJD", covers=["a", "b"])
    registry.add("a", kid="k2", secret="QUJD", host="API.visaacceptance.com")

    assert registry.hosts("a") == {"apitest.cybersource.com", "api.visaacceptance.com"}
    assert registry.hosts("b") == {"apitest.cybersource.com"}
    assert registry.hosts("c") == frozenset()
    assert registry.covers("owner", "k", "a", HOST)
    assert registry.covers("owner", "k", "owner", HOST)
    assert not registry.covers("owner", "k2", "a", HOST)
    assert not registry.covers("a", "k2", "b", HOST)


def test_a_key_is_registered_on_one_host(response_key: rsa.RSAPrivateKey) -> None:
    live, own = "api.cybersource.com", certificate(response_key, "r", "shop")
    registry = MemoryRegistry()
    registry.add("shop", kid="k", secret=b"test", response_certificate=own, covers=["branch"])
    registry.add("shop", kid="k", secret=b"live", host=live.upper())

    assert _secret(registry, HOST) == b"test"
    assert _secret(registry, live) == b"live"
    assert _secret(registry, "") in (b"test", b"live")
    assert registry.signing_key("shop", "k", "apitest.visaacceptance.com") is None
    assert registry.response_key("shop", "r", HOST) is not None
    assert registry.response_key("shop", "r", live) is None
    assert registry.covers("shop", "k", "branch", HOST)
    assert not registry.covers("shop", "k", "branch", live)


def _secret(registry: MemoryRegistry, host: str) -> bytes | None:
    key = registry.signing_key("shop", "k", host)
    return key.secret if key else None


def test_a_second_key_stands_beside_the_first() -> None:
    registry = MemoryRegistry()
    registry.add("shop", kid="old", secret="QUJD")
    registry.add("shop", kid="new", secret="REVG")

    old, new = (registry.signing_key("shop", kid, HOST) for kid in ("old", "new"))

    assert old is not None
    assert new is not None
    assert old.material != new.material


def test_the_first_of_chained_registries_has_precedence(
    response_key: rsa.RSAPrivateKey,
) -> None:
    first, second = MemoryRegistry(), MemoryRegistry()
    first.add("shop", kid="k", secret=b"first")
    second.add("shop", kid="k", secret=b"second", host="api.cybersource.com", covers=["branch"])
    second.add(
        "kiosk", kid="q", secret=b"s", response_certificate=certificate(response_key, "r", "kiosk")
    )

    chained = ChainedRegistry(first, second)

    key = chained.signing_key("shop", "k", HOST)
    assert key is not None
    assert key.material == b"first"
    assert chained.signing_key("kiosk", "q", HOST) is not None
    assert chained.signing_key("kiosk", "k", HOST) is None
    assert chained.response_key("kiosk", "r", HOST) == response_key.public_key()
    assert chained.response_key("shop", "r", HOST) is None
    assert chained.covers("shop", "k", "branch", "api.cybersource.com")
    assert chained.hosts("shop") == {"apitest.cybersource.com", "api.cybersource.com"}


def test_a_key_removed_between_two_requests_no_longer_signs(
    registry: MemoryRegistry, identity: Identity, shop: Caller
) -> None:
    """The registry is asked at every request, not once."""

    class Revocable(MemoryRegistry):
        revoked = False

        def signing_key(self, issuer: str, kid: str, host: str) -> RegisteredKey | None:
            return None if self.revoked else registry.signing_key(issuer, kid, host)

        def hosts(self, merchant: str) -> frozenset[str]:
            return registry.hosts(merchant)

    revocable = Revocable()
    gateway = Gateway(revocable, identity=identity, clock=shop.clock)
    assert gateway.handle(shop.request()).status == 201

    revocable.revoked = True

    assert gateway.handle(shop.request()).status == 401


def test_a_refused_entry_changes_nothing(gateway: Gateway, shop: Caller) -> None:
    gateway.handle(shop.request())
    (entry,) = gateway.ledger.entries()
    ledger = Ledger()
    ledger.record(entry)

    with pytest.raises(RefusalError):
        ledger.record(entry)

    assert ledger.entries() == [entry]


def test_a_certificate_without_a_serial_number_needs_a_kid(tmp_path: Path) -> None:
    """As in certificates that customers submit; the server's own has none either."""
    files = TLSFiles.write(tmp_path, "localhost")

    with pytest.raises(ValueError, match="Give the kid"):
        MemoryRegistry().add("shop", certificate=files.certificate.read_bytes())


def test_an_elliptic_certificate_is_not_registered() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    elliptic = certificate(key, "1", "shop")  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="no RSA key"):
        MemoryRegistry().add("shop", certificate=elliptic)

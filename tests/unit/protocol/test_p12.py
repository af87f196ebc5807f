from __future__ import annotations

import copy
import os
import pickle
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from django_cybs_jwt.exceptions import (
    ExpiredKey,
    KeyMaterialError,
    UnreadableKeyFile,
    WrongKeyFile,
)
from django_cybs_jwt.protocol import keys, pem
from django_cybs_jwt.protocol.p12 import load_p12
from django_cybs_jwt.protocol.p12_writer import write_p12
from django_cybs_jwt.protocol.shared_secrets import parse_shared_secret
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.p12_encoding import gateway_p12
from tests.unit.protocol import hostile_files as hostile

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
KEY = material.rsa_key(name="p12")
LEGACY = "Legacy encryption (3DES, one MAC iteration): the password protects little."


def file(**changes: object) -> material.P12File:
    return material.p12("acme_001", **{"private_key": KEY} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["own-first", "gateway-first", "issuer-first"])
def test_a_file_in_the_gateways_shape_is_read_whatever_its_order(order: material.Order) -> None:
    made = file(order=order)
    bundle = load_p12(made.data, made.password, now=NOW)
    assert bundle.private_key.private_numbers() == KEY.private_numbers()
    assert (bundle.kid, bundle.common_name) == (made.kid, "acme_001")
    assert bundle.certificate == made.certificate
    assert made.gateway is not None
    assert bundle.gateway_certificates == (made.gateway.certificate,)
    assert [keys.common_name(c) for c in bundle.others] == [material.ISSUER_NAME]
    assert bundle.notices == (LEGACY,)


def test_a_preview_names_each_certificate_and_its_role() -> None:
    made = file()
    facts = load_p12(made.data, made.password, now=NOW).describe()
    assert [f.role for f in facts] == ["own", "request-MLE", "issuer"]
    own = facts[0]
    assert (own.kid, own.common_name, own.issuer) == (
        made.kid,
        "acme_001",
        f"CN={material.ISSUER_NAME}",
    )
    assert own.fingerprint == keys.spki_fingerprint(KEY.public_key())
    assert (own.not_before, own.not_after) == (
        made.certificate.not_valid_before_utc,
        made.certificate.not_valid_after_utc,
    )
    assert own.key_size == 2048


def test_a_file_in_todays_encryption_needs_no_notice() -> None:
    made = file()
    data = pkcs12.serialize_key_and_certificates(
        b"any", KEY, made.certificate, None, BestAvailableEncryption(b" two  words ")
    )
    bundle = load_p12(data, b" two  words ", now=NOW)
    assert (bundle.kid, bundle.notices, bundle.gateway_certificates) == (made.kid, (), ())


def test_a_password_is_never_trimmed() -> None:
    made = file(password=" spaced ")
    assert load_p12(made.data, " spaced ", now=NOW).kid == made.kid
    with pytest.raises(UnreadableKeyFile):
        load_p12(made.data, "spaced", now=NOW)


def test_a_password_is_never_normalized() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    made = file(password=composed)
    assert load_p12(made.data, composed.encode(), now=NOW).kid == made.kid
    with pytest.raises(UnreadableKeyFile):
        load_p12(made.data, decomposed, now=NOW)


def test_gateway_certificates_are_found_by_alias_in_any_case_and_kept_when_ended() -> None:
    ended = material.gateway_certificate(
        common_name="BRAND_sjc_us", not_before=NOW - 900 * DAY, not_after=NOW - DAY
    )
    made = file(gateway=ended)
    plain = load_p12(made.data, made.password, now=NOW)
    branded = load_p12(made.data, made.password, now=NOW, gateway_aliases=("Brand_SJC_US",))
    assert plain.gateway_certificates == ()
    assert branded.gateway_certificates == (ended.certificate,)
    assert branded.describe()[1].not_after == NOW - DAY


def test_several_gateway_certificates_are_all_handed_out() -> None:
    old = material.gateway_certificate(not_before=NOW - 900 * DAY, not_after=NOW - DAY)
    new = material.gateway_certificate()
    own = file().certificate
    data = gateway_p12(KEY, [old.certificate, own, new.certificate], "pw")
    bundle = load_p12(data, "pw", now=NOW)
    assert set(bundle.gateway_certificates) == {old.certificate, new.certificate}


def test_a_certificate_without_serial_number_has_no_kid() -> None:
    own = material.certificate(KEY, common_name="submitted by the customer")
    assert load_p12(gateway_p12(KEY, [own], "pw"), "pw", now=NOW).kid == ""


def test_an_ended_certificate_is_refused_with_its_end() -> None:
    made = file(not_before=NOW - 9 * DAY, not_after=NOW)
    with pytest.raises(ExpiredKey, match=NOW.isoformat()[:10]) as caught:
        load_p12(made.data, made.password, now=NOW)
    assert caught.value.facts["not_after"] == NOW
    assert load_p12(made.data, made.password, now=NOW - timedelta(seconds=1)).kid == made.kid


def test_a_certificate_that_has_not_begun_is_taken_with_a_notice() -> None:
    made = file(not_before=NOW + DAY)
    notice = load_p12(made.data, made.password, now=NOW).notices[-1]
    assert f"{NOW + DAY:%Y-%m-%d %H:%M} UTC" in notice


def test_a_life_of_more_than_five_years_is_refused() -> None:
    begin = NOW - DAY
    made = file(not_before=begin, not_after=begin + 5 * 366 * DAY)
    assert load_p12(made.data, made.password, now=NOW).kid == made.kid
    made = file(not_before=begin, not_after=begin + 36_525 * DAY)
    with pytest.raises(WrongKeyFile, match="100 years"):
        load_p12(made.data, made.password, now=NOW)


def test_of_several_own_certificates_the_newest_valid_one_is_used() -> None:
    def own(kid: str, begin: int, end: int) -> object:
        return material.certificate(
            KEY,
            common_name="acme",
            kid=kid,
            not_before=NOW + begin * DAY,
            not_after=NOW + end * DAY,
        )

    candidates = [own("1", -90, 90), own("2", -30, 30), own("3", -20, -10), own("4", 10, 200)]
    bundle = load_p12(gateway_p12(KEY, candidates, "pw"), "pw", now=NOW)  # type: ignore[arg-type]
    assert bundle.kid == "2"
    assert bundle.notices[-1].startswith("4 certificates belong to this key")
    assert len(bundle.others) == 3


def named(*certificates: tuple[str, int, int]) -> bytes:
    """A P12 whose one key has several certificates: CN, begin and end in days from NOW."""
    made = [
        material.certificate(
            KEY,
            common_name=name,
            kid=f"{begin + 100}",
            not_before=NOW + begin * DAY,
            not_after=NOW + end * DAY,
        )
        for name, begin, end in certificates
    ]
    return gateway_p12(KEY, made, "pw")


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_own_certificates_that_of_the_organization_goes_before_a_newer_one(
    order: int,
) -> None:
    data = named(*[("acme", -90, 90), ("acme", -60, 90), ("rival", -30, 90)][::order])
    assert load_p12(data, "pw", now=NOW).common_name == "rival"
    bundle = load_p12(data, "pw", now=NOW, common_name="ACME")
    assert (bundle.common_name, bundle.kid) == ("acme", "40")
    assert "the newest valid one for ACME is used" in bundle.notices[-1]


def test_a_name_that_no_certificate_carries_decides_nothing() -> None:
    data = named(("acme", -90, 90), ("rival", -30, 90))
    bundle = load_p12(data, "pw", now=NOW, common_name="another")
    assert bundle.common_name == "rival"
    assert "another" not in bundle.notices[-1]


def test_an_organizations_own_certificate_that_has_ended_is_not_replaced_by_anothers() -> None:
    data = named(("acme", -90, -1), ("rival", -30, 90))
    with pytest.raises(ExpiredKey):
        load_p12(data, "pw", now=NOW, common_name="acme")


def test_a_bundle_shows_nothing_and_is_never_pickled_or_copied() -> None:
    made = file()
    bundle = load_p12(made.data, made.password, now=NOW)
    assert (repr(bundle), str(bundle), f"{bundle}") == ("<P12Bundle redacted>",) * 3
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            leak(bundle)


@pytest.mark.parametrize(
    "fail",
    [
        lambda secret: load_p12(file().data, secret, now=NOW),
        lambda secret: pem.load_private_key(hostile.pem(password="x"), secret),
        lambda secret: pem.load_bundle(hostile.pem(password="x"), secret, now=NOW),
        lambda secret: parse_shared_secret(secret, algorithm="HS256"),
        lambda secret: write_p12(KEY, None, [], secret + "\0"),
    ],
    ids=["load_p12", "load_private_key", "load_bundle", "parse_shared_secret", "write_p12"],
)
def test_a_failure_leaves_no_secret_in_the_frames_of_its_traceback(
    fail: Callable[[str], object],
) -> None:
    try:
        fail("Canary-Password-" + str(7))
    except KeyMaterialError as error:
        below = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
        frames = traceback.StackSummary.extract(
            traceback.walk_tb(below), capture_locals=True
        ).format()
    assert len(frames) > 1
    assert "Canary-Password" not in "".join(frames)


SAMPLES = os.environ.get("CYBS_SAMPLES_DIR", "")


@pytest.mark.skipif(not SAMPLES, reason="CYBS_SAMPLES_DIR names no folder of real key files")
@pytest.mark.parametrize(
    ("name", "password", "now", "kid", "gateway_kid", "gateway_end"),
    [
        (
            "agentic_mid_091225001",
            "Changeit@123",
            datetime(2026, 10, 1, tzinfo=UTC),
            "1757695744950028980655",
            "1690399296411018724303",
            datetime(2026, 7, 26, 19, 21, 37, tzinfo=UTC),
        ),
        (
            "agentic_mid_091225001_mle",
            "Changeit@123",
            datetime(2026, 9, 1, tzinfo=UTC),
            "1757970970890149248479",
            "1690399296411018724303",
            datetime(2026, 7, 26, 19, 21, 37, tzinfo=UTC),
        ),
        (
            "testrest",
            "testrest",
            datetime(2021, 1, 1, tzinfo=UTC),
            "5746642430690177107046",
            "5198484913880177031865",
            datetime(2021, 2, 28, 20, 8, 11, tzinfo=UTC),
        ),
    ],
)
def test_files_that_the_gateway_issued_are_read(
    *, name: str, password: str, now: datetime, kid: str, gateway_kid: str, gateway_end: datetime
) -> None:
    data = (Path(SAMPLES) / f"{name}.p12").read_bytes()
    bundle = load_p12(data, password, now=now)
    own, gateway, issuer = bundle.describe()
    assert (own.kid, own.common_name) == (kid, name.removesuffix("_mle"))
    assert (gateway.kid, gateway.not_after) == (gateway_kid, gateway_end)
    assert (issuer.role, issuer.common_name) == ("issuer", "CyberSourceCertAuth")
    assert bundle.notices == (LEGACY,)

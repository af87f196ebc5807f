"""What the official SDK was configured with goes on here; no value of it is ever shown."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from traceback import TracebackException
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from django_cybs_jwt.exceptions import ConfigurationError, KeyRingError
from django_cybs_jwt.models import (
    AuditHead,
    Credential,
    Epoch,
    GatewayCertificate,
    KeyEvent,
    KeySlot,
    Organization,
)
from django_cybs_jwt.protocol.hosts import PRESETS
from django_cybs_jwt.services import coverage, organizations, signing
from django_cybs_jwt.services.migration import sdk_migration, sdk_settings
from django_cybs_jwt.services.migration.sdk_migration import Migration
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]

LIVE = "api.cybersource.com"
KEY_ID = "08c94330-f618-42a3-b09d-e1e43be5efda"
SECRET = material.shared_secret().secret

Members = dict[str, Any]


def base(**members: Any) -> Members:
    return {"merchantid": "acme", "run_environment": HOST, **members}


def http_signature(**members: Any) -> Members:
    return base(
        authentication_type="http_signature",
        merchant_keyid=KEY_ID,
        merchant_secretkey=SECRET,
        **members,
    )


def jwt(**members: Any) -> Members:
    return base(
        authentication_type="jwt", keys_directory="keys", key_password=material.PASSWORD, **members
    )


@pytest.fixture
def p12(tmp_path: Path) -> material.P12File:
    """acme's signing file where the SDK looks for it: the key directory, named as the merchant."""
    return put_p12(tmp_path / "keys" / "acme.p12", "acme")


def put_p12(path: Path, org_id: str, **options: Any) -> material.P12File:
    key = material.rsa_key(name=f"sdk {path.name}")
    file = material.p12(org_id, **{"private_key": key} | options)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(file.data)
    return file


def test_of_several_certificates_of_one_key_the_organizations_own_is_taken(
    tmp_path: Path,
) -> None:
    put_p12(tmp_path / "keys" / "acme.p12", "acme")
    (tmp_path / "keys" / "acme.p12").write_bytes(enrolment.twice_named_p12())
    accepted(tmp_path, jwt())
    assert Credential.objects.get().key_id == "1" * 22


def pem(name: str, password: str | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    data: bytes = material.rsa_key(name=name).private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return data


def migrated(
    folder: Path, content: Any, *, dry_run: bool = False, activate: bool = False
) -> list[Migration]:
    path = folder / "cybs.json"
    path.write_text(json.dumps(content))
    service = sdk_migration.rehearse if dry_run else sdk_migration.migrate
    configurations = sdk_settings.read_configurations(path)
    return list(service(configurations, actor="tests", now=timezone.now(), activate=activate))


def one(folder: Path, content: Members, **options: Any) -> Migration:
    (report,) = migrated(folder, content, **options)
    return report


def accepted(folder: Path, content: Members, **options: Any) -> Migration:
    report = one(folder, content, **options)
    assert report.error == ""
    return report


def refusal(folder: Path, content: Members) -> str:
    """Why a configuration is refused; nothing of it is stored."""
    before = tables()
    report = one(folder, content)
    assert (report.outcome, report.keys) == ("refused", ())
    assert tables() == before
    return report.error


def tables() -> tuple[int, ...]:
    counts = [model.objects.count() for model in (Organization, KeySlot, Credential)]
    return (*counts, GatewayCertificate.stored.count())


def everything() -> tuple[Any, ...]:
    chain = list(KeyEvent.objects.values_list("seq", "digest"))
    return (*tables(), chain, list(AuditHead.objects.values()), list(Epoch.objects.values()))


# HTTP Signature and shared secrets become HS256


@pytest.mark.parametrize(
    "kind",
    [
        {"authentication_type": "http_signature"},
        {"authentication_type": "HTTP_Signature"},
        {"authentication_type": "jwt", "jwt_key_type": "SHARED_SECRET"},
        {"authentication_type": "JWT", "jwt_key_type": "shared_secret"},
        # The SDK reads jwt_key_type for JWT alone.
        {"authentication_type": "http_signature", "jwt_key_type": "P12"},
    ],
)
def test_a_key_id_and_its_secret_go_on_as_hs256(tmp_path: Path, kind: Members) -> None:
    report = accepted(tmp_path, http_signature() | kind)
    (key,) = report.keys
    assert (key.kind, key.algorithm, key.key_id) == ("shared_secret", "HS256", KEY_ID)
    assert (key.outcome, key.state) == ("imported", "STAGED")
    assert (report.organization, report.owner, report.host) == ("acme", "acme", HOST)
    stored = Organization.objects.get()
    assert (stored.kind, stored.host, stored.live) == ("merchant", HOST, False)


def test_what_was_activated_signs_with_the_same_secret(tmp_path: Path) -> None:
    report = accepted(tmp_path, http_signature(), activate=True)
    assert report.keys[0].state == "ACTIVE"
    found = signing.keys_for("acme").signing
    assert (found.kid, found.material) == (KEY_ID, enrolment.decoded(SECRET))


# P12


def test_a_p12_becomes_the_signing_key(tmp_path: Path, p12: material.P12File) -> None:
    report = accepted(tmp_path, jwt())
    (key,) = report.keys
    assert (key.purpose, key.kind, key.algorithm) == ("signing", "p12", "RS256")
    assert (key.key_id, key.state) == (p12.kid, "STAGED")
    assert GatewayCertificate.stored.get().organization == Organization.objects.get()


@pytest.mark.parametrize(
    ("place", "members"),
    [
        ("keys/acme.p12", {}),
        ("keys/special.p12", {"key_file_name": "special"}),
        ("keys/special.p12", {"key_file_name": "special.p12"}),
        ("keys/special.pfx", {"key_file_name": "special.pfx"}),
        ("resources/acme.p12", {"keys_directory": None}),
        ("acme.p12", {"keys_directory": ""}),
        ("keys/acme.p12", {"keys_directory": "ABSOLUTE"}),
        ("keys/acme.p12", {"keys_directory": "../UP/keys"}),
    ],
)
def test_the_file_is_found_where_the_sdk_finds_it(
    tmp_path: Path, place: str, members: Members
) -> None:
    put_p12(tmp_path / place, "acme")
    given = {
        name: value.replace("ABSOLUTE", str(tmp_path / "keys")).replace("UP", tmp_path.name)
        if isinstance(value, str)
        else value
        for name, value in members.items()
    }
    assert accepted(tmp_path, jwt() | given).outcome == "imported"


def test_the_password_is_the_merchant_id_where_none_is_given(tmp_path: Path) -> None:
    put_p12(tmp_path / "keys" / "acme.p12", "acme", password="acme")
    report = accepted(tmp_path, jwt() | {"key_password": None})
    assert any("key_password is not given" in notice for notice in report.notices)


def test_names_are_read_in_any_spelling(tmp_path: Path, p12: material.P12File) -> None:
    """As the SDKs for other languages write them, too."""
    content = {
        "merchantID": "acme",
        "runEnvironment": HOST,
        "authenticationType": "JWT",
        "KEYS_DIRECTORY": "keys",
        "keyFileName": "acme",
        "keyPass": material.PASSWORD,
    }
    report = accepted(tmp_path, content)
    assert report.keys[0].key_id == p12.kid
    assert set(report.used) == set(content)


# Response MLE and request MLE


@pytest.mark.parametrize("extension", ["p12", "pfx"])
def test_a_response_key_in_a_p12_brings_its_own_key_id(tmp_path: Path, extension: str) -> None:
    file = put_p12(tmp_path / "keys" / f"mle.{extension}", "acme")
    members = {
        "responseMlePrivateKeyFilePath": f"keys/mle.{extension}",
        "responseMlePrivateKeyFilePassword": material.PASSWORD,
    }
    signing_key, response = accepted(tmp_path, http_signature(**members)).keys
    assert (response.purpose, response.key_id) == ("response-mle", file.kid)
    assert (response.algorithm, response.state) == ("RSA-OAEP-256", "STAGED")
    assert signing_key.purpose == "signing"


@pytest.mark.parametrize("password", [None, "Correct-Horse-2"])
@pytest.mark.parametrize("way", ["path", "from the key directory", "pasted"])
def test_a_response_key_in_pem_takes_the_key_id_that_is_given(
    tmp_path: Path, way: str, password: str | None
) -> None:
    data = pem("sdk response", password)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "mle.pem").write_bytes(data)
    members = {
        "path": {"responseMlePrivateKeyFilePath": "keys/mle.pem"},
        "from the key directory": {
            "responseMlePrivateKeyFilePath": "mle.pem",
            "keys_directory": "keys",
        },
        "pasted": {"responseMlePrivateKey": data.decode()},
    }[way]
    content = http_signature(
        responseMleKID="1234567890", responseMlePrivateKeyFilePassword=password, **members
    )
    report = accepted(tmp_path, content, activate=True)
    assert [(key.purpose, key.key_id) for key in report.keys][1] == ("response-mle", "1234567890")
    assert signing.keys_for("acme").response_kid == "1234567890"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"responseMlePrivateKeyFilePath": "keys/mle.pem"}, "names no key ID"),
        ({"responseMlePrivateKey": "<RSAPrivateKey object>"}, "must be PEM text, alone"),
        (
            {"responseMlePrivateKey": "-----BEGIN x", "responseMlePrivateKeyFilePath": "x.pem"},
            "must be PEM text, alone",
        ),
        ({"responseMlePrivateKeyFilePath": "gone.pem"}, "FilePath names is not there"),
        ({"responseMlePrivateKeyFilePath": 7}, "responseMlePrivateKeyFilePath must be text"),
    ],
)
def test_a_response_key_that_cannot_be_taken_refuses_the_whole_configuration(
    tmp_path: Path, members: Members, why: str
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "mle.pem").write_bytes(pem("sdk response"))
    assert why in refusal(tmp_path, http_signature(**members))


def test_a_configuration_that_is_refused_is_audited_and_in_a_dry_run_it_is_not(
    tmp_path: Path,
) -> None:
    content = http_signature(responseMlePrivateKeyFilePath="nowhere.p12")
    assert one(tmp_path, content, dry_run=True).outcome == "refused"
    assert not KeyEvent.objects.filter(outcome="denied").exists()
    refusal(tmp_path, content)
    denied = KeyEvent.objects.get(outcome="denied")
    assert (denied.action, denied.actor) == ("import", "tests")
    assert (denied.organization, denied.reason) == ("acme", "UnreadableKeyFile")


def test_a_key_id_that_is_not_the_files_is_refused(tmp_path: Path) -> None:
    """The SDK would announce it, and then the reply opens with nothing."""
    put_p12(tmp_path / "mle.p12", "acme")
    members = {
        "responseMlePrivateKeyFilePath": "mle.p12",
        "responseMlePrivateKeyFilePassword": material.PASSWORD,
        "responseMleKID": "999",
    }
    assert "The file's key ID is" in refusal(tmp_path, http_signature(**members))


def test_a_certificate_for_request_mle_serves_this_owner_alone(tmp_path: Path) -> None:
    enrolment.organization("bob")
    gateway = material.gateway_certificate()
    (tmp_path / "mle.pem").write_text(gateway.pem)
    accepted(tmp_path, http_signature(mleForRequestPublicCertPath="mle.pem"))
    row = GatewayCertificate.stored.get()
    assert (row.key_id, row.organization) == (gateway.kid, Organization.objects.get(org_id="acme"))


def test_a_certificate_without_key_id_encrypts_for_nobody(tmp_path: Path) -> None:
    made = material.certificate(material.rsa_key(name="sdk cert"), common_name="x")
    (tmp_path / "mle.pem").write_bytes(made.public_bytes(Encoding.PEM))
    why = refusal(tmp_path, http_signature(mleForRequestPublicCertPath="mle.pem"))
    assert "has no key ID" in why


# Meta keys


def meta(merchant: str = "acme", **members: Any) -> Members:
    return http_signature(use_metakey=True, portfolio_id="mall", **members) | {
        "merchantid": merchant
    }


@pytest.mark.parametrize("flag", [True, "true", "TRUE"], ids=repr)
def test_a_meta_key_belongs_to_the_portfolio_and_serves_the_merchant(
    tmp_path: Path, flag: Any
) -> None:
    (tmp_path / "mle.pem").write_bytes(pem("sdk response"))
    content = meta(responseMlePrivateKeyFilePath="mle.pem", responseMleKID="77")
    report = accepted(tmp_path, content | {"use_metakey": flag}, activate=True)
    assert (report.organization, report.owner) == ("acme", "mall")
    mall = Organization.objects.get(org_id="mall")
    acme = Organization.objects.get(org_id="acme")
    assert (mall.kind, acme.kind, acme.parent) == ("portfolio", "merchant", mall)
    slots = KeySlot.objects.values_list("organization__org_id", "coverage")
    assert list(slots) == [("mall", "selected")] * 2
    found = signing.keys_for("acme")
    assert (found.merchant, found.signing.owner, found.signing.kid) == ("acme", "mall", KEY_ID)
    assert found.response_kid == "77"


@pytest.mark.parametrize("flag", [False, "false", "FALSE", None], ids=repr)
def test_without_a_meta_key_the_portfolio_is_ignored(tmp_path: Path, flag: Any) -> None:
    """The SDK takes the text "false" for true; whoever wrote it did not mean that."""
    report = accepted(tmp_path, meta() | {"use_metakey": flag})
    assert report.owner == "acme"
    assert report.ignored == ("portfolio_id",)


def test_a_second_merchant_of_the_portfolio_shares_the_key(tmp_path: Path) -> None:
    first, second = migrated(tmp_path, [meta(), meta("bob")], activate=True)
    assert (first.outcome, second.outcome) == ("imported", "imported")
    assert second.keys[0].outcome == "present"
    assert Credential.objects.count() == 1
    assert [row.org_id for row in coverage.listing("mall")] == ["acme", "bob"]


def test_a_portfolio_key_for_all_needs_no_list(tmp_path: Path) -> None:
    mall = enrolment.organization("mall", kind="portfolio")
    enrolment.shared_secret(mall, secret=SECRET, key_id=KEY_ID, covers="all")
    report = accepted(tmp_path, meta())
    assert (report.outcome, report.keys[0].outcome) == ("imported", "present")
    assert signing.keys_for("acme").signing.kid == KEY_ID
    assert accepted(tmp_path, meta()).outcome == "present"


def test_a_portfolios_next_key_goes_into_the_slot_that_is_there(tmp_path: Path) -> None:
    mall = enrolment.organization("mall", kind="portfolio")
    enrolment.shared_secret(mall, covers="all")
    accepted(tmp_path, meta())
    assert list(KeySlot.objects.values_list("coverage", flat=True)) == ["all"]


def test_a_merchant_of_another_portfolio_is_refused(tmp_path: Path) -> None:
    enrolment.organization("elsewhere", kind="portfolio")
    enrolment.organization("acme", parent="elsewhere")
    assert "stands under elsewhere, not under mall" in refusal(tmp_path, meta())


def test_a_merchant_owns_no_meta_key(tmp_path: Path) -> None:
    enrolment.organization("mall")
    assert "cannot own a meta key" in refusal(tmp_path, meta())


def test_a_portfolio_that_is_its_own_merchant_has_a_plain_key(tmp_path: Path) -> None:
    report = accepted(tmp_path, meta("mall"))
    assert report.owner == report.organization == "mall"
    assert KeySlot.objects.get().coverage == "own"


def test_the_portfolio_must_be_named(tmp_path: Path) -> None:
    assert "portfolio_id is missing" in refusal(tmp_path, meta() | {"portfolio_id": None})


# Hosts


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        *((name, name) for name in PRESETS),
        ("APITEST.cybersource.com ", HOST),
        ("CyberSource.Environment.SANDBOX", HOST),
        ("cybersource.environment.production", LIVE),
        ("CyberSource.in.Environment.SANDBOX", HOST),
        ("CyberSource.IN.Environment.PRODUCTION", "api.in.cybersource.com"),
    ],
)
def test_the_environment_names_the_host(tmp_path: Path, environment: str, host: str) -> None:
    report = accepted(
        tmp_path, http_signature(run_environment=environment) | {"run_environment": environment}
    )
    assert report.host == host
    assert Organization.objects.get().live == PRESETS[host].live


@pytest.mark.parametrize("environment", ["SANDBOX", "https://apitest.cybersource.com", "10.0.0.1"])
def test_an_unknown_environment_is_refused_with_what_is_known(
    tmp_path: Path, environment: str
) -> None:
    why = refusal(tmp_path, http_signature() | {"run_environment": environment})
    assert HOST in why
    assert LIVE in why
    assert environment not in why.replace(HOST, "")


def test_a_free_host_needs_its_first_organization(tmp_path: Path) -> None:
    """Whether it is live cannot be read from a configuration, and cannot be changed later."""
    content = http_signature() | {"run_environment": "pay.example.com"}
    assert "cybs_org add" in refusal(tmp_path, content)
    organizations.add("first", actor="alice", kind="merchant", host="pay.example.com", live=True)
    assert accepted(tmp_path, content).host == "pay.example.com"
    assert Organization.objects.get(org_id="acme").live


# What is refused


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"merchantid": None}, "merchantid is missing"),
        ({"merchantid": "a b"}, "merchantid is not an organization id"),
        ({"merchantid": ["acme"]}, "merchantid must be text"),
        ({"run_environment": ""}, "run_environment is missing"),
        ({"authentication_type": None}, "authentication_type is missing"),
        ({"authentication_type": "OAUTH"}, "OAuth and mutual TLS have no counterpart"),
        ({"authentication_type": "mutual_auth"}, "OAuth and mutual TLS have no counterpart"),
        ({"authentication_type": "jwt", "jwt_key_type": "EC"}, "P12 or SHARED_SECRET"),
        ({"merchant_keyid": None}, "merchant_keyid is missing"),
        ({"merchant_keyid": SECRET}, "not a key id"),
        ({"merchant_secretkey": None}, "merchant_secretkey is missing"),
        ({"merchant_secretkey": KEY_ID}, "Base64"),
        ({"merchant_secretkey": 12}, "merchant_secretkey must be text"),
        ({"use_metakey": "yes"}, "use_metakey must be true or false"),
        ({"use_metakey": True, "portfolio_id": "../x"}, "portfolio_id is not an organization id"),
        ({"authentication_type": "jwt"}, "keys_directory and key_file_name name is not there"),
        ({"merchantID": "bob"}, "merchantid and merchantID say different things"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_by_its_members_name(
    tmp_path: Path, members: Members, why: str
) -> None:
    assert why in refusal(tmp_path, http_signature() | members)


def test_a_refusal_says_which_key_it_speaks_of(tmp_path: Path, p12: material.P12File) -> None:
    """A Response MLE key lives shorter than a signing key: its members can be left out."""
    begin = timezone.now() - timedelta(days=400)
    put_p12(tmp_path / "mle.p12", "acme", not_before=begin, not_after=begin + timedelta(days=365))
    members = {
        "responseMlePrivateKeyFilePath": "mle.p12",
        "responseMlePrivateKeyFilePassword": material.PASSWORD,
    }
    why = refusal(tmp_path, jwt(**members))
    assert why.startswith("Response MLE key: The certificate ended at")
    assert refusal(tmp_path, jwt() | {"key_password": "x"}).startswith("Signing key: ")


@pytest.mark.parametrize("name", ["\x00", "x" * 5000, "\ud800", "pipe", "folder"])
def test_a_hostile_file_name_is_only_not_there(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    content = http_signature(responseMlePrivateKeyFilePath=name)
    assert "is not there" in refusal(tmp_path, content)


def test_another_merchants_file_is_refused_and_audited(tmp_path: Path) -> None:
    put_p12(tmp_path / "keys" / "acme.p12", "bob")
    assert "belongs to organization 'bob'" in refusal(tmp_path, jwt())
    denied = KeyEvent.objects.get()
    assert (denied.outcome, denied.organization) == ("denied", f"acme@{HOST}")


def test_one_spelling_twice_with_one_value_is_no_conflict(tmp_path: Path) -> None:
    report = accepted(tmp_path, http_signature(merchantID="acme"))
    assert "merchantid" in report.used


def test_a_refused_configuration_stops_no_other_one(tmp_path: Path) -> None:
    found = migrated(tmp_path, {"a": {}, "b": http_signature(), "c": {"merchantid": "x"}})
    assert [(each.name, each.outcome) for each in found] == [
        ("a", "refused"),
        ("b", "imported"),
        ("c", "refused"),
    ]


def test_with_four_eyes_activation_is_refused_with_what_to_do_instead(
    tmp_path: Path, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    report = one(tmp_path, http_signature(), activate=True)
    assert "import without activating" in report.error
    assert tables() == (0, 0, 0, 0)


def test_without_a_ring_nothing_begins(tmp_path: Path, settings: Any) -> None:
    """Not even a refusal of what is refused anyway."""
    settings.CYBS_JWT = {}
    with pytest.raises(KeyRingError):
        migrated(tmp_path, {"merchantid": "x"})


# Again, and a dry run


def test_running_it_again_takes_only_what_is_missing(tmp_path: Path, p12: material.P12File) -> None:
    assert accepted(tmp_path, jwt()).outcome == "imported"
    events = KeyEvent.objects.count()
    again = accepted(tmp_path, jwt())
    assert (again.outcome, again.keys[0].outcome, again.keys[0].state) == (
        "present",
        "present",
        "STAGED",
    )
    assert KeyEvent.objects.count() == events
    (tmp_path / "mle.pem").write_bytes(pem("sdk response"))
    more = accepted(tmp_path, jwt(responseMlePrivateKeyFilePath="mle.pem", responseMleKID="77"))
    assert [key.outcome for key in more.keys] == ["present", "imported"]


def test_a_meta_configuration_again_changes_nothing(tmp_path: Path) -> None:
    accepted(tmp_path, meta())
    before = everything()
    assert accepted(tmp_path, meta()).outcome == "present"
    assert everything() == before


def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    tmp_path: Path, p12: material.P12File
) -> None:
    content = {
        "plain": jwt(),
        "same": jwt(),
        "meta": meta("bob"),
        "second": meta("carol"),
        "wrong": jwt() | {"key_password": "x", "key_file_name": "acme", "merchantid": "other"},
    }
    before = everything()
    dry = migrated(tmp_path, content, dry_run=True, activate=True)
    assert everything() == before
    real = migrated(tmp_path, content, activate=True)
    assert [each.outcome for each in real] == [
        "imported",
        "present",
        "imported",
        "imported",
        "refused",
    ]
    for was, became in zip(dry, real, strict=True):
        assert was.outcome == became.outcome.replace("imported", "importable")
        assert [key.state for key in was.keys] == [key.state for key in became.keys]
        assert (was.error, was.used, was.ignored) == (became.error, became.used, became.ignored)


# What the report says


def test_members_are_told_by_name_used_and_ignored(tmp_path: Path, p12: material.P12File) -> None:
    content = jwt(
        key_alias="acme",
        log_config={"enable_log": True},
        IntermediateHost="proxy.example.com",
        mapToControlMLEonAPI={"createPayment": "true::true"},
        merchant_keyid="",
        solution_id=None,
    )
    report = accepted(tmp_path, content)
    assert report.used == (
        "authentication_type",
        "key_password",
        "keys_directory",
        "merchantid",
        "run_environment",
    )
    assert report.ignored == (
        "IntermediateHost",
        "key_alias",
        "log_config",
        "mapToControlMLEonAPI",
    )
    assert report.notices[:2] == (
        "IntermediateHost: CYBS_JWT['BASE_URLS'] sends a host's requests through another.",
        "mapToControlMLEonAPI: CYBS_JWT['OPERATIONS'] overrides which requests are encrypted.",
    )


def test_no_value_is_shown_whatever_happens(tmp_path: Path, p12: material.P12File) -> None:
    planted = "Tr0ub4dor&3"
    every = dict.fromkeys(
        (
            "run_environment",
            "authentication_type",
            "jwt_key_type",
            "merchant_keyid",
            "merchant_secretkey",
            "keys_directory",
            "key_file_name",
            "key_alias",
            "key_password",
            "use_metakey",
            "responseMlePrivateKeyFilePath",
            "responseMlePrivateKeyFilePassword",
            "responseMlePrivateKey",
            "mleForRequestPublicCertPath",
            "proxy_password",
            "access_token",
        ),
        planted,
    )
    good = [jwt(), http_signature()]
    wrong = [each | {name: planted} for each in good for name in every]
    both = [*good, *wrong, every | {"merchantid": planted + "!"}]
    found = migrated(tmp_path, both, dry_run=True) + migrated(tmp_path, both)
    said = repr(found) + repr(list(KeyEvent.objects.values()))
    for secret in (planted, material.PASSWORD, SECRET):
        assert secret not in said


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_crash_report_shows_no_value(tmp_path: Path, settings: Any, dry_run: bool) -> None:
    put_p12(tmp_path / "keys" / "acme.p12", "acme")
    settings.CYBS_JWT = {**settings.CYBS_JWT, "P12_INTERPRETER": str(tmp_path / "gone")}
    with pytest.raises(ConfigurationError) as caught:
        one(tmp_path, jwt(merchant_secretkey=SECRET), dry_run=dry_run)
    above = next(entry for entry in caught.traceback if entry.path.name == "sdk_migration.py")
    report = TracebackException(
        type(caught.value), caught.value, above._rawentry, capture_locals=True
    )
    said = "".join(report.format())
    assert "configurations = [" in said
    assert SECRET not in said
    assert material.PASSWORD not in said


# What is not a configuration file


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("merchant_config = {}", "not JSON"),
        ('{"merchantid": "a", "merchantid": "b"}', "names one member twice"),
        ("[" * 100_000, "not JSON"),
        ("[]", "holds no SDK configuration"),
        ("{}", "holds no SDK configuration"),
        ("null", "holds no SDK configuration"),
        ('"Tr0ub4dor"', "holds no SDK configuration"),
        ('["Tr0ub4dor"]', "holds no SDK configuration"),
        ('{"password": "Tr0ub4dor"}', "holds no SDK configuration"),
        ('"' + "x" * 1024 * 1024 + '"', "larger than 1 MiB"),
    ],
)
def test_another_file_is_refused_without_repeating_it(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "cybs.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        sdk_settings.read_configurations(path)
    assert why in str(caught.value)
    assert "Tr0ub4dor" not in str(caught.value)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cybs.json"
    path.write_bytes(b'{"merchantid": "\xff"}')
    with pytest.raises(ConfigurationError, match="not JSON"):
        sdk_settings.read_configurations(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        sdk_settings.read_configurations(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (http_signature(), ["1"]),
        ([http_signature(), http_signature()], ["1", "2"]),
        ({"test": http_signature(), "live\u202e": http_signature()}, ["test", "live\ufffd"]),
    ],
)
def test_one_several_and_named_configurations_are_read(
    tmp_path: Path, content: Any, names: list[str]
) -> None:
    path = tmp_path / "cybs.json"
    path.write_text("\ufeff" + json.dumps(content))
    assert [each.name for each in sdk_settings.read_configurations(path)] == names

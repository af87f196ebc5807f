"""cybs_import and cybs_keys: what is shown, what is stored, where secrets come from."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from django_cybs_jwt.models import Credential, KeyEvent, Organization, State
from django_cybs_jwt.services import rotation, withdrawal
from django_cybs_jwt.testing import material
from tests.unit.management.running import Ended, run, type_in
from tests.unit.services import enrolment
from tests.unit.services.test_importing import pem

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]


@pytest.fixture
def acme() -> Organization:
    return enrolment.organization()


def written(tmp_path: Path, **options: Any) -> tuple[material.P12File, str]:
    org_id = options.pop("org_id", "acme")
    file = material.p12(org_id, **{"private_key": material.rsa_key(name="command")} | options)
    path = tmp_path / "key.p12"
    path.write_bytes(file.data)
    return file, str(path)


def imported(path: str, *more: str) -> Ended:
    return run("cybs_import", "acme", path, "--password-env", "P12_PASSWORD", *more)


def denied() -> list[tuple[str, str, str]]:
    rows = KeyEvent.objects.filter(action="import", outcome="denied")
    return list(rows.values_list("actor", "organization", "reason"))


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P12_PASSWORD", material.PASSWORD)


def test_it_prints_what_is_in_the_file_before_it_stores(acme: Organization, tmp_path: Path) -> None:
    file, path = written(tmp_path)
    lines = imported(path).out.splitlines()
    assert lines[0] == f"p12 with key ID {file.kid}, RS256:"
    assert lines[1].split()[:4] == ["own", "acme,", "kid", f"{file.kid},"]
    assert any(line.split()[:2] == ["request-MLE", "CyberSource_SJC_US,"] for line in lines)
    assert any("look alike inside" in line for line in lines)
    assert lines[-1] == f"Stored signing key {file.kid} of {acme}: STAGED."


def test_it_prints_json(acme: Organization, tmp_path: Path) -> None:
    file, path = written(tmp_path)
    facts = imported(path, "--json", "--activate").json
    row = Credential.objects.get()
    assert facts["id"] == str(row.pk)
    assert (facts["organization"], facts["purpose"], facts["key_id"]) == (
        "acme",
        "signing",
        file.kid,
    )
    assert (facts["kind"], facts["algorithm"], facts["state"]) == ("p12", "RS256", "ACTIVE")
    assert facts["ends"] == row.not_after.isoformat()
    assert facts["ends"].endswith("+00:00")
    assert {each["role"] for each in facts["certificates"]} == {"own", "request-MLE", "issuer"}


def test_of_several_certificates_of_one_key_the_organizations_own_is_taken(
    acme: Organization, tmp_path: Path
) -> None:
    path = tmp_path / "key.p12"
    path.write_bytes(enrolment.twice_named_p12())
    assert imported(str(path), "--json").json["key_id"] == "1" * 22


def test_the_purpose_may_be_response_mle(acme: Organization, tmp_path: Path) -> None:
    _, path = written(tmp_path)
    facts = imported(path, "--purpose", "response-mle", "--json").json
    assert (facts["purpose"], facts["algorithm"]) == ("response-mle", "RSA-OAEP-256")


def test_the_password_may_come_from_standard_input(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = written(tmp_path)
    type_in(monkeypatch, f"{material.PASSWORD}\n")
    assert run("cybs_import", "acme", path).code == 0


def test_the_file_may_come_from_standard_input(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = written(tmp_path)
    type_in(monkeypatch, file.data)
    assert imported("-").code == 0


def test_a_pem_without_password_asks_for_none(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(material.rsa_key(name="command")))
    type_in(monkeypatch, "")
    ended = run("cybs_import", "acme", str(path), "--key-id", "1", "--purpose", "response-mle")
    assert ended.code == 0
    assert "note: No end is stored: a key without certificate carries none." in ended.out


def test_a_pem_without_certificate_and_with_a_typed_end_has_nothing_to_note(
    acme: Organization, tmp_path: Path
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(material.rsa_key(name="command")))
    ended = run("cybs_import", "acme", str(path), "--key-id", "1", "--expires", "2099-12-31")
    assert (ended.code, "No end" in ended.out) == (0, False)


def test_an_encrypted_pem_takes_its_password(acme: Organization, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(material.rsa_key(name="command"), material.PASSWORD))
    assert imported(str(path), "--key-id", "1").code == 0


@pytest.mark.parametrize(
    "given",
    [
        ("--password", material.PASSWORD),
        ("--secret", material.PASSWORD),
        (f"--pass={material.PASSWORD}",),
        (f"-p{material.PASSWORD}",),
        (material.PASSWORD,),
    ],
    ids=lambda given: given[0].replace(material.PASSWORD, "X"),
)
def test_a_password_is_never_an_argument_and_is_not_repeated(
    acme: Organization, tmp_path: Path, given: tuple[str, ...]
) -> None:
    _, path = written(tmp_path)
    for command in (("cybs_import", "acme", path), ("cybs_export", "id", path, "--reason", "r")):
        ended = run(*command, *given)
        assert ended.code != 0
        assert "unrecognized arguments" in ended.err
        assert ("a prompt or standard input" in ended.err) is given[0].startswith("--")
        assert material.PASSWORD not in ended.err + ended.out
    assert not Credential.objects.exists()


def test_a_shared_secret_comes_from_a_variable_or_standard_input(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = material.shared_secret(), material.shared_secret()
    monkeypatch.setenv("SECRET", first.secret)
    assert (
        run(
            *("cybs_import", "acme", "--shared-secret", "--key-id", first.key_id),
            *("--secret-env", "SECRET", "--activate"),
        ).code
        == 0
    )
    type_in(monkeypatch, f"{second.secret}\r\n")
    ended = run("cybs_import", "acme", "--shared-secret", "--key-id", second.key_id)
    assert ended.code == 0
    assert [row.kind for row in Credential.objects.all()] == ["shared_secret"] * 2


def test_a_typed_end_is_stored(acme: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    file = material.shared_secret()
    monkeypatch.setenv("SECRET", file.secret)
    facts = run(
        *("cybs_import", "acme", "--shared-secret", "--key-id", file.key_id),
        *("--secret-env", "SECRET", "--expires", "2099-12-31", "--json"),
    ).json
    assert facts["ends"] == "2099-12-31T00:00:00+00:00"


@pytest.mark.parametrize("day", ["31.12.2099", "2099-13-01", "tomorrow", "2099-12-31T00:00"])
def test_a_date_that_is_none_is_a_usage_error(acme: Organization, day: str) -> None:
    ended = run("cybs_import", "acme", "--shared-secret", "--key-id", "k", "--expires", day)
    assert ended.code != 0
    assert "argument --expires: give a day like 2027-01-31." in ended.err


def test_a_slot_and_its_coverage_can_be_named(tmp_path: Path) -> None:
    enrolment.organization("acme", kind="portfolio")
    _, path = written(tmp_path)
    imported(path, "--slot", "europe", "--covers", "selected")
    slot = Credential.objects.get().slot
    assert (slot.name, slot.coverage) == ("europe", "selected")


def test_an_own_certificate_with_another_name_is_noted(acme: Organization, tmp_path: Path) -> None:
    key = material.rsa_key(name="command")
    certificate = material.certificate(key, common_name="Acme Holding")
    path = tmp_path / "key.pem"
    path.write_bytes(pem(key) + certificate.public_bytes(Encoding.PEM))
    ended = run("cybs_import", "acme", str(path), "--key-id", "1")
    assert ended.code == 0
    assert "note: The certificate is for 'Acme Holding', the organization is 'acme'" in ended.out


# Exit codes


def test_2_for_neither_or_both_of_file_and_shared_secret(
    acme: Organization, tmp_path: Path
) -> None:
    _, path = written(tmp_path)
    for arguments in ((), (path, "--shared-secret")):
        ended = run("cybs_import", "acme", *arguments)
        assert (ended.code, ended.err) == (2, "Give either a FILE or --shared-secret.")


def test_2_for_a_shared_secret_without_its_key_id(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", material.shared_secret().secret)
    ended = run("cybs_import", "acme", "--shared-secret", "--secret-env", "SECRET")
    assert (ended.code, ended.err) == (2, "--shared-secret takes --key-id too.")


def test_2_for_a_file_from_standard_input_that_leaves_no_room_for_its_password(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = written(tmp_path)
    type_in(monkeypatch, file.data)
    ended = run("cybs_import", "acme", "-")
    assert (ended.code, "--password-env" in ended.err) == (2, True)


def test_2_for_a_variable_that_is_not_set(acme: Organization, tmp_path: Path) -> None:
    _, path = written(tmp_path)
    ended = run("cybs_import", "acme", path, "--password-env", "NOT_SET")
    assert (ended.code, ended.err) == (2, "The variable NOT_SET is not set.")


def test_a_password_given_instead_of_its_variables_name_is_not_repeated(
    acme: Organization, tmp_path: Path
) -> None:
    _, path = written(tmp_path)
    ended = run("cybs_import", "acme", path, "--password-env", material.PASSWORD)
    assert (ended.code, ended.err) == (
        2,
        "No variable of that name is set. Give a variable's name, not the secret.",
    )


def test_a_file_without_a_password_says_to_leave_the_option_out(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P12_PASSWORD", "x")
    path = tmp_path / "plain.pem"
    path.write_bytes(pem(material.rsa_key(name="command")))
    ended = run(
        "cybs_import", "acme", str(path), "--password-env", "P12_PASSWORD", "--key-id", "k1"
    )
    assert (ended.code, "--password-env out" in ended.err) == (1, True)


def test_a_key_that_begins_later_says_what_was_stored_and_how_to_store_it(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins = timezone.now() + timedelta(days=9)
    file, path = written(tmp_path, not_before=begins)
    monkeypatch.setenv("P12_PASSWORD", file.password)
    later = ("cybs_import", "acme", path, "--password-env", "P12_PASSWORD")
    ended = run(*later, "--activate")
    told = f"begins on {begins:%Y-%m-%d}: nothing was stored. Import it without --activate"
    assert (ended.code, told in ended.err) == (1, True)
    assert not Credential.objects.exists()
    assert run(*later).code == 0


def test_2_for_a_file_that_is_not_there(acme: Organization, tmp_path: Path) -> None:
    ended = imported(str(tmp_path / "none.p12"))
    assert ended.code == 2
    assert "No such file" in ended.err


def test_2_for_a_file_name_that_is_a_directory(acme: Organization, tmp_path: Path) -> None:
    assert imported(str(tmp_path)).code == 2


def test_2_for_an_unknown_organization(tmp_path: Path) -> None:
    assert imported(written(tmp_path)[1]).code == 2


def test_2_without_a_key_ring(acme: Organization, tmp_path: Path, settings: Any) -> None:
    _, path = written(tmp_path)
    settings.CYBS_JWT = {}
    ended = imported(path)
    assert ended.code == 2
    assert "cybs_keyring generate" in ended.err


def test_1_for_a_wrong_password(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = written(tmp_path)
    monkeypatch.setenv("P12_PASSWORD", "wrong-hunter2")
    ended = imported(path, "--user", "anna")
    assert ended.code == 1
    assert "password is wrong or the file is damaged" in ended.err
    assert "hunter2" not in ended.err + ended.out
    assert denied() == [("anna", str(acme), "UnreadableKeyFile")]


@pytest.mark.skipif(os.name != "posix", reason="Environments hold any bytes on POSIX only.")
def test_1_for_a_password_that_is_no_text(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = written(tmp_path)
    monkeypatch.setenv("P12_PASSWORD", os.fsdecode(b"\xff\xfehunter2"))
    ended = imported(path)
    assert ended.code == 1
    assert "not UTF-8" in ended.err
    assert "hunter2" not in ended.err + ended.out


def test_1_for_a_password_on_standard_input_that_is_no_text(
    acme: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = written(tmp_path)
    type_in(monkeypatch, b"\xff\xfehunter2\n")
    ended = run("cybs_import", "acme", path)
    assert ended.code == 1
    assert "not UTF-8" in ended.err
    assert "hunter2" not in ended.err + ended.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"org_id": "other"}, "belongs to organization 'other', not to 'acme'"),
        (
            {
                "not_before": timezone.now() - timedelta(days=9),
                "not_after": timezone.now() - timedelta(days=1),
            },
            "ended",
        ),
    ],
    ids=["other organization", "ended"],
)
def test_1_for_the_wrong_file_which_is_named(
    acme: Organization, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    ended = imported(written(tmp_path, **options)[1])
    assert ended.code == 1
    assert says in ended.err
    assert not Credential.objects.exists()
    assert len(denied()) == 1


def test_1_for_a_public_key_which_is_named(acme: Organization, tmp_path: Path) -> None:
    path = tmp_path / "public.pem"
    path.write_bytes(
        material.certificate(material.rsa_key(name="command"), common_name="acme").public_bytes(
            Encoding.PEM
        )
    )
    ended = imported(str(path))
    assert ended.code == 1
    assert "certificate" in ended.err


def test_1_for_a_key_stored_for_the_other_purpose(acme: Organization, tmp_path: Path) -> None:
    _, path = written(tmp_path)
    assert imported(path).code == 0
    ended = imported(path, "--purpose", "response-mle")
    assert ended.code == 1
    assert "stored already as the request signing key" in ended.err


def test_1_for_activating_a_second_key_which_is_not_stored(
    acme: Organization, tmp_path: Path
) -> None:
    _, path = written(tmp_path)
    assert imported(path, "--activate").code == 0
    _, second = written(tmp_path, private_key=material.rsa_key(name="second"))
    ended = imported(second, "--activate", "--user", "mara")
    assert ended.code == 1
    assert "verify the key and rotate" in ended.err
    assert Credential.objects.count() == 1
    assert KeyEvent.objects.get(actor="mara").outcome == "denied"


# cybs_keys


def test_keys_are_listed_with_the_facts_that_outside_checks_read(acme: Organization) -> None:
    assert run("cybs_keys", "list").out == "No keys yet. `cybs_import` stores one.\n"
    row = enrolment.shared_secret(acme)
    (facts,) = run("cybs_keys", "list", "acme", "--json").json
    expected = {
        "id": str(row.pk),
        "organization": "acme",
        "purpose": "signing",
        "key_id": row.key_id,
        "kind": "shared_secret",
        "algorithm": "HS256",
        "state": "ACTIVE",
        "ends": None,
    }
    assert expected.items() <= facts.items()
    assert row.key_id in run("cybs_keys", "list").out


@pytest.mark.parametrize(
    ("days", "overlap", "expected"),
    [
        (-1, 0, ["ACTIVE", "STAGED"]),
        (1, 5, ["RETIRING", "ACTIVE"]),
        (1, 0.5, ["RETIRED", "ACTIVE"]),
    ],
)
def test_a_key_is_listed_with_what_it_is_now_though_nothing_ticked(
    acme: Organization, days: float, overlap: float, expected: list[str]
) -> None:
    old, new = enrolment.shared_secret(acme), enrolment.shared_secret(acme, activate=False)
    at = timezone.now() - timedelta(days=days)
    enrolment.change(new, activate_at=at, overlap_until=at + timedelta(days=overlap))
    rows = {row["id"]: row["state"] for row in run("cybs_keys", "list", "--json").json}
    assert [rows[str(row.pk)] for row in (old, new)] == expected


def test_an_overlap_that_is_over_is_over_in_the_list(acme: Organization) -> None:
    row = enrolment.shared_secret(acme)
    enrolment.put(row, State.RETIRING, overlap_until=timezone.now())
    assert run("cybs_keys", "list", "--json").json[0]["state"] == "RETIRED"


@pytest.mark.parametrize(
    ("retired", "used", "expected"),
    [
        (None, None, "not used yet"),
        (None, 3, "last used {3}"),
        (2, None, "idle since {2}"),
        (2, 5, "idle since {2}"),
        (9, 1, "idle since {1}"),
        (9, 8, "idle since {8}, safe to delete"),
    ],
)
def test_the_list_says_in_words_since_when_a_key_is_idle(
    acme: Organization, retired: int | None, used: int | None, expected: str
) -> None:
    days = [timezone.now() - timedelta(days=count) for count in range(10)]
    row = enrolment.shared_secret(acme)
    if retired is not None:
        withdrawal.retire(row, actor="tests", now=days[retired], reason="replaced")
    enrolment.change(row, last_used_at=None if used is None else days[used])
    line = run("cybs_keys", "list").out.splitlines()[1]
    assert line.endswith(expected.format(*(f"{day:%Y-%m-%d}" for day in days)))


def test_keys_of_one_organization_only(acme: Organization) -> None:
    enrolment.shared_secret(enrolment.organization("other"))
    assert run("cybs_keys", "list", "acme", "--json").json == []
    assert len(run("cybs_keys", "list", "--json").json) == 1
    assert run("cybs_keys", "list", "nobody").code == 2


def test_listing_loads_no_sealed_column(
    acme: Organization, django_assert_max_num_queries: Any
) -> None:
    enrolment.shared_secret(acme)
    with django_assert_max_num_queries(3) as captured:
        run("cybs_keys", "list")
    assert not any("sealed_" in query["sql"] for query in captured)


def test_a_key_is_retired_with_a_reason(acme: Organization) -> None:
    row = enrolment.shared_secret(acme)
    ended = run("cybs_keys", "retire", str(row.pk), "--reason", "moved", "--json")
    assert [facts["state"] for facts in ended.json] == ["RETIRED"]
    again = run("cybs_keys", "retire", str(row.pk), "--reason", "moved")
    assert again.code == 1
    assert f"{row.key_id} is RETIRED" in again.err


@pytest.mark.parametrize("state", [State.ACTIVE, State.RETIRING])
def test_a_key_that_may_be_in_use_is_retired_before_it_is_destroyed(
    acme: Organization, state: State
) -> None:
    row = enrolment.shared_secret(acme, activate=True)
    if state == State.RETIRING:
        rotation.rotate(
            enrolment.shared_secret(acme, activate=False),
            actor="tests", now=timezone.now(), force=True, reason="test",
        )  # fmt: skip
    destroy = ("cybs_keys", "destroy", str(row.pk), "--reason", "moved")

    refused = run(*destroy)

    assert refused.code == 1
    assert f"{row.key_id} is {state}: it may be in use. Retire it first." in refused.err
    assert run("cybs_keys", "retire", str(row.pk), "--reason", "moved").code == 0
    assert run(*destroy).code == 0


@pytest.mark.parametrize("name", ["", "7", "00000000-0000-0000-0000-000000000000", "x" * 9999])
def test_an_unknown_key_ends_with_2(name: str) -> None:
    ended = run("cybs_keys", "retire", name, "--reason", "moved")
    assert ended.code == 2
    assert len(ended.err) < 200

"""Import in the admin: what is inside is shown, the wrong file is named, no secret comes back."""

from __future__ import annotations

import base64
import html
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.test import Client, RequestFactory
from django.utils import timezone
from django.views.debug import get_exception_reporter_filter

from django_cybs_jwt.admin import uploads
from django_cybs_jwt.models import Credential, KeyEvent, State
from django_cybs_jwt.services import importing
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.admin import people
from tests.unit.services import enrolment, estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators")


@pytest.fixture
def visitor(operator: User) -> Client:
    return people.client(operator)


def pasted(secret: str, key_id: str, **more: Any) -> dict[str, Any]:
    return {"organization": "acme", "purpose": "signing", "secret": secret, "key_id": key_id} | more


def uploaded(file: material.P12File, **more: Any) -> dict[str, Any]:
    upload = SimpleUploadedFile("key.p12", file.data)
    return {
        "organization": "acme",
        "purpose": "signing",
        "file": upload,
        "password": file.password,
    } | more


def post(visitor: Client, data: dict[str, Any], **options: Any) -> Any:
    return visitor.post(people.url("credential", "import"), data, follow=True, **options)


def told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def assert_no_secret(answer: Any, *secrets: str) -> None:
    text = answer.content.decode()
    for secret in secrets:
        assert secret not in text
        assert not any(secret in place for place, _status in answer.redirect_chain)
        assert not any(secret in message for message in told(answer))
    for event in KeyEvent.objects.all():
        assert not any(secret in str(vars(event)) for secret in secrets)


def test_a_file_is_stored_staged_and_its_page_shows_everything_inside(visitor: Client) -> None:
    enrolment.organization()
    file = material.p12("acme")

    answer = post(visitor, uploaded(file))

    row = Credential.objects.get()
    assert (row.state, row.uploaded_by) == (State.STAGED, "olga")
    assert answer.redirect_chain == [(people.url("credential", "change", row.pk), 302)]
    text = answer.content.decode()
    roles = [facts["role"] for facts in row.contents["certificates"]]
    assert roles == ["own", "request-MLE", "issuer"]
    for facts in row.contents["certificates"]:
        assert facts["role"] in text
        assert facts["common_name"] in text
        assert facts["kid"] in text
    assert "2048 bits" in text
    assert_no_secret(answer, file.password, base64.b64encode(file.data).decode()[:40])


def test_of_several_certificates_of_one_key_the_organizations_own_is_taken(
    visitor: Client,
) -> None:
    enrolment.organization()
    upload = SimpleUploadedFile("key.p12", enrolment.twice_named_p12())
    data = {"organization": "acme", "purpose": "signing", "file": upload}

    post(visitor, data | {"password": material.PASSWORD})

    assert Credential.objects.get().key_id == "1" * 22


def test_a_pasted_secret_is_stored_and_says_what_is_missing(visitor: Client) -> None:
    enrolment.organization()
    file = material.shared_secret()

    answer = post(visitor, pasted(file.secret, file.key_id))

    assert Credential.objects.get().key_id == file.key_id
    assert "No end is known" in answer.content.decode()
    assert_no_secret(answer, file.secret)


def test_nothing_is_sent_before_somebody_looked_and_one_button_goes_on(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    cybs_simulator.merchant("acme", signs_with=None)
    file = material.shared_secret()
    first_call = Fault(kind=FaultKind.LATENCY, seconds=0.001, times=1)
    cybs_simulator.faults.add(first_call)

    shown = post(visitor, pasted(file.secret, file.key_id, verify="on"))

    row = Credential.objects.get()
    assert (row.state, row.verify_outcome) == (State.STAGED, "")
    assert cybs_simulator.faults.active() == [first_call]
    stages = re.findall(r'<li class="cybs-stage cybs-(\w+)"', shown.content.decode())
    assert stages == ["done", "current", "waiting", "waiting", "waiting", "waiting"]
    button = re.search(r'<button[^>]*formaction="([^"]+)"[^>]*>', shown.content.decode())
    assert button
    assert 'name="then" value="activate"' in button[0]

    on = visitor.post(button[1], {"then": "activate"})

    assert on["Location"] == people.url("credential", "activate", row.pk)
    assert Credential.objects.get().state == State.VERIFIED
    assert cybs_simulator.faults.active() == []


def test_who_may_not_activate_stays_with_the_key(cybs_simulator: Simulation) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    visitor = people.client(people.allowed("ida", "view_credential", "verify_credential"))
    on = visitor.post(people.url("credential", "verify", row.pk), {"then": "activate"})
    assert on["Location"] == people.url("credential", "change", row.pk)


def test_a_refused_upload_stays_on_its_page_with_the_report(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    cybs_simulator.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=600, times=1))
    on = visitor.post(people.url("credential", "verify", row.pk), {"then": "activate"})
    assert on["Location"] == people.url("credential", "change", row.pk)
    text = visitor.get(on["Location"]).content.decode()
    assert "Verify it again" in text
    assert "BAD  clock" in text


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/Sao_Paulo"])
def test_a_typed_end_is_that_day_where_the_site_is(
    visitor: Client, settings: Any, zone: str
) -> None:
    settings.TIME_ZONE = zone
    enrolment.organization()
    file = material.shared_secret()
    post(visitor, pasted(file.secret, file.key_id, expires_at="2031-05-04"))
    (ends,) = Credential.objects.values_list("expires_at", flat=True)
    assert ends is not None
    assert timezone.localtime(ends).isoformat()[:16] == "2031-05-04T00:00"


def test_a_person_uploads_thirty_keys_an_hour_and_each_attempt_is_audited(visitor: Client) -> None:
    """The wrong ones count: they cost as much to look into."""
    enrolment.organization()
    wrong = pasted("not Base64 at all!", "k")
    for _ in range(29):
        assert "white space" in str(post(visitor, wrong).context["form"].errors)
    file = material.shared_secret()
    post(visitor, pasted(file.secret, file.key_id))
    assert Credential.objects.count() == 1

    late = post(visitor, pasted(material.shared_secret().secret, "another"))

    assert "30 uploads within an hour" in late.content.decode()
    assert Credential.objects.count() == 1
    told = [
        (event.outcome, event.reason[:14])
        for event in KeyEvent.objects.filter(action="import", actor="olga").order_by("seq")
    ]
    assert [outcome for outcome, _ in told] == [*["denied"] * 29, "done", "denied"]
    assert told[-1] == ("denied", "TooManyImports")
    other = people.client(people.staff("omar", "operators"))
    assert "30 uploads" not in post(other, wrong).content.decode()


def test_an_hour_later_the_uploads_of_before_count_no_more(
    visitor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment.organization()
    monkeypatch.setattr(importing, "MOST_AN_HOUR", 1)
    file = material.shared_secret()
    post(visitor, pasted("not Base64 at all!", "k"))
    assert "uploads within" in post(visitor, pasted(file.secret, "k")).content.decode()
    monkeypatch.setattr(importing, "HOUR", timedelta(0))
    post(visitor, pasted(file.secret, "k"))
    assert Credential.objects.exists()


def test_what_was_typed_into_the_wrong_field_is_not_in_the_audit_trail(visitor: Client) -> None:
    enrolment.organization()
    file = material.p12("acme")
    secret = material.shared_secret().secret
    answer = post(visitor, uploaded(file, key_id=secret))
    assert "This may be a secret" in answer.content.decode()
    assert_no_secret(answer, secret)
    assert "key ID is" in post(visitor, uploaded(file, key_id="another")).content.decode()
    (event,) = KeyEvent.objects.filter(action="import")
    assert (event.outcome, event.reason) == ("denied", "WrongKeyFile")


IDS = {
    "a UUID": "08c94330-f618-42a3-b09d-e1e43be5efda",
    "a serial number": "7412345678901234567890123456",
    "hexadecimal": "08C94330F61842A3B09DE1E43BE5EFDA",
    "words": "key-of-the-warehouse-in-spring",
}


@pytest.mark.parametrize("kind", IDS)
def test_what_is_no_secret_stays_typed_in(visitor: Client, kind: str) -> None:
    enrolment.organization()
    names = {"organization": "a_merchant_with_a_long_name", "slot": "a_second_slot_of_the_same"}
    answer = post(visitor, pasted("not Base64 at all!", IDS[kind], **names))
    shown = {field.name: field.value() for field in answer.context["form"]}
    assert shown["key_id"] == IDS[kind]
    assert {name: shown[name] for name in names} == names


def test_an_organization_keeps_its_name_where_its_files_password_is_the_same(
    visitor: Client,
) -> None:
    enrolment.organization()
    answer = post(visitor, uploaded(material.p12("acme"), password="acme"))
    assert "password is wrong" in str(answer.context["form"].errors)
    assert 'value="acme"' in answer.content.decode()


WRONG = {
    "pdf": (b"%PDF-1.7 something", "PDF document"),
    "zip": (b"PK\x03\x04 something", "ZIP archive"),
    "certificate": (
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "RSA private key",
    ),
    "nonsense": (b"\x00" * 100, "P12"),
    "empty": (b"", "empty"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_the_wrong_file_is_named_and_nothing_is_stored(visitor: Client, kind: str) -> None:
    enrolment.organization()
    data, named = WRONG[kind]
    upload = SimpleUploadedFile("key.p12", data)

    answer = post(visitor, {"organization": "acme", "purpose": "signing", "file": upload})

    errors = str(answer.context["form"].errors)
    assert named in errors
    assert not Credential.objects.exists()
    assert 'value="acme"' in answer.content.decode()


def test_a_refusal_on_a_page_names_fields_and_pages_and_the_day_as_the_site_writes_it(
    visitor: Client,
) -> None:
    """Commands, options and ISO dates are for those who run commands."""
    enrolment.organization()
    ended = datetime(2025, 3, 1, 12, tzinfo=UTC)
    old = material.p12("acme", not_before=ended - timedelta(days=365), not_after=ended)
    inside = base64.encodebytes(enrolment.pkcs8(material.rsa_key(name="nameless")))
    pem = b"-----BEGIN PRIVATE KEY-----\n" + inside + b"-----END PRIVATE KEY-----\n"
    nameless = uploaded(old) | {"file": SimpleUploadedFile("key.pem", pem), "password": ""}
    for data, said in (
        (pasted("x", "1", organization="shoes"), "The list of organizations shows what is stored."),
        (nameless, "write it into the field of that name."),
        (uploaded(old), "The certificate ended at March 1, 2025, noon."),
    ):
        errors = html.unescape(str(post(visitor, data).context["form"].errors))
        assert said in errors
        assert not re.search(r"manage\.py|--[a-z]", errors)


def test_a_wrong_password_is_told_and_never_printed_again(visitor: Client) -> None:
    enrolment.organization()

    answer = post(visitor, uploaded(material.p12("acme"), password="a wrong guess"))

    assert "password is wrong" in str(answer.context["form"].errors)
    assert_no_secret(answer, "a wrong guess")


def test_another_organizations_file_is_refused_and_the_form_stays(visitor: Client) -> None:
    enrolment.organization()
    file = material.p12("other")

    answer = post(visitor, uploaded(file))

    assert "The file belongs to organization 'other'" in told(answer)[0]
    assert 'value="acme"' in answer.content.decode()
    assert not Credential.objects.exists()
    assert_no_secret(answer, file.password)


def test_a_refused_secret_is_never_printed_again(visitor: Client) -> None:
    enrolment.organization()
    for secret in ("not Base64 at all!", "QUJD" * 11, material.shared_secret().secret):
        answer = post(visitor, pasted(secret, "not/a/key/id"))
        assert answer.context["form"].errors
        assert_no_secret(answer, secret)


@pytest.mark.parametrize("both", [True, False])
def test_one_of_file_and_secret_is_wanted(visitor: Client, both: bool) -> None:
    enrolment.organization()
    file = material.shared_secret()
    data = pasted(file.secret if both else "", file.key_id)
    if both:
        data["file"] = SimpleUploadedFile("key.p12", b"x")

    answer = post(visitor, data)

    assert "Give either a file or a shared secret." in answer.content.decode()
    assert not Credential.objects.exists()


FILE_NAMES = {
    "a way out": "../../canary.p12",
    "absolute": "/var/canary.p12",
    "of Windows": "..\\..\\canary.p12",
    "NUL": "canary\0.p12",
    "4,096 characters": "canary" + "x" * 4_090,
    "right to left": "canary\u202e21p.exe",
    "markup": "<script>canary</script>.p12",
    "line end": "canary\r\nx-injected: 1",
    "dots alone": "..",
    "empty": "",
}


def posted(visitor: Client, file_name: str, file: material.P12File) -> Any:
    """An upload whose file name stands in the request exactly as given."""
    fields = {"organization": "acme", "purpose": "signing", "password": file.password}
    parts = [
        f'--line\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    named = f'--line\r\ncontent-disposition: form-data; name="file"; filename="{file_name}"\r\n\r\n'
    body = "".join(parts).encode() + named.encode() + file.data + b"\r\n--line--\r\n"
    address = people.url("credential", "import")
    content_type = "multipart/form-data; boundary=line"
    answer = visitor.generic("POST", address, body, content_type=content_type)
    return visitor.get(answer["location"]) if answer.status_code == 302 else answer


@pytest.mark.parametrize("kind", FILE_NAMES)
def test_b30_a_file_name_is_no_path_and_is_neither_kept_nor_shown(
    visitor: Client, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment.organization()
    monkeypatch.chdir(tmp_path)

    answer = posted(visitor, FILE_NAMES[kind], material.p12("acme"))

    # Django itself refuses a part whose header is that long, and takes no file without a name.
    assert answer.status_code == (400 if kind == "4,096 characters" else 200)
    without = kind in ("dots alone", "empty", "4,096 characters")
    assert Credential.objects.count() == (0 if without else 1)
    assert "canary" not in answer.content.decode()
    assert not any("canary" in str(vars(event)) for event in KeyEvent.objects.all())
    assert not any("canary" in str(vars(row)) for row in Credential.objects.all())
    assert not list(tmp_path.iterdir())
    assert not Path("/var/canary.p12").exists()


@pytest.mark.parametrize("size", [64 * 1024 + 1, 3 * 1024 * 1024])
def test_what_is_too_large_is_refused_and_never_touches_a_disk(
    visitor: Client, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touch(*_args: Any, **_options: Any) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(TemporaryFileUploadHandler, "new_file", touch)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", touch)
    enrolment.organization()
    upload = SimpleUploadedFile("key.p12", b"\x30" * size)

    answer = post(visitor, {"organization": "acme", "purpose": "signing", "file": upload})

    assert "Choose one file of at most 64 KiB." in answer.content.decode()
    assert not Credential.objects.exists()


def test_the_largest_file_is_taken(visitor: Client) -> None:
    enrolment.organization()
    upload = SimpleUploadedFile("key.p12", b"\x30" * uploads.MOST_BYTES)

    answer = post(visitor, {"organization": "acme", "purpose": "signing", "file": upload})

    assert "64 KiB" not in str(answer.context["form"].errors)


def test_of_several_files_none_is_taken(visitor: Client) -> None:
    enrolment.organization()
    files = [SimpleUploadedFile(name, b"x" * 10) for name in ("a", "b")]

    answer = post(visitor, {"organization": "acme", "purpose": "signing", "file": files})

    assert "Choose one file" in answer.content.decode()


def test_a_post_without_a_token_is_refused(operator: User) -> None:
    enrolment.organization()
    visitor = people.client(operator, enforce_csrf_checks=True)
    file = material.shared_secret()

    answer = visitor.post(people.url("credential", "import"), pasted(file.secret, file.key_id))

    assert answer.status_code == 403
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    ("codenames", "expected"),
    [
        (("view_credential",), 403),
        (("import_credential",), 403),
        (("view_credential", "import_credential"), 200),
    ],
)
def test_it_takes_the_permission_to_import(codenames: tuple[str, ...], expected: int) -> None:
    enrolment.organization()
    visitor = people.client(people.allowed("ida", *codenames))
    address = people.url("credential", "import")
    assert visitor.get(address).status_code == expected
    file = material.shared_secret()

    visitor.post(address, pasted(file.secret, file.key_id))

    assert Credential.objects.exists() is (expected == 200)


def test_an_organization_out_of_scope_is_as_unknown_as_none(
    operator: User, visitor: Client
) -> None:
    enrolment.organization()
    people.limited(operator, estate.organization("mall", kind="portfolio"))
    file = material.shared_secret()
    answers = [
        post(visitor, pasted(file.secret, file.key_id, organization=name)).context["form"].errors
        for name in ("acme", "nobody")
    ]
    assert str(answers[0]).replace("acme", "nobody") == str(answers[1])
    assert not Credential.objects.exists()


def test_whoever_holds_a_key_already_is_named_only_to_those_who_see_him(
    operator: User, visitor: Client
) -> None:
    file = material.shared_secret()
    enrolment.shared_secret(enrolment.organization("rival"), secret=file.secret)
    acme = enrolment.organization()
    (seen,) = told(post(visitor, pasted(file.secret, file.key_id)))
    people.limited(operator, acme)
    (left,) = told(post(visitor, pasted(file.secret, file.key_id)))
    assert seen.startswith(f"This key is stored for rival@{enrolment.HOST} already.")
    assert left == seen.replace("rival", "…")


def test_a_successor_goes_into_the_same_slot(visitor: Client) -> None:
    row = enrolment.shared_secret(enrolment.organization(), slot="second")
    file = material.shared_secret()
    address = people.url("credential", "replace", row.pk)
    assert b'name="organization"' not in visitor.get(address).content

    visitor.post(address, {"secret": file.secret, "key_id": file.key_id, "organization": "other"})

    new = Credential.objects.get(key_id=file.key_id)
    assert (new.slot, new.state) == (row.slot, State.STAGED)


def test_a_key_out_of_scope_has_no_successor(operator: User, visitor: Client) -> None:
    row = enrolment.shared_secret(enrolment.organization())
    people.limited(operator, estate.organization("mall", kind="portfolio"))
    address = people.url("credential", "replace", row.pk)
    assert visitor.get(address).status_code == 404
    assert visitor.post(address, {"secret": "x"}).status_code == 404


def test_fields_for_secrets_are_never_remembered(visitor: Client) -> None:
    text = visitor.get(people.url("credential", "import")).content.decode()
    for name in ("password", "secret"):
        (field,) = re.findall(rf'<input[^>]*name="{name}"[^>]*>', text)
        assert 'type="password"' in field
        assert 'autocomplete="new-password"' in field
        assert "value=" not in field


def test_an_error_page_hides_what_was_posted_with_debug_too(settings: Any) -> None:
    settings.DEBUG = True
    seen: dict[str, Any] = {}

    def view(request: Any) -> Any:
        found = get_exception_reporter_filter(request)
        seen["shown"] = found.get_post_parameters(request)
        return request

    request = RequestFactory().post("/", {"secret": "plain to see"})
    request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]  # as Screen sets it
    uploads.in_memory(view)(request)
    assert "plain to see" not in str(seen["shown"])


def test_hostile_text_in_a_certificate_is_inert(visitor: Client) -> None:
    row = enrolment.shared_secret(enrolment.organization())
    script = "<script>alert(1)</script>"
    facts = {
        "role": "other",
        "kid": script,
        "common_name": script,
        "issuer": script,
        "not_before": "2026-01-01T00:00:00+00:00",
        "not_after": "2027-01-01T00:00:00+00:00",
        "key_size": None,
        "fingerprint": script,
    }
    held = {"certificates": [facts], "notices": [script]}
    enrolment.change(row, contents=held, verify_report=script, verify_detail=script)
    enrolment.change(row, verify_outcome="refused")
    answer = visitor.get(people.url("credential", "change", row.pk))
    assert b"<script>alert" not in answer.content
    assert b"&lt;script&gt;alert" in answer.content

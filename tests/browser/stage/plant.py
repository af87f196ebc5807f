"""An estate to look at: run once, it fills the stage's database and writes what tests must know.

Every merchant that is paid for has real keys; the crowd behind them are rows that only end.
"""

from __future__ import annotations

import io
import json
import random
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import django

DAY = timedelta(days=1)


def main() -> None:
    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.utils import timezone

    directory: Path = settings.DIRECTORY
    call_command("migrate", verbosity=0)
    call_command("cybs_keyring", "generate", stdout=io.StringIO())
    estate(timezone.now(), directory)
    crowd(timezone.now())
    people()
    duties(timezone.now())
    (directory / "places.json").write_text(json.dumps(places()))


def estate(now: datetime, directory: Path) -> None:
    from django_cybs_jwt.models import Organization
    from django_cybs_jwt.services import gateway_certificates, rotation, withdrawal
    from django_cybs_jwt.simulator import Identity
    from tests.unit.services import enrolment

    identity = Identity.at(directory / "simulator.pem")
    gateway_certificates.add(
        identity.pem.encode(), host=enrolment.HOST, actor="mara", now=now, preferred=True
    )
    names = {"mall": "Northern Mall", "shoes": "Shoes & Sons", "books": "Böcker AB"}
    add = partial(add_organization, names=names)
    mall = add("mall", kind="portfolio")
    for merchant in ("garden", "toys", "attic"):
        add(merchant, parent="mall")
    meta = key(mall, now=now - 90 * DAY, covers="selected")
    accept_in_use(meta, now)
    meta.slot.merchants.set(Organization.objects.filter(org_id__in=["garden", "toys"]))
    accept_in_use(key(mall, purpose="response-mle", now=now - 90 * DAY), now)

    shoes = add("shoes")
    key(shoes, now=now - 400 * DAY)
    key(shoes, purpose="response-mle", now=now - 400 * DAY)
    newer = key(shoes, now=now - 9 * timedelta(hours=1), activate=False)
    accept(newer, now)
    rotation.rotate(
        newer, actor="mara", now=now - 8 * timedelta(hours=1), overlap=7 * DAY, reason="it ends"
    )
    uses(shoes, now)
    accept_in_use(shoes.credentials.get(slot__purpose="response-mle"), now)

    enrolment.shared_secret(add("books"), expires_at=now + 20 * DAY, now=now - 100 * DAY)
    lamps = add("lamps")
    key(lamps, now=now - 1092 * DAY, ends=now + 3 * DAY)
    planned = key(lamps, now=now - DAY, activate=False)
    accept(planned, now)
    rotation.rotate(planned, actor="mara", now=now, at=now + DAY, overlap=DAY, reason="it ends")
    key(add("tea"), now=now - 1100 * DAY, ends=now - 5 * DAY)
    retired(now, add)
    withdrawal.suspend(key(add("cellar"), now=now - 80 * DAY), actor="mara", now=now, reason="lost")
    for merchant in ("choir-1", "choir-2", "choir-3", "choir-4"):
        key(add(merchant), now=now - 60 * DAY)
    key(add("harbour"), now=now - DAY, activate=False)
    add("gallery")
    journeys(now, add)


def retired(now: datetime, add: Any) -> None:
    """A rotation that is over, and an old key that nobody has used since."""
    from django_cybs_jwt.models import Credential, State
    from django_cybs_jwt.services import rotation

    drums = add("drums")
    old = key(drums, now=now - 1000 * DAY)
    new = key(drums, now=now - 21 * DAY, activate=False)
    accept(new, now - 21 * DAY)
    rotation.rotate(new, actor="mara", now=now - 20 * DAY, overlap=DAY, reason="it ends")
    uses(drums, now, switched=20 * 24)
    Credential.objects.filter(pk=old.pk).update(
        state=State.RETIRED, retired_at=now - 19 * DAY, last_used_at=now - 20 * DAY
    )


def journeys(now: datetime, add: Any) -> None:
    """Merchants that one journey each changes."""
    add("newcomer")
    for name in ("rotating", "pair", "hurry"):
        owner = add(name)
        key(owner, now=now - 1090 * DAY, ends=now + 6 * DAY)
        key(owner, purpose="response-mle", now=now - 300 * DAY)
    key(add("ending"), now=now - 1090 * DAY, ends=now + 5 * DAY)
    group = add("group", kind="portfolio")
    for merchant in ("north", "south"):
        add(merchant, parent="group")
    key(group, now=now - 50 * DAY, covers="selected")
    accept(key(add("vault"), now=now - DAY, activate=False), now)
    for name in ("guarded", "strongroom"):
        accept(key(add(name), now=now - DAY, activate=False), now)


def add_organization(org_id: str, *, names: dict[str, str], **options: Any) -> Any:
    from django_cybs_jwt.models import Organization
    from tests.unit.services import enrolment

    made = enrolment.organization(org_id, **options)
    Organization.objects.filter(pk=made.pk).update(name=names.get(org_id, org_id.title()))
    return made


def key(
    owner: Any,
    *,
    now: datetime,
    purpose: str = "signing",
    ends: datetime | None = None,
    **options: Any,
) -> Any:
    """A P12 as the Business Center gives it out, imported at *now*."""
    from django_cybs_jwt.services import inspection
    from django_cybs_jwt.testing import material
    from tests.unit.services import enrolment

    file = material.p12(
        owner.org_id,
        not_before=now - timedelta(hours=1),
        not_after=ends or now + 1095 * DAY,
        private_key=material.rsa_key(name=f"{owner} {purpose} {now}"),
    )
    wanted = inspection.Wanted(purpose=purpose, owner=owner.org_id)
    inspected = inspection.inspect_file(file.data, file.password.encode(), wanted, now=now)
    return enrolment.store(owner, inspected, now=now, **options)


def accept(credential: Any, now: datetime) -> None:
    """As if the gateway had been asked."""
    from django_cybs_jwt.models import State, Verdict

    type(credential).objects.filter(pk=credential.pk).update(
        state=State.VERIFIED,
        verify_outcome=Verdict.ACCEPTED,
        verified_at=now,
        verify_checked_at=now,
    )
    credential.refresh_from_db()


def accept_in_use(credential: Any, now: datetime) -> None:
    """The same of an active key, which stays one."""
    from django_cybs_jwt.models import Verdict

    type(credential).objects.filter(pk=credential.pk).update(
        verify_outcome=Verdict.ACCEPTED, verified_at=now, verify_checked_at=now
    )


def uses(owner: Any, now: datetime, *, switched: int = 8) -> None:
    """Hours of traffic, over which one key takes the place of the other."""
    from django_cybs_jwt.models import KeyUse, State

    hour = now.replace(minute=0, second=0, microsecond=0)
    for row in owner.credentials.filter(slot__purpose="signing"):
        is_new = row.state == State.ACTIVE
        counts = {
            back: 400 + 37 * (back % 5)
            for back in (range(8) if is_new else range(switched, switched + 4))
        }
        for back, count in counts.items():
            KeyUse.objects.create(credential=row, hour=hour - timedelta(hours=back), signed=count)
        row.use_count = sum(counts.values())
        row.last_used_at = now if is_new else now - switched * timedelta(hours=1)
        row.save(update_fields=["use_count", "last_used_at"])


def crowd(now: datetime) -> None:
    """Merchants whose keys end all over the year."""
    from django_cybs_jwt.models import Organization
    from tests.unit.services import estate

    draw = random.Random(4)
    tops = [estate.organization(f"chain{n}", kind="portfolio", name=f"Chain {n}") for n in range(2)]
    estate.certificate(None, days=500, host=estate.LIVE_HOST, now=now)
    for number in range(120):
        owner = estate.organization(
            f"store{number:03}", parent=draw.choice([None, *tops]), name=f"Store {number}"
        )
        days = draw.choice([draw.uniform(1, 100), draw.uniform(100, 900)])
        made = estate.key(owner, days=days, now=now)
        if number % 3:
            accept_in_use(made, now - DAY)
    # Those that take plain replies are ready; the others lack a key for encrypted ones.
    half = Organization.objects.filter(org_id__regex=r"store\d*[02468]$")
    half.update(response_mle="never")
    Organization.objects.filter(org_id="store007").update(active=False)


def people() -> None:
    from django.contrib.auth.models import User

    from django_cybs_jwt.models import Organization
    from tests.browser.staging import PASSWORD
    from tests.unit.admin import people as them

    them.superuser()
    for name, groups in {
        "vera": ["viewers"],
        "olga": ["operators"],
        "paul": ["approvers", "operators"],
        "kurt": ["custodians"],
        "alma": ["auditors"],
        "lima": ["operators"],
        "nina": [],
    }.items():
        them.staff(name, *groups)
    them.limited(User.objects.get(username="lima"), Organization.objects.get(org_id="mall"))
    for user in User.objects.all():
        user.set_password(PASSWORD)
        user.save()


def duties(now: datetime) -> None:
    """Alerts, who is told of them, and something that waits for a second person."""
    from django_cybs_jwt.models import Credential, JobRun
    from django_cybs_jwt.services import alerts, approvals
    from django_cybs_jwt.services.alerts import recipients

    recipients.add("mail", "operations@platform.example", actor="mara")
    recipients.add("mail", "night@platform.example", actor="mara", escalation=True)
    alerts.raise_due(now)
    JobRun.objects.create(name="tick", succeeded_at=now)
    waiting = Credential.objects.get(organization__org_id="vault")
    approvals.request("activate", waiting, actor="olga", now=now, reason="the old one ends")
    queued(now)


def queued(now: datetime) -> None:
    """Requests in each state that a page has something to say about, with what was tried."""
    from django_cybs_jwt.models import Organization, OutboundRequest

    shoes = Organization.objects.get(org_id="shoes")
    states = (("QUEUED", False), ("IN_DOUBT", True), ("PARKED", True), ("PARKED", False))
    for number, (state, was_sent) in enumerate((*states, ("ANSWERED", True))):
        made = OutboundRequest.objects.create(
            organization=shoes,
            host=shoes.host,
            operation="POST /pts/v2/payments",
            safety="GUARDED",
            idempotency_key=f"order-{number}",
            transaction_id=f"transaction-{number}",
            state=state,
            maybe_sent=was_sent,
            http_status=201 if state == "ANSWERED" else None,
            outcome="AUTHORIZED" if state == "ANSWERED" else "",
            # Not due while somebody looks at them: nobody sends them.
            due_at=now + DAY if state in ("QUEUED", "IN_DOUBT") else None,
            created_at=now - number * timedelta(hours=1),
            sealed_payload=b"sealed",
        )
        if was_sent:
            attempts(made, now - number * timedelta(hours=1))


def attempts(made: Any, at: datetime) -> None:
    """A connection that broke, and then what the row says came of it."""
    kid = made.organization.credentials.get(slot__purpose="signing", state="ACTIVE").key_id
    known = {"key_id": kid, "owner": "worker-1", "request_encrypted": True}
    made.attempts.create(
        number=1, jti=f"{made.pk}", kind="not-sent", started_at=at, elapsed_ms=3004,
        phase="connect", error="ConnectTimeout", **known,
    )  # fmt: skip
    is_answered = made.state == "ANSWERED"
    made.attempts.create(
        number=2, jti=f"{made.idempotency_key}-2", kind="answered" if is_answered else "maybe",
        started_at=at + timedelta(seconds=5), elapsed_ms=412 if is_answered else 30_000,
        http_status=201 if is_answered else None, reply_encrypted=is_answered or None,
        phase="" if is_answered else "read", error="" if is_answered else "ReadTimeout",
        correlation_id="5f0c7a52" if is_answered else "", **known,
    )  # fmt: skip
    made.attempt = 2
    made.save(update_fields=["attempt"])


def places() -> dict[str, str]:
    """Every page of this app, from the root of its site, with a row that it makes sense for."""
    from django.contrib.auth.models import User
    from django.test import RequestFactory
    from django.urls import reverse

    from tests.unit.admin.addresses import addresses, rows

    request: Any = RequestFactory().get("/")
    request.user = User.objects.get(username="root")
    root = reverse("admin:index")
    found = {"app": reverse("admin:app_list", args=["cybs_jwt"])}
    for address in addresses():
        arguments = []
        if address.of_row:
            # Of a model without rows no page would be looked at: planting none is a mistake.
            arguments = [next(rows(address, request, rather=("shoes", "mall"))).pk]
        found[address.name] = reverse(f"admin:cybs_jwt_{address.name}", args=arguments)
    found |= of_journeys()
    return {name: path.removeprefix(root) for name, path in found.items()}


def of_journeys() -> dict[str, str]:
    """Where each journey begins."""
    from django.urls import reverse

    from django_cybs_jwt.models import Credential, ExpiryAlert, KeySlot

    keys = Credential.objects.filter(slot__purpose="signing", organization__name__gt="")
    named = ("rotating", "pair", "guarded", "shoes", "mall", "drums", "harbour", "strongroom")
    found: dict[str, Any] = {
        f"key:{key.organization.org_id}": key
        for key in keys.select_related("organization").order_by("staged_at")
        if key.organization.org_id in named
    }
    found["slot:group"] = KeySlot.objects.get(organization__org_id="group")
    for name in ("ending", "pair"):
        found[f"alert:{name}"] = ExpiryAlert.objects.get(organization__org_id=name)
    return {
        name: reverse(f"admin:cybs_jwt_{row._meta.model_name}_change", args=[row.pk])
        for name, row in found.items()
    }


if __name__ == "__main__":
    main()

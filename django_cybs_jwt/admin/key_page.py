"""What the page of a key and of a slot shows besides the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import business_center, chart, trail, words
from django_cybs_jwt.admin.requests import scope_of
from django_cybs_jwt.models import Approval, Coverage, Credential, KeySlot, Purpose, State
from django_cybs_jwt.services import approvals, contents, coverage, keys, usage
from django_cybs_jwt.services.overview import stages, watching

if TYPE_CHECKING:
    from django_cybs_jwt.admin.base import CybsAdmin

FIELDSETS: Final[list[Any]] = [
    (
        _("Key"),
        {
            "fields": [
                *("organization", "slot", "kind", "key_id", "algorithm", "state", "expires_at"),
                *("use_count", "last_used_at"),
            ]
        },
    ),
    (
        _("Certificate"),
        {
            "classes": ["collapse"],
            "fields": ["common_name", "serial", "not_before", "not_after", "fingerprint"],
        },
    ),
    (
        _("Times"),
        {
            "classes": ["collapse"],
            "fields": [
                *("staged_at", "uploaded_by", "verified_at", "activate_at", "activated_at"),
                *("overlap_until", "retiring_at", "retired_at", "suspended_at"),
                *("compromised_at", "destroyed_at"),
            ],
        },
    ),
]
FIELDS: Final = [name for _title, options in FIELDSETS for name in options["fields"]]
MOST_SHOWN: Final = 100

_GONE: Final = (State.RETIRED, State.COMPROMISED)


def facts(admin: CybsAdmin, request: HttpRequest, row: Credential) -> dict[str, Any]:
    """Stages, contents, verification, rotation and the steps at the gateway."""
    now = timezone.now()
    watched = watching.watch(row, now=now)
    return {
        "stages": stages.stages(row, watched),
        "contents": contents.read(row),
        "missing": contents.missing(row),
        "looks_like": contents.looks_like(row),
        "has_ended": row.expires_at is not None and row.expires_at <= now,
        "watch": watched,
        "watch_rows": _watch_rows(admin, watched),
        "chart": chart.hourly(watched.hours) if watched is not None else None,
        "deletion": _deletion(row, watched),
        "events": trail.newest(admin, request, row),
        "slot_url": admin.url_of(KeySlot, "change", row.slot_id),
        "steps_offered": _offered(admin, request, row),
        "signs": row.slot.purpose == Purpose.SIGNING,
        "asked": _asked(admin, request, row),
    }


def slot_facts(admin: CybsAdmin, request: HttpRequest, row: KeySlot) -> dict[str, Any]:
    """Every version in the slot, and the merchants that are covered, as far as they are seen."""
    sees_keys = request.user.has_perm("cybs_jwt.view_credential")
    found = keys.listing().filter(slot=row).order_by("-staged_at", "pk")[:MOST_SHOWN]
    merchants = coverage.covered_rows(row)
    seen = scope_of(request).visible(merchants)
    count, seen_count = merchants.count(), seen.count()
    return {
        "sees_keys": sees_keys,
        "slot_keys": [
            (key, admin.url_of(Credential, "change", key.pk)) for key in found if sees_keys
        ],
        "covered": list(seen[:MOST_SHOWN]),
        "covered_count": count,
        "covered_more": max(0, seen_count - MOST_SHOWN),
        "covered_hidden": count - seen_count,
        "follows": _followed(admin, row),
        "all_url": admin.signed_for(request, row),
    }


def _followed(admin: CybsAdmin, row: KeySlot) -> dict[str, str]:
    """The signing slot that decides whom a slot for replies covers; its *url*, if it is there."""
    if row.purpose == Purpose.SIGNING or row.coverage == Coverage.OWN:
        return {}
    signing = row.organization.slots.filter(purpose=Purpose.SIGNING, name=row.name).first()
    url = admin.url_of(KeySlot, "change", signing.pk) if signing is not None else ""
    return {"slot": str(signing or ""), "url": url}


def _offered(admin: CybsAdmin, request: HttpRequest, row: Credential) -> dict[str, str]:
    """The addresses of the screens that are offered, by name."""
    return {
        screen.name: admin.url(screen.name, row.pk)
        for screen in admin.screens
        if screen.of_row and screen.is_offered(admin, request, row)
    }


def _asked(admin: CybsAdmin, request: HttpRequest, row: Credential) -> list[dict[str, str]]:
    """What waits for a second person, and what he agreed to and nobody carried out yet."""
    if not request.user.has_perm("cybs_jwt.view_approval"):
        return []
    found = approvals.usable(now=timezone.now()).filter(credential=row)
    return [
        {"text": _asked_in_words(each), "url": admin.url_of(Approval, "change", each.pk)}
        for each in found
    ]


def _asked_in_words(row: Approval) -> str:
    if row.status == Approval.Status.GRANTED:
        text = _("%(action)s: approved by %(decider)s, to be carried out once, until %(until)s")
    else:
        text = _("%(action)s: asked for by %(who)s, waits for a second person until %(until)s")
    return str(text) % {
        "action": words.action(row),
        "who": row.requested_by,
        "decider": row.decided_by,
        "until": words.until(row.expires_at),
    }


def _watch_rows(admin: CybsAdmin, watched: watching.Watch | None) -> list[dict[str, Any]]:
    if watched is None:
        return []
    roles = ((_("New"), watched.new), (_("Before"), watched.old))
    return [
        {"role": role, "key": one, "url": admin.url("change", one.credential.pk)}
        for role, one in roles
    ]


def _deletion(row: Credential, watched: watching.Watch | None) -> dict[str, Any] | None:
    """The key that should go at the gateway: this one, or the one that this one replaced."""
    gone, keep = row, None
    if watched is not None:
        keep = watched.new.credential
        if row.pk == keep.pk:
            gone = watched.old.credential
    if gone.state not in _GONE:
        return None
    twins = usage.twins([gone])
    is_safe = usage.is_safe_to_delete(gone, now=timezone.now(), others=twins)
    return {
        "credential": gone,
        "idle_since": usage.idle_since(gone, twins),
        "is_safe": is_safe or gone.state == State.COMPROMISED,
        "idle_days": usage.IDLE_DAYS,
        "steps": business_center.deleting(
            gone, keep if keep is None or keep.pk != gone.pk else None
        ),
    }

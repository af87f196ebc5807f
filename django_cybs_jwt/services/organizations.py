"""Name, add, list and disable organizations."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, get_args

from django.db import IntegrityError, transaction
from django.db.models import QuerySet, UUIDField, Value
from django.db.models.functions import Cast

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import (
    OrganizationAmbiguous,
    OrganizationConflict,
    OrganizationInactive,
    OrganizationNotFound,
)
from django_cybs_jwt.models import Organization
from django_cybs_jwt.protocol.hosts import is_live, parse_host
from django_cybs_jwt.protocol.keys import ResponseMLE
from django_cybs_jwt.services import audit, epoch

logger = logging.getLogger(__name__)

_ORG_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}\Z")
_LONGEST_NAME: Final = 200
MANY: Final = 10  # enough to name the hosts of one id
_PARENTS: Final = {
    Organization.Kind.PORTFOLIO: (),
    Organization.Kind.ACCOUNT: (Organization.Kind.PORTFOLIO,),
    Organization.Kind.MERCHANT: (Organization.Kind.PORTFOLIO, Organization.Kind.ACCOUNT),
}


@dataclass(frozen=True, slots=True)
class Places:
    """What a list can be narrowed to; portfolios by id, named and in that order."""

    hosts: tuple[str, ...]
    portfolios: tuple[tuple[uuid.UUID, str], ...]


def places(among: QuerySet[Organization]) -> Places:
    """The hosts and portfolios of these organizations: one query."""
    rows = among.order_by()
    portfolios = rows.filter(kind=Organization.Kind.PORTFOLIO).values_list("host", "pk", "org_id")
    nobody = Cast(Value(None), UUIDField())
    hosts = rows.values_list("host", nobody, Value("")).distinct()
    found: list[tuple[str, uuid.UUID | None, str]] = sorted(
        portfolios.union(hosts, all=True).order_by(), key=lambda row: (row[2], row[0])
    )
    return Places(
        hosts=tuple(host for host, pk, _ in found if pk is None),
        portfolios=tuple((pk, f"{org_id}@{host}") for host, pk, org_id in found if pk is not None),
    )


def find(name: str, *, among: QuerySet[Organization] | None = None) -> Organization:
    """The organization called `ORG_ID` or `ORG_ID@HOST`, with its parents: one query.

    Where *among* is given, others do not exist.

    Raises OrganizationNotFound, or OrganizationAmbiguous where the id exists on several hosts.
    """
    org_id, host = parts(name)
    rows = Organization.objects.all() if among is None else among
    found = rows.order_by().select_related("parent__parent").filter(org_id=org_id)
    return only(name, found.filter(host=host)[:MANY] if host else found[:MANY])


def find_alone(name: str) -> Organization:
    """What `find` finds, its parents yet to be read; for who asks at every request.

    Django takes three times as long to put the query of `find` together as the database to answer.
    """
    org_id, host = parts(name)
    table = Organization._meta.db_table  # noqa: SLF001  # public in all but its name
    there = " AND host = %s" if host else ""
    text = f"SELECT * FROM {table} WHERE org_id = %s{there} LIMIT {MANY}"  # noqa: S608
    return only(name, Organization.objects.raw(text, [org_id, host] if host else [org_id]))


def parts(name: str) -> tuple[str, str]:
    """Of `ORG_ID@HOST` the id and the host, which is empty where none is named."""
    if not isinstance(name, str):
        raise OrganizationNotFound(
            "An organization is named by text, 'ORG_ID' or 'ORG_ID@HOST', not by {type}.",
            type=type(name).__name__,
        )
    org_id, _, host = name.partition("@")
    return org_id, host.lower()


def only(name: str, found: Iterable[Organization]) -> Organization:
    """Of what a database *found* under a name the one that is meant, or the errors of `find`."""
    org_id, _ = parts(name)
    # A database answers a NUL with an error of its own; no stored name has one. MySQL finds
    # "ACME" and "acme " for "acme": what was asked for is compared here.
    known = [row for row in found if row.org_id == org_id] if name.isprintable() else []
    if not known:
        raise OrganizationNotFound(
            "No organization {name!r}. `manage.py cybs_org list` shows what is stored.",
            page="No organization {name!r}. The list of organizations shows what is stored.",
            name=name[:80],
        )
    if len(known) > 1:
        hosts = " or ".join(sorted(map(str, known)))
        raise OrganizationAmbiguous(
            "{org_id} exists on several hosts: say {hosts}.", org_id=org_id, hosts=hosts
        )
    return known[0]


def add(
    org_id: str,
    *,
    actor: str,
    kind: str,
    host: str,
    parent: str | None = None,
    live: bool = False,
    name: str = "",
) -> Organization:
    """Store an organization, or raise OrganizationConflict.

    *live* is for hosts without a preset only; a known host knows its side. Audited, unless there
    is no ring yet: then the log says it.
    """
    _check_words(org_id, kind, name)
    host = parse_host(host)
    organization = Organization(
        org_id=org_id,
        kind=kind,
        host=host,
        live=_side(host, live=live),
        name=name,
    )
    if parent is not None:
        organization.parent = _find_parent(parent, organization)
    try:
        with transaction.atomic():
            organization.save(force_insert=True)
            _record_added(organization, actor=actor)
            epoch.bump()
    except IntegrityError:
        raise OrganizationConflict("{stored} is stored already.", stored=organization) from None
    return organization


def disable(name: str, *, actor: str, reason: str = "") -> Organization:
    """Stop an organization: nothing is signed for it, by its own key or another's."""
    return set_active(find(name), False, actor=actor, reason=reason)


def check_active(organization: Organization) -> None:
    """OrganizationInactive, with the way back, where it is disabled."""
    if not organization.active:
        raise OrganizationInactive(
            "{organization} is disabled. `manage.py cybs_org enable {organization}` takes that "
            "back.",
            page="{organization} is disabled. Who runs commands here can enable it again.",
            organization=organization,
        )


def set_response_mle(name: str, policy: str, *, actor: str) -> Organization:
    """Give an organization its own RESPONSE_MLE policy; empty follows the project's."""
    if policy not in ("", *get_args(ResponseMLE)):
        raise OrganizationConflict(
            "{policy!r} is not one of {known}.",
            policy=policy,
            known=", ".join(get_args(ResponseMLE)),
        )
    organization = find(name)
    with transaction.atomic():
        Organization.objects.filter(pk=organization.pk).update(response_mle=policy)
        _record("response-mle", organization, actor=actor, reason=policy or "the project's")
        epoch.bump()
    organization.response_mle = policy
    return organization


def _check_words(org_id: str, kind: str, name: str) -> None:
    if not _ORG_ID.match(org_id):
        raise OrganizationConflict(
            "{org_id!r} is not an organization id of the gateway: 1 to 60 letters, digits "
            "and . - _ only, the first a letter or digit.",
            org_id=org_id[:80],
        )
    if kind not in Organization.Kind.values:
        raise OrganizationConflict(
            "{kind!r} is not one of {known}.", kind=kind, known=", ".join(Organization.Kind.values)
        )
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise OrganizationConflict(
            "A name has at most {most} printable characters.", most=_LONGEST_NAME
        )


def set_active(
    organization: Organization, active: bool, *, actor: str, reason: str
) -> Organization:
    """Write it down, and tell every process."""
    organization.active = active
    with transaction.atomic():
        Organization.objects.filter(pk=organization.pk).update(active=active)
        _record("enable" if active else "disable", organization, actor=actor, reason=reason)
        epoch.bump()
    return organization


def _record_added(organization: Organization, *, actor: str) -> None:
    """Organizations may come before the ring, whose audit key begins the chain."""
    side = "live" if organization.live else "test"
    parent = f" under {organization.parent.org_id}" if organization.parent else ""
    told = f"{organization.kind}{parent}, {side}"
    if conf.has_keyring():
        _record("add", organization, actor=actor, reason=told)
    else:
        logger.warning("Not in the audit chain (no ring): add %s, %s", organization, told)


def _record(action: str, organization: Organization, *, actor: str, reason: str = "") -> None:
    audit.record(
        audit.Entry(action=action, actor=actor, organization=str(organization), reason=reason)
    )


def listing() -> QuerySet[Organization]:
    """Every organization with its parent."""
    return Organization.objects.select_related("parent")


def _side(host: str, *, live: bool) -> bool:
    known = is_live(host)
    if known is None:
        # A free hostname is what it was called first: two sides of one host would defeat LIVE.
        first = Organization.objects.filter(host=host).values_list("live", flat=True).first()
        if first is not None and first != live:
            side = "live" if first else "test"
            raise OrganizationConflict(
                "{host} is stored as a {side} host already.", host=host, side=side
            )
        return live
    if live and not known:
        raise OrganizationConflict(
            "{host} is a test host of the gateway; leave --live out.", host=host
        )
    return known


def _find_parent(name: str, child: Organization) -> Organization:
    try:
        parent = find(name)
    except OrganizationAmbiguous:
        parent = find(f"{name}@{child.host}")
    allowed = _PARENTS[Organization.Kind(child.kind)]
    if parent.kind not in allowed:
        kinds = " or ".join(allowed) or "nothing"
        raise OrganizationConflict(
            "A {kind} stands under {kinds}, not under a {above}.",
            kind=child.kind,
            kinds=kinds,
            above=parent.kind,
        )
    if parent.live != child.live:
        raise OrganizationConflict("Parent and child must both be live or both be test.")
    if parent.host != child.host:
        raise OrganizationConflict(
            "{parent} is on another host; its keys are of no use on {host}.",
            parent=parent,
            host=child.host,
        )
    return parent

"""Who sees what: a limited user sees some organizations with all under them, others everything.

What a limited user does not see is not there for him: pages answer 404, not 403.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from django.db import transaction
from django.db.models import F, Model, Q, QuerySet, Value
from django.db.models.functions import Concat

from django_cybs_jwt.models import (
    AlertRecipient,
    Approval,
    Attempt,
    Credential,
    ExpiryAlert,
    GatewayCertificate,
    KeyEvent,
    KeySlot,
    KeyUse,
    Organization,
    OutboundRequest,
    StaffScope,
)
from django_cybs_jwt.services import audit
from django_cybs_jwt.services.batches import in_batches

M = TypeVar("M", bound=Model)


class Person(Protocol):
    """A row of the host project's user model, or somebody who is not logged in."""

    @property
    def pk(self) -> Any:
        """None for somebody who is not logged in."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What one person sees. *tops* are organizations seen with all under them; None: all.

    *hosts* are those of the tops: what stands under an organization is on its host.
    """

    tops: tuple[uuid.UUID, ...] | None
    hosts: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def is_limited(self) -> bool:
        """True when there is something that is not seen."""
        return self.tops is not None

    def visible(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Those of *rows* that are seen; LookupError for a model without a rule."""
        rule = _RULES[rows.model]
        return rows if self.tops is None else rows.filter(rule(self._organizations()))

    def sees(self, organization: Organization) -> bool:
        """True if *organization*, with its parents at hand, is seen."""
        return self.tops is None or any(row.pk in self.tops for row in organization.chain())

    def names(self, merchants: Iterable[str]) -> tuple[list[str], int]:
        """Of *merchants* as `MID@HOST` those that are seen, in order, and how many are not."""
        asked = list(merchants)
        if self.tops is None or not asked:
            return asked, 0
        hidden = set(asked) - set(_names(self._organizations()))
        return [name for name in asked if name not in hidden], len(hidden)

    def redact(self, texts: Iterable[str]) -> list[str]:
        """*texts* without the ids of organizations that are not seen: they may name others too."""
        told = list(texts)
        if self.tops is None:
            return told
        hidden = self._hidden({word for text in told for word in _words(text)})

        def shown(found: re.Match[str]) -> str:
            return _LEFT_OUT if hidden & set(_words(found[0])) else found[0]

        return [_NAME.sub(shown, text) for text in told]

    def _hidden(self, words: set[str]) -> set[str]:
        """Those of *words* that are ids of organizations, none of which is seen."""
        found: set[str] = set()
        for some in in_batches(sorted(words)):
            named = Organization.objects.order_by().filter(org_id__in=some)
            seen = self.visible(named).values_list("org_id", flat=True)
            found |= set(named.values_list("org_id", flat=True)) - set(seen)
        return found & words

    def _organizations(self) -> QuerySet[Organization]:
        tops = self.tops or ()
        under = Q(pk__in=tops) | Q(parent__in=tops) | Q(parent__parent__in=tops)
        return Organization.objects.filter(under).order_by()


EVERYTHING: Final = Scope(None)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LEFT_OUT: Final = "…"


def _words(text: str) -> list[str]:
    """What could be an id of an organization, with and without the end of a sentence."""
    found: list[str] = _NAME.findall(text)
    return [*found, *(word.rstrip(".-_") for word in found)]


def of(user: Person) -> Scope:
    """The scope of *user*: one query."""
    limit = StaffScope.objects.filter(user=user.pk).order_by()
    # A limit without organizations is one row that names none.
    tops: list[tuple[uuid.UUID | None, str]] = list(
        limit.values_list("organizations", "organizations__host")
    )
    named = [(pk, host) for pk, host in tops if pk is not None]
    some = Scope(tuple(pk for pk, _ in named), frozenset(host for _, host in named))
    return some if tops else EVERYTHING


def visible(user: Person, rows: QuerySet[M]) -> QuerySet[M]:
    """Those of *rows* that *user* sees; LookupError for a model without a rule."""
    return of(user).visible(rows)


def gained(before: Scope, after: Scope) -> QuerySet[Organization, uuid.UUID]:
    """The ids of what *after* sees and *before* does not; not read yet."""
    rows = Organization.objects.order_by()
    lost = before.visible(rows).values("pk")
    return after.visible(rows).exclude(pk__in=lost).values_list("pk", flat=True)


def has_rule(model: type[Model]) -> bool:
    """True for the models whose rows `Scope.visible` can judge."""
    return model in _RULES


def listing() -> QuerySet[StaffScope]:
    """Everybody who is limited."""
    return StaffScope.objects.select_related("user").prefetch_related("organizations")


def limit(user: Person, organizations: Sequence[Organization], *, actor: str) -> StaffScope:
    """Show *user* these organizations, what stands under them, and nothing else. Audited."""
    with transaction.atomic():
        row, _ = StaffScope.objects.get_or_create(user_id=user.pk)
        row.organizations.set(organizations)
        _record("limit-user", user, actor, " ".join(map(str, organizations)) or "nothing")
    return row


def lift(user: Person, *, actor: str) -> None:
    """Show *user* everything again that the permissions allow. Audited."""
    with transaction.atomic():
        if StaffScope.objects.filter(user=user.pk).delete()[0]:
            _record("lift-limit", user, actor, "everything")


def _record(action: str, user: Person, actor: str, sees: str) -> None:
    reason = f"{user} sees {sees}"
    audit.record(audit.Entry(action=action, actor=actor, organization="", reason=reason))


def _names(organizations: QuerySet[Organization]) -> QuerySet[Organization, str]:
    """As `Organization.__str__` writes them."""
    name = Concat(F("org_id"), Value("@"), F("host"))
    return organizations.values_list(name, flat=True)


def _of_column(column: str) -> Callable[[QuerySet[Organization]], Q]:
    return lambda seen: Q(**{f"{column}__in": seen.values("pk")})


def _certificates(seen: QuerySet[Organization]) -> Q:
    """Host-wide ones too, where a merchant that is seen may depend on them."""
    return Q(organization__in=seen.values("pk")) | Q(
        organization=None, host__in=seen.values("host")
    )


_RULES: Final[Mapping[type[Model], Callable[[QuerySet[Organization]], Q]]] = {
    Organization: _of_column("pk"),
    KeySlot: _of_column("organization"),
    Credential: _of_column("organization"),
    KeyUse: _of_column("credential__organization"),
    GatewayCertificate: _certificates,
    KeyEvent: lambda seen: Q(organization__in=_names(seen)),
    ExpiryAlert: _of_column("organization"),
    AlertRecipient: _of_column("organization"),
    Approval: _of_column("credential__organization"),
    OutboundRequest: _of_column("organization"),
    Attempt: _of_column("request__organization"),
    StaffScope: lambda _: Q(pk=None),  # limits are not for those who are limited
}

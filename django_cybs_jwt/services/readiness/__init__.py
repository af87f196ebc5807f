"""How far each merchant is: JWT v2, message-level encryption both ways, verified, days left.

What signs is decided by the rules of `resolution` and `gateway_certificates`, as for a send;
only the rows are read for many merchants at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Q, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import KeyNotUsable, NoKey
from django_cybs_jwt.models import Credential, GatewayCertificate, Organization, Purpose, Verdict
from django_cybs_jwt.services import gateway_certificates, organizations, proven, resolution
from django_cybs_jwt.services.readiness import candidates
from django_cybs_jwt.services.readiness.candidates import Candidates
from django_cybs_jwt.texts import Text

_PURPOSES: Final = {
    Purpose.SIGNING: Text("Signing"),
    Purpose.RESPONSE_MLE: Text("Response MLE"),
}
_UNVERIFIED: Final = {
    Verdict.REFUSED.value: Text("was refused by the gateway at its verification"),
    Verdict.INCONCLUSIVE.value: Text("was verified without a clear answer"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """One merchant; *missing* says in words what keeps it from being ready.

    *owner* holds the signing key, *meta* says that it is another organization.
    *days_left* counts to the first end that stops something, without those planned successors that
    the gateway has not accepted too; None: nothing signs, or no end known.
    """

    organization: str
    host: str
    name: str
    ready: bool
    jwt_v2: bool
    request_mle: bool
    response_mle: bool
    verified: bool
    days_left: int | None
    kind: str
    algorithm: str
    key_id: str
    owner: str
    meta: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a message is made with at one moment; *faults* say why something is not there."""

    signing: Credential | None = None
    response: Credential | None = None
    certificate: GatewayCertificate | None = None
    response_fault: str = ""
    faults: tuple[str, ...] = ()

    def parts(self) -> tuple[Credential | GatewayCertificate | None, ...]:
        return self.signing, self.response, self.certificate

    def ends(self) -> list[datetime]:
        return [end for end in map(_end_of, self.parts()) if end is not None]

    def misses(self, before: _Found, ended: datetime) -> bool:
        """True when a part that was there *before* and has *ended* is there no more."""
        pairs = zip(before.parts(), self.parts(), strict=True)
        return any(_end_of(then) == ended and now is None for then, now in pairs)


def _end_of(part: Credential | GatewayCertificate | None) -> datetime | None:
    if isinstance(part, GatewayCertificate):
        return part.not_after
    return part.expires_at if part else None


def report(
    *, now: datetime, host: str | None = None, portfolio: str | None = None
) -> Iterator[Readiness]:
    """Every merchant that is not disabled, by id: of one *host*, or under one *portfolio*.

    Two thousand are in memory at a time, read with five queries. Raises OrganizationError for a
    portfolio that is not there.
    """
    wanted = Organization.objects.filter(kind=Organization.Kind.MERCHANT, active=True)
    if host is not None:
        wanted = wanted.filter(host=host.lower())
    if portfolio is not None:
        top = organizations.find(portfolio)
        wanted = wanted.filter(Q(parent=top) | Q(parent__parent=top))
    return _report(wanted, now)


def of(merchants: Sequence[Organization], *, now: datetime) -> Iterator[Readiness]:
    """Of these organizations, in their order; at most four queries for all of them."""
    yield from judge(merchants, Candidates.of(merchants), now=now)


def judge(
    merchants: Iterable[Organization], rows: Candidates, *, now: datetime
) -> Iterator[Readiness]:
    """Of these organizations, by what was read for them; no query."""
    portion = _Portion(rows)
    for merchant in merchants:
        asks = asks_for_replies(merchant)
        found, stops = portion.look(merchant, asks=asks, now=now)
        yield _judge(merchant, found, stops, asks=asks, now=now)


def asks_for_replies(merchant: Organization) -> bool:
    """False where no encrypted reply is wanted, by the merchant's own word or the settings'."""
    return (merchant.response_mle or conf.current().RESPONSE_MLE) != "never"


def _report(wanted: QuerySet[Organization], now: datetime) -> Iterator[Readiness]:
    for merchants in candidates.portions(wanted):
        yield from of(merchants, now=now)


class _Portion:
    """What was found for some merchants; those that are alike are looked at once."""

    def __init__(self, rows: Candidates) -> None:
        self._candidates = rows
        self._alike: dict[object, tuple[_Found, datetime | None]] = {}

    def look(
        self, merchant: Organization, *, asks: bool, now: datetime
    ) -> tuple[_Found, datetime | None]:
        """What there is for *merchant* now, and when the first part of it stops, if ever.

        *asks* is False where no encrypted reply is wanted: no Response MLE key is looked for then.
        """
        if self._candidates.has_own_key(merchant):
            return self._look(merchant, asks, now)
        # Without a key of their own, all under one parent and one selection are alike.
        alike = merchant.parent_id, self._candidates.selecting_slots(merchant), asks
        if alike not in self._alike:
            self._alike[alike] = self._look(merchant, asks, now)
        return self._alike[alike]

    def _look(
        self, merchant: Organization, asks: bool, now: datetime
    ) -> tuple[_Found, datetime | None]:
        rows = self._candidates.keys(merchant)
        found = self._find(merchant, rows, asks, now)
        if found.signing is None:
            return found, None
        futures = proven.futures(rows, now)
        stops = (self._first_stop(merchant, found, each, asks, now) for each in futures)
        return found, min((stop for stop in stops if stop is not None), default=None)

    def _first_stop(
        self,
        merchant: Organization,
        found: _Found,
        rows: Sequence[Credential],
        asks: bool,
        now: datetime,
    ) -> datetime | None:
        starts, moment = self._starts(rows, now), now
        # An end stops nothing where a scheduled successor or another certificate takes over.
        is_certain = not starts and not self._has_choice(found)
        while moments := [each for each in (*found.ends(), *starts) if each > moment]:
            moment = min(moments)
            if is_certain:
                return moment
            after = self._find(merchant, rows, asks, moment)
            if after.misses(found, ended=moment):
                return moment
            found = after
        return None

    def _has_choice(self, found: _Found) -> bool:
        if found.signing is None:
            return False
        return len(self._candidates.certificates(found.signing.organization)) > 1

    def _starts(self, rows: Sequence[Credential], now: datetime) -> list[datetime]:
        """When time changes a key, or a certificate that is not valid yet begins."""
        owners = {row.organization_id: row.organization for row in rows}.values()
        certificates = [one for owner in owners for one in self._candidates.certificates(owner)]
        moments = [*map(resolution.turns_at, rows), *(one.not_before for one in certificates)]
        return [moment for moment in moments if moment is not None and moment > now]

    def _find(
        self, merchant: Organization, rows: Sequence[Credential], asks: bool, now: datetime
    ) -> _Found:
        try:
            signing = resolution.signing_key(merchant, rows, now=now)
        except NoKey:
            return _Found(faults=(Text("No active signing key, own or meta."),))
        except KeyNotUsable as error:
            return _Found(faults=(error.text,))
        owner, response, unusable = signing.organization, None, ""
        if not owner.active:
            return _Found(faults=(Text("{owner}, whose key signs, is disabled.", owner=owner),))
        try:
            if asks:
                response = resolution.response_key(merchant, owner, rows, now=now)
        except KeyNotUsable as error:  # then nothing is sent
            unusable = error.text
        certificate, fault = _certificate(self._candidates.certificates(owner), owner, now)
        return _Found(
            signing=signing,
            response=response,
            certificate=certificate,
            response_fault=unusable,
            faults=tuple(each for each in (fault, unusable) if each),
        )


def _certificate(
    rows: Sequence[GatewayCertificate], owner: Organization, now: datetime
) -> tuple[GatewayCertificate | None, str]:
    """The valid certificate that would be chosen, or None and why there is none."""
    chosen = gateway_certificates.choose(rows, now=now)
    if chosen is None:
        return None, Text("No request-MLE certificate of {owner} or its host.", owner=owner.org_id)
    if chosen.not_before <= now < chosen.not_after:
        return chosen, ""
    begin, end = f"{chosen.not_before:%Y-%m-%d}", f"{chosen.not_after:%Y-%m-%d}"
    return None, Text(
        "The request-MLE certificate is valid from {begin} to {end} only.", begin=begin, end=end
    )


def _judge(
    merchant: Organization, found: _Found, stops: datetime | None, *, asks: bool, now: datetime
) -> Readiness:
    signing = found.signing
    missing = (*found.faults, *_lacking(found, asks=asks))
    needed = [signing, found.response] if asks else [signing]
    return Readiness(
        organization=merchant.org_id,
        host=merchant.host,
        name=merchant.name,
        ready=not missing,
        jwt_v2=signing is not None,
        request_mle=found.certificate is not None,
        response_mle=found.response is not None,
        verified=all(row and proven.is_accepted(row) for row in needed),
        days_left=(stops - now).days if stops else None,
        kind=signing.kind if signing else "",
        algorithm=signing.algorithm if signing else "",
        key_id=signing.key_id if signing else "",
        owner=signing.organization.org_id if signing else "",
        meta=signing is not None and signing.organization_id != merchant.pk,
        missing=missing,
    )


def _lacking(found: _Found, *, asks: bool) -> Iterator[str]:
    """What is not there, or not proven, and is not a fault of something that is."""
    if found.signing is None:
        return
    if asks and found.response is None and not found.response_fault:
        yield Text(
            "No active Response MLE key of {org_id}.", org_id=found.signing.organization.org_id
        )
    for row in (found.signing, found.response if asks else None):
        if row is not None and not proven.is_accepted(row):
            said = _UNVERIFIED.get(row.verify_outcome, Text("is not verified"))
            yield Text(
                "{purpose} key {key_id} {said}.",
                purpose=_PURPOSES[Purpose(row.slot.purpose)],
                key_id=row.key_id,
                said=said,
            )

"""Import a key: stage it, and where asked make it the first active one, or store nothing."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from django_cybs_jwt.models import Credential, Organization
from django_cybs_jwt.services import audit, keys, rotation
from django_cybs_jwt.services.inspection import Inspection
from django_cybs_jwt.tracebacks import forgetful


@forgetful
def import_key(
    organization: Organization,
    inspection: Inspection,
    *,
    actor: str,
    now: datetime,
    slot: str = "",
    covers: str | None = None,
    activate: bool = False,
) -> Credential:
    """Store *inspection* as STAGED, or with *activate* as the slot's first ACTIVE key.

    One transaction: a refused activation stores nothing, so the same file can be tried again.
    The network is never used.
    """
    with audit.denials("import", actor=actor, organization=organization), transaction.atomic():
        credential = keys.stage(
            organization, inspection, actor=actor, now=now, slot=slot, covers=covers
        )
        if activate:
            credential = rotation.activate(credential, actor=actor, now=now)
    return credential

"""Keys with both sealed columns filled, and rings with more than one key."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from typing import Any

from django.utils import timezone

from django_cybs_jwt.models import Credential
from django_cybs_jwt.services import inspection, organizations, signing
from django_cybs_jwt.services.inspection import Wanted
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment

SEALED = ("sealed_secret", "sealed_p12")
KEYS = {name: base64.b64encode(os.urandom(32)).decode() for name in ("old", "new", "spare")}


def key(org_id: str = "acme", **options: Any) -> Credential:
    """A signing key with a secret and an original file; it costs nothing to make."""
    owner = organizations.listing().filter(org_id=org_id).first() or enrolment.organization(org_id)
    file, now = material.shared_secret(), timezone.now()
    wanted = Wanted(purpose="signing", key_id=file.key_id)
    inspected = inspection.inspect_shared_secret(file.secret, wanted, now=now)
    inspected = replace(inspected, original=b"a file", password=b"its password")
    return enrolment.store(owner, inspected, now=now, **options)


def use_ring(settings: Any, primary: str, **statuses: str) -> None:
    """Settings with a ring of these keys; what is not named is not in it."""
    ring = settings.CYBS_JWT["KEYRING"]
    keys = {
        name: {"key": KEYS[name], "status": status}
        for name, status in {primary: "enabled", **statuses}.items()
    }
    settings.CYBS_JWT = {**settings.CYBS_JWT, "KEYRING": {**ring, "primary": primary, "keys": keys}}
    signing.forget()


def blobs() -> dict[tuple[Any, str], bytes]:
    """Every sealed column of every key that holds something."""
    return {
        (row.pk, name): bytes(getattr(row, name))
        for row in Credential.objects.all()
        for name in SEALED
        if getattr(row, name) is not None
    }

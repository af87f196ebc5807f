"""What staff may do, and groups that fit most platforms."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission as Stored
from django.db import transaction

from django_cybs_jwt.exceptions import ConfigurationError

_LABEL: Final = "cybs_jwt"


class Permission(StrEnum):
    """In the form that `user.has_perm` takes; seeing rows takes Django's own view permissions."""

    IMPORT = "cybs_jwt.import_credential"
    VERIFY = "cybs_jwt.verify_credential"
    ROTATE = "cybs_jwt.rotate_credential"
    DESTROY = "cybs_jwt.destroy_credential"
    EXPORT = "cybs_jwt.export_credential"
    APPROVE = "cybs_jwt.approve_approval"
    AUDIT = "cybs_jwt.audit_keyevent"
    ACKNOWLEDGE = "cybs_jwt.change_expiryalert"
    RECIPIENTS = "cybs_jwt.change_alertrecipient"
    OPERATE = "cybs_jwt.change_outboundrequest"
    LIMIT = "cybs_jwt.change_staffscope"


_SEEN: Final = (
    "organization",
    "keyslot",
    "credential",
    "gatewaycertificate",
    "keyevent",
    "expiryalert",
    "alertrecipient",
    "approval",
    "outboundrequest",
)
VIEW: Final = tuple(f"{_LABEL}.view_{model}" for model in _SEEN)

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Cybersource viewers": VIEW,
    "Cybersource operators": (
        *VIEW,
        Permission.IMPORT,
        Permission.VERIFY,
        Permission.ROTATE,
        Permission.ACKNOWLEDGE,
        Permission.RECIPIENTS,
        Permission.OPERATE,
    ),
    "Cybersource approvers": (*VIEW, Permission.APPROVE),
    "Cybersource custodians": (*VIEW, Permission.DESTROY, Permission.EXPORT),
    "Cybersource auditors": (*VIEW, Permission.AUDIT),
}


def make_groups(*, reset: bool = False) -> dict[str, bool]:
    """Make the groups that are missing; returns which were written, by name.

    A group that exists is the host's own and stays as it is, unless *reset* puts it back.
    """
    with transaction.atomic():
        return {name: _make(name, wanted, reset=reset) for name, wanted in GROUPS.items()}


def _make(name: str, wanted: tuple[str, ...], *, reset: bool) -> bool:
    group, made = Group.objects.get_or_create(name=name)
    if made or reset:
        others = group.permissions.exclude(content_type__app_label=_LABEL)
        group.permissions.set([*others, *_stored(wanted)])
    return made or reset


def _stored(wanted: tuple[str, ...]) -> list[Stored]:
    codenames = {name.removeprefix(f"{_LABEL}.") for name in wanted}
    rows = list(
        Stored.objects.filter(content_type__app_label=_LABEL, codename__in=sorted(codenames))
    )
    if missing := codenames - {row.codename for row in rows}:
        raise ConfigurationError(
            "The permissions {missing} are not stored. Run `manage.py migrate`.",
            missing=", ".join(sorted(missing)),
        )
    return rows

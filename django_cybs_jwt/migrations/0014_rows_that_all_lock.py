from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.models import Q


def first_rows(apps: Any, schema_editor: Any) -> None:
    """On MySQL the first writers would deadlock over rows that each of them has to make."""
    database = schema_editor.connection.alias
    epochs = apps.get_model("cybs_jwt", "Epoch").objects.using(database)
    events = apps.get_model("cybs_jwt", "KeyEvent").objects.using(database)
    heads = apps.get_model("cybs_jwt", "AuditHead").objects.using(database)
    epochs.get_or_create(pk=1, defaults={"value": 0})
    if not events.exists():  # a head that is missing from a chain is a finding, and stays one
        heads.get_or_create(pk=1)


def certificates_that_were_in_use(apps: Any, schema_editor: Any) -> None:
    """They went with the suspension or the end of a key that had been replaced long before."""
    database = schema_editor.connection.alias
    rows = apps.get_model("cybs_jwt", "GatewayCertificate").objects.using(database)
    was_active = Q(credential__activated_at__isnull=False)
    trusted = Q(credential__compromised_at__isnull=True)
    some = rows.filter(was_active & trusted, in_use=False).values_list("pk", flat=True)
    for pk in list(some):
        rows.filter(pk=pk).update(in_use=True)


class Migration(migrations.Migration):
    dependencies = [
        ("cybs_jwt", "0013_people_behind_approvals"),
    ]

    operations = [
        migrations.RunPython(first_rows, migrations.RunPython.noop),
        migrations.RunPython(certificates_that_were_in_use, migrations.RunPython.noop),
    ]

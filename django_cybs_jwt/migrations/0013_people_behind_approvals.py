"""Approvals know the people behind their names, and what exactly was asked for."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from django.db import migrations, models

CONSTRAINT = "cybs_nobody_approves_himself"


def fill(apps: Any, schema_editor: Any) -> None:
    """What one person granted to himself under two names is taken back, unless it was used."""
    rows = apps.get_model("cybs_jwt", "Approval").objects.using(schema_editor.connection.alias)
    for row in rows.iterator():
        row.requester, row.decider = person(row.requested_by), person(row.decided_by)
        if row.requester == row.decider and not row.break_glass:
            if row.status == "GRANTED":
                row.status = "REJECTED"
            elif row.status == "USED":  # history: two names, as they were
                row.requester, row.decider = row.requested_by, row.decided_by
        row.save(update_fields=["requester", "decider", "status"])


def person(name: str) -> str:
    """As `services.people` has it."""
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    return re.sub(r"\A(?:os:\s*)+", "", plain)[:150]


class Migration(migrations.Migration):
    dependencies = [("cybs_jwt", "0011_one_request_per_transaction")]

    operations = [
        migrations.RemoveConstraint("approval", CONSTRAINT),
        migrations.AddField(
            "approval",
            "detail",
            models.TextField(blank=True, verbose_name="what exactly", default=""),
            preserve_default=False,
        ),
        migrations.AddField(
            "approval",
            "requester",
            models.CharField(blank=True, default="", editable=False, max_length=150),
            preserve_default=False,
        ),
        migrations.AddField(
            "approval",
            "decider",
            models.CharField(blank=True, default="", editable=False, max_length=150),
            preserve_default=False,
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AddConstraint(
            "approval",
            models.CheckConstraint(
                name=CONSTRAINT,
                condition=models.Q(break_glass=True)
                | models.Q(status__in=["REQUESTED", "REJECTED"])
                | ~models.Q(decider="") & ~models.Q(decider=models.F("requester")),
            ),
        ),
    ]

"""A message that was handed over knows how loud it was; a louder one is a row beside it."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


def fill(apps: Any, schema_editor: Any) -> None:
    """What was handed over was told as loud as its alert is now."""
    alias = schema_editor.connection.alias
    deliveries = apps.get_model("cybs_jwt", "AlertDelivery").objects.using(alias)
    alerts = apps.get_model("cybs_jwt", "ExpiryAlert").objects.using(alias)
    of_its_alert = alerts.filter(pk=models.OuterRef("alert")).values("severity")
    deliveries.exclude(sent_at=None).update(told=models.Subquery(of_its_alert))


class Migration(migrations.Migration):
    dependencies = [("cybs_jwt", "0017_words_of_relations")]

    operations = [
        migrations.AddField(
            "alertdelivery",
            "told",
            models.CharField(blank=True, default="", max_length=8),
            preserve_default=False,
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        # Before the other goes: MySQL wants an index of the foreign key at any time.
        migrations.AddConstraint(
            "alertdelivery",
            models.UniqueConstraint(
                fields=("alert", "recipient", "told"), name="cybs_told_once_as_loud"
            ),
        ),
        migrations.RemoveConstraint("alertdelivery", "cybs_told_once"),
    ]

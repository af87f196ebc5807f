from __future__ import annotations

from typing import Any

from django.db import migrations, models


def leave_to_the_first(apps: Any, _: Any) -> None:
    """None where there was no transactionId, and where an older row of the merchant has it.

    Such a younger one is no longer looked up by itself: what was found could be the other's.
    """
    rows = apps.get_model("cybs_jwt", "OutboundRequest").objects.order_by()
    rows.filter(transaction_id="").update(transaction_id=None)
    named = rows.filter(transaction_id__isnull=False).values("organization", "transaction_id")
    for twins in named.annotate(count=models.Count("pk")).filter(count__gt=1):
        same = rows.filter(
            organization=twins["organization"], transaction_id=twins["transaction_id"]
        )
        first = same.order_by("created_at").values_list("pk", flat=True)[0]
        same.exclude(pk=first).update(transaction_id=None)


def empty_again(apps: Any, _: Any) -> None:
    rows = apps.get_model("cybs_jwt", "OutboundRequest").objects
    rows.filter(transaction_id=None).update(transaction_id="")


class Migration(migrations.Migration):
    dependencies = [
        ("cybs_jwt", "0010_key_standing"),
    ]

    operations = [
        migrations.RemoveField(model_name="outboundrequest", name="generation"),
        migrations.AlterField(
            model_name="outboundrequest",
            name="transaction_id",
            field=models.CharField(
                blank=True, max_length=64, null=True, verbose_name="transactionId"
            ),
        ),
        migrations.RunPython(leave_to_the_first, empty_again),
        migrations.AddConstraint(
            model_name="outboundrequest",
            constraint=models.UniqueConstraint(
                fields=("organization", "transaction_id"), name="cybs_request_once_per_transaction"
            ),
        ),
    ]

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("cybs_jwt", "0014_rows_that_all_lock"),
    ]

    operations = [
        migrations.AddField(
            model_name="outboundrequest",
            name="waiting_since",
            field=models.DateTimeField(null=True, verbose_name="waits since"),
        ),
        migrations.AddField(
            model_name="attempt",
            name="request_encrypted",
            field=models.BooleanField(null=True, verbose_name="request encrypted"),
        ),
        migrations.AddField(
            model_name="attempt",
            name="reply_encrypted",
            field=models.BooleanField(null=True, verbose_name="reply encrypted"),
        ),
    ]

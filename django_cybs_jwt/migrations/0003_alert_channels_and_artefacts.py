from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("cybs_jwt", "0002_lifecycle_and_alerts"),
    ]

    operations = [
        migrations.AlterField(
            model_name="alertrecipient",
            name="channel",
            field=models.CharField(max_length=20, verbose_name="channel"),
        ),
        migrations.AlterField(
            model_name="expiryalert",
            name="artefact",
            field=models.CharField(max_length=30, verbose_name="artefact"),
        ),
        migrations.AddIndex(
            model_name="alertdelivery",
            index=models.Index(fields=["recipient", "sent_at"], name="cybs_delivery_sent"),
        ),
        migrations.AddIndex(
            model_name="expiryalert",
            index=models.Index(fields=["resolved_at", "ends"], name="cybs_alert_open"),
        ),
    ]

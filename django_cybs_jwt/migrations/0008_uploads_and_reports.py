from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("cybs_jwt", "0007_newest_keys_first"),
    ]

    operations = [
        migrations.AddField(
            model_name="credential",
            name="contents",
            field=models.JSONField(default=dict, editable=False),
        ),
        migrations.AddField(
            model_name="credential",
            name="verify_report",
            field=models.TextField(blank=True, editable=False, verbose_name="why it was refused"),
        ),
        migrations.AddField(
            model_name="credential",
            name="verify_requested_by",
            field=models.CharField(blank=True, editable=False, max_length=150),
        ),
    ]

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("cybs_jwt", "0015_what_waits"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="credential",
            index=models.Index(fields=["verify_requested_at"], name="cybs_key_marked"),
        ),
    ]

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("cybs_jwt", "0016_marked_keys"),
    ]

    operations = [
        migrations.AlterField(
            model_name="alertrecipient",
            name="organization",
            field=models.ForeignKey(
                blank=True,
                help_text="Only this organization and what stands under it; empty: everything.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="alert_recipients",
                to="cybs_jwt.organization",
                verbose_name="organization",
            ),
        ),
        migrations.AlterField(
            model_name="approval",
            name="credential",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="approvals",
                to="cybs_jwt.credential",
                verbose_name="credential",
            ),
        ),
        migrations.AlterField(
            model_name="credential",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="credentials",
                to="cybs_jwt.organization",
                verbose_name="organization",
            ),
        ),
        migrations.AlterField(
            model_name="credential",
            name="slot",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="credentials",
                to="cybs_jwt.keyslot",
                verbose_name="slot",
            ),
        ),
        migrations.AlterField(
            model_name="expiryalert",
            name="organization",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="alerts",
                to="cybs_jwt.organization",
                verbose_name="organization",
            ),
        ),
        migrations.AlterField(
            model_name="gatewaycertificate",
            name="organization",
            field=models.ForeignKey(
                blank=True,
                help_text="Empty: serves every organization of the host.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="gateway_certificates",
                to="cybs_jwt.organization",
                verbose_name="organization",
            ),
        ),
        migrations.AlterField(
            model_name="keyslot",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="slots",
                to="cybs_jwt.organization",
                verbose_name="organization",
            ),
        ),
        migrations.AlterField(
            model_name="keyuse",
            name="credential",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="uses",
                to="cybs_jwt.credential",
                verbose_name="credential",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="children",
                to="cybs_jwt.organization",
                verbose_name="parent",
            ),
        ),
        migrations.AlterField(
            model_name="outboundrequest",
            name="organization",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="requests",
                to="cybs_jwt.organization",
                verbose_name="organization",
            ),
        ),
    ]

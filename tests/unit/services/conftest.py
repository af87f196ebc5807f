from __future__ import annotations

import pytest
from django.db.models import QuerySet

from django_cybs_jwt.models import AuditHead, KeyEvent


@pytest.fixture
def fresh_chain(db: None) -> None:
    """An empty audit chain: refusals outlive a rolled back test where the database has them."""
    QuerySet(KeyEvent).delete()  # the model's own manager refuses
    AuditHead.objects.all().delete()

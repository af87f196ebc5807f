from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db.models import QuerySet

from django_cybs_jwt.models import AuditHead, KeyEvent
from tests.unit.services.receiver import Receiver


@pytest.fixture
def fresh_chain(db: None) -> None:
    """An empty audit chain: refusals outlive a rolled back test where the database has them."""
    QuerySet(KeyEvent).delete()  # the model's own manager refuses
    AuditHead.objects.all().delete()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook that listens."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)

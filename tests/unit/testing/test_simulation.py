"""What the fixtures give to a host project's suite, here and in a suite of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from django_cybs_jwt import conf, cybs
from django_cybs_jwt.exceptions import ApprovalRequired
from django_cybs_jwt.models import Approval
from django_cybs_jwt.services import rotation
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.enrolment import HOST

PATH = "/pts/v2/payments"
PAYMENT = {"orderInformation": {"amountDetails": {"totalAmount": "1.00", "currency": "EUR"}}}
ROOT = Path(__file__).parents[3]


# Four eyes


@pytest.fixture
def two_people(settings: Any) -> None:
    settings.CYBS_JWT = {"FOUR_EYES": True}


@pytest.mark.parametrize("signs_with", ["p12", "shared_secret"])
def test_a_merchant_is_enrolled_where_the_project_asks_for_two_people(
    two_people: None, cybs_simulator: Simulation, signs_with: str
) -> None:
    cybs_simulator.merchant("acme", signs_with=signs_with)
    assert cybs.send("acme", "POST", PATH, json=PAYMENT).status_code == 201
    assert not Approval.objects.exists()


def test_what_the_test_does_itself_still_takes_two_people(
    two_people: None, cybs_simulator: Simulation
) -> None:
    owner = cybs_simulator.merchant("acme", signs_with=None)
    staged = cybs_simulator.import_shared_secret(owner, activate=False)
    assert conf.current().FOUR_EYES
    with pytest.raises(ApprovalRequired):
        rotation.activate(staged, actor="anna", now=timezone.now())


# A client of one's own


def test_a_client_of_ones_own_reaches_the_simulator_by_its_transport(
    cybs_simulator: Simulation,
) -> None:
    cybs_simulator.merchant("acme")
    url = f"https://{HOST}{PATH}"
    auth = cybs.auth("acme")
    with httpx.Client(auth=auth, transport=cybs_simulator.transport) as client:
        response = client.post(url, json=PAYMENT)
    assert json.loads(cybs.decrypt("acme", response.content))["status"] == "AUTHORIZED"

    async def call() -> bytes:
        signed = await cybs.asign("acme", "POST", PATH, json.dumps(PAYMENT).encode())
        async with httpx.AsyncClient(transport=cybs_simulator.transport) as client:
            response = await client.request(
                signed.method, signed.url, headers=signed.headers, content=signed.body
            )
        return await cybs.adecrypt("acme", response.content)

    assert json.loads(async_to_sync(call)())["status"] == "AUTHORIZED"
    assert len(cybs_simulator.ledger) == 2


# A suite of its own

SETTINGS = """
SECRET_KEY = "host"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_cybs_jwt"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:",
                         "OPTIONS": {"transaction_mode": "IMMEDIATE"}}}
CYBS_JWT = {"FOUR_EYES": True}
"""

SUITE = """
import asyncio

import pytest

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.services import opened_keys, signing

PAYMENT = {"orderInformation": {"amountDetails": {"totalAmount": "1.00", "currency": "EUR"}}}


def pay():
    return cybs.asend("acme", "POST", "/pts/v2/payments", json=PAYMENT)


def test_1_checkout(cybs_simulator):
    cybs_simulator.merchant("acme")
    assert cybs.send("acme", "POST", "/pts/v2/payments", json=PAYMENT).status_code == 201
    assert opened_keys._entries


@pytest.mark.django_db
def test_2_without_the_fixture_nothing_is_left():
    assert not opened_keys._entries
    assert not signing._cache.assembled
    with pytest.raises(CybsError):
        cybs.keys_for("acme")


@pytest.mark.django_db(transaction=True)
def test_3_a_coroutine_sees_what_is_committed(cybs_simulator):
    cybs_simulator.merchant("acme", signs_with="shared_secret")
    assert asyncio.run(pay()).status_code == 201
"""


@pytest.mark.alone
def test_a_host_projects_suite_runs_with_these_fixtures(tmp_path: Path) -> None:
    (tmp_path / "host_settings.py").write_text(SETTINGS)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["django_cybs_jwt.testing.plugin"]\n')
    (tmp_path / "test_host.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, "--ds=host_settings", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 passed" in ended.stdout

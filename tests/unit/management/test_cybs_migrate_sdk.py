"""cybs_migrate_sdk: members by name, never by value; STAGED unless told otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from django_cybs_jwt.models import Credential, KeyEvent
from django_cybs_jwt.testing import material
from tests.unit.management.running import Ended, run
from tests.unit.services.enrolment import HOST

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]

SECRET = material.shared_secret().secret
GOOD = {
    "merchantid": "acme",
    "run_environment": HOST,
    "authentication_type": "http_signature",
    "merchant_keyid": "k-1",
    "merchant_secretkey": SECRET,
    "use_proxy": False,
    "proxy_address": "http://Tr0ub4dor",
}


def migrate(folder: Path, content: Any, *more: str) -> Ended:
    path = folder / "cybs.json"
    path.write_text(json.dumps(content))
    return run("cybs_migrate_sdk", str(path), *more)


def test_it_says_what_it_took_and_what_it_left(tmp_path: Path) -> None:
    ended = migrate(tmp_path, {"test": GOOD}, "--user", "alice")
    used = "authentication_type, merchant_keyid, merchant_secretkey, merchantid, run_environment"
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"test: acme@{HOST} imported.",
        "  signing shared_secret k-1, HS256: imported, STAGED",
        f"  used: {used}",
        "  ignored: proxy_address, use_proxy",
        "  note: proxy_address: CYBS_JWT['PROXY'] names a proxy.",
        "  note: No end is stored: a shared secret carries none.",
    ]
    assert Credential.objects.get().uploaded_by == "alice"


def test_a_meta_keys_owner_is_named(tmp_path: Path) -> None:
    ended = migrate(tmp_path, GOOD | {"use_metakey": True, "portfolio_id": "mall"})
    assert ended.out.splitlines()[:2] == [
        f"1: acme@{HOST} imported.",
        "  keys belong to mall",
    ]


def test_json_has_one_object_a_configuration(tmp_path: Path) -> None:
    (report,) = migrate(tmp_path, GOOD, "--json").json
    assert (report["name"], report["outcome"], report["error"]) == ("1", "imported", "")
    assert (report["organization"], report["owner"], report["host"]) == ("acme", "acme", HOST)
    assert report["keys"] == [
        {
            "purpose": "signing",
            "kind": "shared_secret",
            "key_id": "k-1",
            "algorithm": "HS256",
            "outcome": "imported",
            "state": "STAGED",
        }
    ]
    assert report["ignored"] == ["proxy_address", "use_proxy"]


def test_only_activate_activates(tmp_path: Path) -> None:
    (report,) = migrate(tmp_path, GOOD, "--activate", "--json").json
    assert report["keys"][0]["state"] == "ACTIVE"


def test_a_dry_run_stores_nothing(tmp_path: Path) -> None:
    ended = migrate(tmp_path, GOOD, "--dry-run")
    assert ended.code == 0
    assert f"1: acme@{HOST} importable." in ended.out
    assert not Credential.objects.exists()
    assert not KeyEvent.objects.exists()


def test_a_refused_configuration_ends_with_1_and_the_rest_goes_on(tmp_path: Path) -> None:
    ended = migrate(tmp_path, [{"merchantid": "x"}, GOOD])
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "1: refused. run_environment is missing."
    assert Credential.objects.count() == 1


@pytest.mark.parametrize("content", [[], {"x": 1}, "text"])
def test_a_file_without_a_configuration_ends_with_2(tmp_path: Path, content: Any) -> None:
    ended = migrate(tmp_path, content)
    assert (ended.code, ended.out) == (2, "")
    assert "no SDK configuration" in ended.err


def test_no_value_is_printed(tmp_path: Path) -> None:
    for more in ([], ["--json"], ["--dry-run"]):
        wrong = GOOD | {"run_environment": "Tr0ub4dor"}
        ended = migrate(tmp_path, [GOOD, wrong], *more)
        assert SECRET not in ended.out + ended.err
        assert "Tr0ub4dor" not in ended.out + ended.err

"""Each runbook of docs/key-ring.md does what it promises, step by step as it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import django_cybs_jwt
from django_cybs_jwt import conf
from django_cybs_jwt.models import Credential
from django_cybs_jwt.sealing import KeyRing, kek_id_of, open_blob, ring_file, seal
from django_cybs_jwt.services import signing
from django_cybs_jwt.services.sealed import proof
from django_cybs_jwt.services.sealed.columns import TABLES
from django_cybs_jwt.testing import material
from tests.unit.management.running import Ended, run
from tests.unit.services import enrolment
from tests.unit.services.sealed_keys import SEALED, blobs, key

pytestmark = pytest.mark.django_db

PAGE = Path(django_cybs_jwt.__file__).parents[1] / "docs" / "key-ring.md"
RESTART = "restart every process"


@pytest.fixture(autouse=True)
def file(settings: Any, tmp_path: Path, cybs_ring: dict[str, Any]) -> Path:
    path = tmp_path / "keyring.json"
    settings.CYBS_JWT = {"KEYRING_FILE": str(path)}
    run("cybs_keyring", "generate", "2026-11-22")
    for number in range(3):
        key(f"m{number}")
    return path


def steps(section: str) -> list[str]:
    """The lines of the first console block under a heading."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    block = re.search(r"```console\n(.*?)```", text, re.S)
    assert block is not None, section
    return block[1].splitlines()


def follow(section: str) -> Iterator[tuple[str, Ended | None]]:
    """Run the commands one by one; a restart makes this process read the ring anew."""
    for line in steps(section):
        if RESTART in line:
            conf.forget_keyring()
            signing.forget()
        command = re.match(r"\$ manage\.py (.*)", line)
        yield line, run(*command[1].split()) if command else None


def opens_all(ring: KeyRing) -> bool:
    """What is sealed now opens in a process that has this ring."""
    for row in Credential.objects.all():
        for name in SEALED:
            blob = getattr(row, name)
            if blob is not None:
                open_blob(blob, context=TABLES[0].context(row, name), ring=ring)
    return True


def understand_each_other(one: KeyRing, other: KeyRing) -> bool:
    """What either seals from now on, the other opens."""
    context = TABLES[0].context(Credential.objects.all()[0], "sealed_secret")
    for sealing, opening in ((one, other), (other, one)):
        open_blob(seal(b"x", context=context, ring=sealing), context=context, ring=opening)
    return True


def keks() -> set[str]:
    return set(map(kek_id_of, blobs().values()))


def test_a_rotation_disturbs_no_process_that_has_not_restarted_yet(file: Path) -> None:
    """Until a restart is over, some processes have the ring as it was at the one before."""
    running = ring_file.read(file)
    for line, ended in follow("Rotate"):
        newest = ring_file.read(file)
        assert ended is None or ended.code == 0 or "doctor" in line, ended.err
        assert opens_all(running), line
        assert opens_all(newest), line
        if RESTART in line:
            assert understand_each_other(running, newest), line
            running = newest
    assert keks() == {"2027-11-22"}
    assert conf.keyring().status("2026-11-22") == "blocked"
    assert list(proof.prove().findings()) == []
    assert signing.keys_for("m0")


def test_after_a_leak_nothing_opens_with_the_leaked_key_and_every_key_is_replaced(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaked = ring_file.read(file)
    for _, ended in follow("A key-encryption key has leaked"):
        assert ended is None or ended.code == 0, ended.err
    with pytest.raises(Exception, match="not in the ring"):
        opens_all(leaked)

    for old in list(Credential.objects.all()):
        fresh = replacement(monkeypatch, old.organization.org_id)
        rotate = ("cybs_rotate", old.organization.org_id, "--purpose", "signing")
        by_force = ("--to", fresh, "--overlap", "now", "--force", "--reason", "leak")
        assert run(*rotate, *by_force).code == 0
        assert run("cybs_keys", "compromise", str(old.pk), "--reason", "leak").code == 0

    states = Credential.objects.order_by("state").values_list("state", flat=True)
    assert list(states) == ["ACTIVE"] * 3 + ["COMPROMISED"] * 3
    assert list(proof.prove().findings()) == []


def test_after_the_ring_is_lost_every_key_can_be_imported_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor = run("cybs_audit", "verify", "--json").json["anchor"]
    file.unlink()
    conf.forget_keyring()
    for line, ended in follow("The ring is lost"):
        if "doctor" in line:
            assert ended is not None
            assert "6 secrets need it" in ended.out
        else:
            assert ended is None or ended.code == 0, ended.err

    for lost in list(Credential.objects.all()):
        org_id, kid = lost.organization.org_id, lost.key_id
        for verb in ("retire", "destroy"):
            assert run("cybs_keys", verb, str(lost.pk), "--reason", "ring lost").code == 0
        fresh = replacement(monkeypatch, org_id, kid)
        rotate = ("cybs_rotate", org_id, "--purpose", "signing", "--to", fresh)
        assert run(*rotate, "--force", "--reason", "ring lost").code == 0
        assert signing.keys_for(org_id).signing.kid == kid

    assert list(proof.prove().findings()) == []
    assert run("cybs_audit", "verify").code == 1
    assert run("cybs_audit", "verify", "--anchor", anchor, "--from-anchor").code == 0


def replacement(monkeypatch: pytest.MonkeyPatch, org_id: str, kid: str = "") -> str:
    """The id of a newly imported shared secret."""
    new = material.shared_secret()
    monkeypatch.setenv("SECRET", new.secret)
    ended = run(
        "cybs_import", org_id, "--shared-secret", "--key-id", kid or new.key_id,
        "--secret-env", "SECRET", "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return str(ended.json["id"])


def test_a_restored_database_opens_with_todays_ring_and_is_moved_again(file: Path) -> None:
    before = blobs()
    list(follow("Rotate"))
    run("cybs_keyring", "unblock", "2026-11-22")
    for (pk, name), blob in before.items():
        enrolment.change(Credential.objects.get(pk=pk), **{name: blob})

    found = [ended for _, ended in follow("Restore a backup") if ended is not None]

    assert "rewrap: 2026-11-22" in found[0].out
    assert found[1].code == 0
    assert keks() == {"2027-11-22"}
    assert list(proof.prove().findings()) == []

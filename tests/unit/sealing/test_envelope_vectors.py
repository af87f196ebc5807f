from __future__ import annotations

import base64
import hashlib
import json
import runpy
from pathlib import Path
from uuid import UUID

import pytest

from django_cybs_jwt.sealing import Context, KeyRing, open_blob
from tests.unit.sealing import spec_envelope

FOLDER = Path(__file__).parents[2] / "vectors"
FROZEN = json.loads((FOLDER / "envelope_v1.json").read_text(encoding="ascii"))
VECTORS = FROZEN["vectors"]
KEYS = {name: hashlib.sha256(text.encode()).digest() for name, text in FROZEN["labels"].items()}

every_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])


def facts(vector):
    stored = vector["context"]
    return stored | {"owner": UUID(stored["owner"]), "row": UUID(stored["row"])}


def frozen_ring():
    text = {name: base64.b64encode(key).decode() for name, key in KEYS.items()}
    audit_key, index_key = text.pop("audit_key"), text.pop("index_key")
    keys = {kek_id: {"key": key, "status": "enabled"} for kek_id, key in text.items()}
    return KeyRing.from_mapping(
        {"primary": "2026-11", "keys": keys, "index_key": index_key, "audit_key": audit_key}
    )


def test_there_are_at_least_twenty_different_vectors():
    assert len({vector["blob"] for vector in VECTORS}) >= 20


@every_vector
def test_a_second_implementation_opens_the_vector(vector):
    blob = base64.b64decode(vector["blob"])

    plaintext = spec_envelope.read(
        blob, KEYS[vector["kek_id"]], spec_envelope.context(**facts(vector))
    )

    assert base64.b64encode(plaintext).decode() == vector["plaintext"]


@every_vector
def test_the_package_opens_the_vector(vector):
    blob = base64.b64decode(vector["blob"])

    plaintext = open_blob(blob, context=Context(**facts(vector)), ring=frozen_ring())

    assert base64.b64encode(plaintext).decode() == vector["plaintext"]


def test_derived_keys_are_the_ones_of_plain_hkdf():
    def derived(name, label, length=32):
        return spec_envelope.hkdf(KEYS[name], bytes(64), b"cybs_jwt:" + label, length).hex()

    frozen = FROZEN["derived"]

    assert frozen["audit_key"] == derived("audit_key", b"audit")
    for purpose, value in frozen["index_key"].items():
        assert value == derived("index_key", b"index:" + purpose.encode())
    for kek_id, value in frozen["fingerprint"].items():
        assert value == derived(kek_id, b"fingerprint", 8)


def test_the_package_derives_the_frozen_keys():
    ring, frozen = frozen_ring(), FROZEN["derived"]

    assert ring.audit_key().hex() == frozen["audit_key"]
    assert {kek_id: ring.fingerprint(kek_id) for kek_id in ring.ids()} == frozen["fingerprint"]
    assert {p: ring.index_key(p).hex() for p in frozen["index_key"]} == frozen["index_key"]


def test_the_script_writes_the_frozen_file_again():
    script = runpy.run_path(str(FOLDER / "make_envelope_vectors.py"))

    assert script["text"]() == script["FILE"].read_text(encoding="ascii")

"""One call through the official Python SDK; it runs under the SDK's own interpreter.

A job comes as JSON on stdin, the outcome leaves as JSON on stdout: status, the body that the SDK
hands to its caller, and whether the SDK decrypted it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    job = json.load(sys.stdin)
    # The SDK prints to stdout; the outcome must stand there alone.
    with contextlib.redirect_stdout(sys.stderr):
        outcome = call(job)
    json.dump(outcome, sys.stdout)


def call(job: dict[str, Any]) -> dict[str, Any]:
    if job.get("ca_bundle"):
        _trust(job["ca_bundle"])
    # `authenticationsdk` cannot be imported before `CyberSource`.
    from CyberSource import PaymentsApi, TransactionDetailsApi
    from CyberSource.rest import ApiException

    settings, decrypted = configuration(job), _watch_decryption()
    try:
        if "payment" in job:
            api = PaymentsApi(settings)
            _, status, body = api.create_payment(json.dumps(job["payment"]), _request_timeout=30)
        else:
            api = TransactionDetailsApi(settings)
            _, status, body = api.get_transaction(job["transaction"], _request_timeout=30)
    except ApiException as error:
        status, body = error.status, error.body
    return {"status": status, "body": json.loads(body), "decrypted": bool(decrypted)}


def configuration(job: dict[str, Any]) -> dict[str, Any]:
    """The SDK's settings; no boolean among them, as with its log off it fails on one."""
    settings = {
        "authentication_type": "jwt",
        "merchantid": job["org_id"],
        # The name in the token, and the address that is called in its place.
        "run_environment": job["host"],
        "IntermediateHost": job["base_url"],
        "mapToControlMLEonAPI": {
            "create_payment": f"{job['request_mle']}::{job['response_mle']}".lower(),
        },
        **_signing(job["key"]),
    }
    if "portfolio" in job:
        settings |= {"use_metakey": "true", "portfolio_id": job["portfolio"]}
    settings["key_alias"] = job.get("portfolio", job["org_id"])
    if "gateway_certificate" in job:
        settings["mleForRequestPublicCertPath"] = job["gateway_certificate"]
    return settings | _response(job.get("response_key"))


def _signing(key: dict[str, str]) -> dict[str, str]:
    if key["type"] == "SHARED_SECRET":
        return {
            "jwt_key_type": "SHARED_SECRET",
            "merchant_keyid": key["key_id"],
            "merchant_secretkey": key["secret"],
        }
    # The directory and the name without its extension: a P12 is always a file.
    path = Path(key["file"])
    return {
        "jwt_key_type": "P12",
        "keys_directory": str(path.parent),
        "key_file_name": path.stem,
        "key_password": key["password"],
    }


def _response(key: dict[str, str] | None) -> dict[str, str]:
    if key is None:
        return {}
    settings = {
        "responseMlePrivateKeyFilePath": key["file"],
        "responseMlePrivateKeyFilePassword": key["password"],
    }
    return settings | ({"responseMleKID": key["kid"]} if "kid" in key else {})


def _watch_decryption() -> list[str]:
    """Replies that the SDK opens from now on."""
    from authenticationsdk.util.MLEUtility import MLEUtility

    opened: list[str] = []
    decrypt = MLEUtility.decrypt_mle_response_payload

    def watched(settings: object, body: str) -> str:
        plain = decrypt(settings, body)
        opened.append(plain)
        return plain

    MLEUtility.decrypt_mle_response_payload = staticmethod(watched)
    return opened


def _trust(ca_bundle: str) -> None:
    """The SDK trusts certifi's bundle and has no setting for another one."""
    import certifi

    certifi.where = lambda: ca_bundle


if __name__ == "__main__":
    main()

"""The official SDK's own functions, timed; it runs under the SDK's own interpreter.

The first line on stdin is the job; each later one names a part and how often to run it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

WARM_UP = 5
DISTRIBUTIONS = ("cybersource-rest-client-python", "jwcrypto", "cryptography")


def main() -> None:
    answers = sys.stdout
    # The SDK prints; the answers stand on stdout alone.
    with contextlib.redirect_stdout(sys.stderr):
        parts = _parts(json.loads(sys.stdin.readline()))
        for action in parts.values():
            _times(action, WARM_UP)
        # Named as the SDK's, as the other side has a cryptography too.
        versions = {f"SDK: {name}": version(name) for name in DISTRIBUTIONS}
        print(json.dumps(versions), file=answers, flush=True)
        for line in sys.stdin:
            question = json.loads(line)
            times = _times(parts[question["part"]], question["times"])
            print(json.dumps(times), file=answers, flush=True)


def _parts(job: dict[str, Any]) -> dict[str, Callable[[], object]]:
    # `authenticationsdk` cannot be imported before `CyberSource`.
    import CyberSource  # noqa: F401
    from authenticationsdk.jwt.Token import JwtSignatureToken
    from authenticationsdk.util.MLEUtility import MLEUtility

    p12, shared = _configuration(_p12(job)), _configuration(_shared_secret(job))
    replies = [json.dumps({"encryptedResponse": token}) for token in job["replies"]]
    turns = itertools.cycle(replies)

    def token(configuration: Any) -> str:
        made = JwtSignatureToken()
        made.jwt_signature_token(configuration, "", "POST", job["path"], job["body"])
        return str(made.get_token())

    def decrypt() -> str:
        return str(MLEUtility.decrypt_mle_response_payload(p12, next(turns)))

    assert decrypt() == job["body"]
    return {
        "p12_token": lambda: token(p12),
        "shared_secret_token": lambda: token(shared),
        "encryption": lambda: MLEUtility.encrypt_request_payload(p12, job["body"]),
        "decryption": decrypt,
    }


def _configuration(settings: dict[str, Any]) -> Any:
    from authenticationsdk.core.MerchantConfiguration import MerchantConfiguration

    configuration = MerchantConfiguration()
    configuration.set_merchantconfig(settings)
    configuration.validate_merchant_details(settings)
    return configuration


def _p12(job: dict[str, Any]) -> dict[str, Any]:
    path = Path(job["p12"])
    return {
        **_common(job),
        "jwt_key_type": "P12",
        "key_alias": job["org_id"],
        "key_password": job["password"],
        "keys_directory": str(path.parent),
        "key_file_name": path.stem,
        "responseMlePrivateKeyFilePath": job["p12"],
        "responseMlePrivateKeyFilePassword": job["password"],
    }


def _shared_secret(job: dict[str, Any]) -> dict[str, Any]:
    return {
        **_common(job),
        "jwt_key_type": "SHARED_SECRET",
        "merchant_keyid": job["key_id"],
        "merchant_secretkey": job["secret"],
    }


def _common(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "authentication_type": "jwt",
        "merchantid": job["org_id"],
        "run_environment": job["host"],
        "mleForRequestPublicCertPath": job["gateway_certificate"],
    }


def _times(action: Callable[[], object], times: int) -> list[int]:
    measured = []
    for _ in range(times):
        start = time.perf_counter_ns()
        action()
        measured.append(time.perf_counter_ns() - start)
    return measured


if __name__ == "__main__":
    main()

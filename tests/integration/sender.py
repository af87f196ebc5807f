"""Send payments without pause until SIGTERM, then print what happened. A process of the tests.

It says `sending` after the first, and then each key it signs or opens with, and each failure,
when that is another than before.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from typing import Any

import django


def main(org_id: str) -> None:
    django.setup()
    from django_cybs_jwt import cybs
    from django_cybs_jwt.exceptions import CybsError

    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    keys: Counter[str] = Counter()
    kids: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    last_success = 0.0
    number = 0
    told: dict[str, str] = {}

    def tell(what: str, value: str) -> None:
        if told.get(what) != value:
            told[what] = value
            print(value, flush=True)

    while not stopping:
        number += 1
        try:
            reply = cybs.send(org_id, "POST", "/pts/v2/payments", json=payment(number))
        except CybsError as error:
            failures[type(error).__name__] += 1
            tell("failure", type(error).__name__)
            time.sleep(0.02)
            continue
        if reply.status_code == 201 and reply.encrypted:
            keys[reply.key_id] += 1
            kids[str(reply.exchange.response_kid)] += 1
            last_success = time.time()
            tell("state", "sending")
            tell("signed by", reply.key_id)
            tell("opened by", str(reply.exchange.response_kid))
        else:
            failures[f"HTTP {reply.status_code}"] += 1
    print(
        json.dumps(
            {
                "sent": keys.total(),
                "failures": failures,
                "signed_by": keys,
                "opened_by": kids,
                "last_success": last_success,
            }
        )
    )


def payment(number: int) -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": f"{number}"},
        "orderInformation": {"amountDetails": {"totalAmount": "1.00", "currency": "USD"}},
    }


if __name__ == "__main__":
    main(sys.argv[1])

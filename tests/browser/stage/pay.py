"""Pay for one merchant without pause until standard input ends; then tell how it went.

It says `paying` after the first, and each key that signs when it is another than before.
"""

from __future__ import annotations

import json
import select
import sys
from collections import Counter

import django

PAUSE = 0.01  # seconds; the browser wants a processor too


def main(merchant: str) -> None:
    django.setup()
    from django_cybs_jwt import cybs
    from django_cybs_jwt.exceptions import CybsError
    from django_cybs_jwt.services import usage

    sent: Counter[str] = Counter()
    failed: list[str] = []
    key = ""
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        body = {
            "clientReferenceInformation": {"code": f"{merchant}-{sent.total()}"},
            "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "EUR"}},
        }
        try:
            reply = cybs.send(merchant, "POST", "/pts/v2/payments", json=body)
            sent[reply.raise_for_status().key_id] += 1
        except CybsError as error:
            failed.append(str(error))
            continue
        if not key:
            print("paying", flush=True)
        if key != reply.key_id:
            key = reply.key_id
            print(key, flush=True)
    usage.flush()
    print(json.dumps({"sent": sent, "failed": failed}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

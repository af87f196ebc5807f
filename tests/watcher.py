"""Ask for acme's key all the time and tell when it changes. A process of the tests.

`python -m tests.watcher [testing-ring]`: with the settings of its environment, or the tests' ring.
"""

from __future__ import annotations

import json
import sys
import time

import django
from django.conf import settings


def main(*options: str) -> None:
    if "testing-ring" in options:
        from django_cybs_jwt.testing.ring import testing_ring

        settings.CYBS_JWT = {"KEYRING": testing_ring()}
    django.setup()
    last = None
    while True:
        now = key_of_acme()
        if now != last:
            last = now
            print(json.dumps([time.time(), now]), flush=True)
        time.sleep(0.01)


def key_of_acme() -> str:
    from django_cybs_jwt.exceptions import CybsError
    from django_cybs_jwt.services import signing

    try:
        return signing.keys_for("acme").signing.kid
    except CybsError as error:
        return type(error).__name__


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One of several processes that change the same slot; it runs as a file.

Arguments: `activate`, `rotate`, `rotate-now` or `compromise`, and a key's id. Looks at the slot,
says "ready", waits for a line, does it, and prints "done" or the refusal's class.
"""

from __future__ import annotations

import sys
from datetime import timedelta


def main(verb: str, credential_id: str) -> str:
    import django
    from django.test import override_settings
    from django.utils import timezone

    django.setup()
    from django_cybs_jwt.exceptions import CybsError
    from django_cybs_jwt.models import Credential
    from django_cybs_jwt.services import rotation, withdrawal
    from django_cybs_jwt.testing.ring import testing_ring

    key = Credential.objects.select_related("organization", "slot").get(pk=credential_id)
    seen = rotation.active_id(key.slot, now=timezone.now())
    print("ready", flush=True)
    sys.stdin.readline()
    now = timezone.now()
    with override_settings(CYBS_JWT={"KEYRING": testing_ring()}):
        try:
            if verb == "activate":
                rotation.activate(key, actor="racer", now=now)
            elif verb == "compromise":
                withdrawal.compromise(key, actor="racer", now=now, reason="race")
            else:
                overlap = timedelta(0) if verb == "rotate-now" else timedelta(hours=1)
                rotation.rotate(key, actor="racer", now=now, overlap=overlap, replaces=seen)
        except CybsError as error:
            return type(error).__name__
        return "done"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))

"""One of several processes that want the same approval; it runs as a file.

Arguments: `use` or `request`, and the key's id. Says "ready", waits for a line, tries, and prints
what came of it: "used", "refused", or the id of the request.
"""

from __future__ import annotations

import sys


def main(mode: str, credential_id: str) -> str:
    import django
    from django.db import transaction
    from django.test import override_settings
    from django.utils import timezone

    django.setup()
    from django_cybs_jwt.exceptions import ApprovalRequired
    from django_cybs_jwt.models import Credential
    from django_cybs_jwt.services import approvals
    from django_cybs_jwt.testing.ring import testing_ring

    key = Credential.objects.select_related("organization").get(pk=credential_id)
    print("ready", flush=True)
    sys.stdin.readline()
    with override_settings(CYBS_JWT={"KEYRING": testing_ring(), "FOUR_EYES": True}):
        if mode == "request":
            return str(approvals.request("export", key, actor="alice", now=timezone.now()).pk)
        try:
            with transaction.atomic():
                approvals.require("export", key, now=timezone.now())
        except ApprovalRequired:
            return "refused"
        return "used"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))

"""The words for what is done: rows hold the English one, which commands and exports take too.

Whoever shows an action says `Text(row.action)`; what it says is here, for translators.
"""

from __future__ import annotations

from typing import Final

from django_cybs_jwt.texts import Text

OF_KEYS: Final = (
    Text("import"),
    Text("verify"),
    Text("activate"),
    Text("supersede"),
    Text("schedule"),
    Text("unschedule"),
    Text("roll-back"),
    Text("retire"),
    Text("suspend"),
    Text("resume"),
    Text("compromise"),
    Text("destroy"),
    Text("discard"),
    Text("release"),
    Text("export"),
    Text("cover"),
    Text("uncover"),
    Text("choose"),
    Text("gateway-cert"),
)
OF_ORGANIZATIONS: Final = (
    Text("add"),
    Text("disable"),
    Text("response-mle"),
    Text("offboard"),
)
OF_PEOPLE: Final = (
    Text("request-approval"),
    Text("approve"),
    Text("reject"),
    Text("break-glass"),
    Text("limit-user"),
    Text("lift-limit"),
)
OF_ALERTS: Final = (
    Text("ack-alert"),
    Text("snooze-alert"),
    Text("add-recipient"),
    Text("remove-recipient"),
    Text("test-recipient"),
)
OF_REQUESTS: Final = (
    Text("cancel-request"),
    Text("retry-request"),
    Text("reconcile-request"),
    Text("settle-request"),
    Text("cancel"),
    Text("settle"),
    Text("reconcile"),
)
OF_THE_STORE: Final = (
    Text("kek-generate"),
    Text("kek-add"),
    Text("kek-promote"),
    Text("kek-block"),
    Text("kek-unblock"),
    Text("rewrap-begin"),
    Text("rewrap-end"),
    Text("audit-verify"),
    Text("audit-export"),
)
KNOWN: Final = frozenset(
    (*OF_KEYS, *OF_ORGANIZATIONS, *OF_PEOPLE, *OF_ALERTS, *OF_REQUESTS, *OF_THE_STORE)
)

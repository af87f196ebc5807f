"""One use case a file, plain functions. The only writers of models.

A key's life: `inspection`, `importing`, `keys`, `lifecycle`, `verification`, `rotation`,
`withdrawal`.
Whose key it is: `organizations`, `coverage`, `choosing`, `resolution`, `gateway_certificates`.
A message now: `signing`, `opened_keys`, `sending`, `usage`; one that must not be lost: `queue`.
What ends when, and who is told: `expiry`, `alerts`, `readiness`, `ticking`.
What people look at: `overview`, `doctor`, `metrics`; who may: `permissions`, `scope`, `approvals`.
What was done: `audit`. Secrets where they stand: `sealed`. Many keys at once: `migration`.
"""

from __future__ import annotations

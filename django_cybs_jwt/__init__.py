"""Keys, JWT v2 and message-level encryption for many merchants.

cybs         the public face: client, send, enqueue, submit, sign, decrypt, keys_for, auth
exceptions   every error, in one tree
protocol     the message on the wire: bytes in, bytes out
sealing      secrets at rest
tracebacks   failures that forget what they knew
client       httpx clients that seal requests and open replies; works without Django
simulator    a gateway on this machine that verifies and refuses like the real one
services     one use case a file; the only writers of models
models, admin, checks, management   the Django side
testing      pytest fixtures and key material for your own suite
"""

from __future__ import annotations

__version__ = "0.1.0"

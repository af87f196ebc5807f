"""What a host project may listen to. Receivers run after commit and may be called twice."""

from __future__ import annotations

from django.dispatch import Signal

break_glass_used = Signal()
"""An approval was granted by one person alone: approval, actor, reason."""

key_ends_soon = Signal()
"""An expiry alert is due: alert, recipients. Sent by the channel of the same purpose."""

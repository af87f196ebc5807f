"""How fast a message is made and opened: ours, bare cryptography and the official SDK.

`python -m benchmarks` runs it; README.md says what it measures.
"""

from __future__ import annotations

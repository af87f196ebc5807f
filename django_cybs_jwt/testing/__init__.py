"""For your own test suite: `pytest_plugins = ["django_cybs_jwt.testing.plugin"]`.

material     keys and key files made in memory
ring         a published key ring, for tests only
simulation   an in-process gateway and merchants that it knows
plugin       the pytest fixtures around them
"""

from __future__ import annotations

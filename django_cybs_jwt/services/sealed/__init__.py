"""Sealed secrets where they stand: every column that holds one, the ring, and the way between."""

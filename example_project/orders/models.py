"""What the platform sells, for which of its merchants."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    """One order of one merchant; card data is never stored."""

    merchant = models.CharField(max_length=60)
    code = models.CharField(max_length=50, unique=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(max_length=3, default="USD")
    status = models.CharField(max_length=40, default="NEW")
    gateway_id = models.CharField(max_length=40, blank=True)

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.code

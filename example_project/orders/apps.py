"""The platform's shop: hears how its queued payments ended."""

from __future__ import annotations

from django.apps import AppConfig

from django_cybs_jwt.signals import request_ended


class OrdersConfig(AppConfig):
    name = "orders"

    def ready(self) -> None:
        from orders.payments import close  # models exist from here on

        request_ended.connect(close, dispatch_uid="orders.close")

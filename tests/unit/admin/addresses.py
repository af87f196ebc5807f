"""Every address of this app's admin, taken from the URLs themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite, site
from django.db.models import Model
from django.urls import URLPattern

from django_cybs_jwt.admin.screens import Screen

LABEL = "cybs_jwt"


@dataclass(frozen=True)
class Address:
    """One URL pattern of a model's admin; *screen* is the class of ours that answers it."""

    model: type[Model]
    page: str
    of_row: bool
    screen: type[Screen] | None

    @property
    def name(self) -> str:
        return f"{self.model._meta.model_name}_{self.page}"


def addresses(of: AdminSite = site) -> list[Address]:
    return [
        Address(
            model=model,
            page=page_of(pattern, model),
            of_row="object_id" in str(pattern.pattern),
            screen=screens(of, model).get(page_of(pattern, model)),
        )
        for model, admin in sorted(of._registry.items(), key=lambda item: item[0].__name__)
        if model._meta.app_label == LABEL
        for pattern in admin.get_urls()
        if pattern.name
    ]


def screens(of: AdminSite, model: type[Model]) -> dict[str, type[Screen]]:
    from django_cybs_jwt.admin.password import PasswordScreen

    own: Any = of.get_model_admin(model)
    return {screen.name: screen for screen in (*own.screens, PasswordScreen)}


def page_of(pattern: URLPattern, model: type[Model]) -> str:
    return (pattern.name or "").removeprefix(f"{LABEL}_{model._meta.model_name}_")


def rows(address: Address, request: Any, *, rather: tuple[str, ...] = ()) -> Iterator[Model]:
    """The rows that *address* is for: those first that its link is shown on, or named so."""
    admin: Any = site.get_model_admin(address.model)
    screen = address.screen

    def rank(row: Model) -> tuple[bool, bool]:
        is_offered = screen is None or screen.is_offered(admin, request, row)
        return not is_offered, not str(row).startswith(rather)

    yield from sorted(admin.get_queryset(request).order_by("pk"), key=rank)

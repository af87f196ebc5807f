"""Filters of lists whose choices are fixed: none reads the table to know what to offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text


class ChoiceFilter(admin.SimpleListFilter):
    """A filter with the choices of *choices_offered*; what is not one of them filters nothing."""

    choices_offered: ClassVar[Sequence[tuple[str, Text]]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """The same for everybody."""
        return list(self.choices_offered)

"""The readiness report: who can send, and what keeps the others from it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.narrowing import NarrowForm
from django_cybs_jwt.admin.requests import scope_of
from django_cybs_jwt.admin.screens import Screen
from django_cybs_jwt.services.readiness import Readiness, seen
from django_cybs_jwt.services.spreadsheet import cell

COLUMNS: Final = tuple(item.name for item in fields(Readiness))


class ReadinessForm(NarrowForm):
    """All, or what is left to do."""

    show = forms.ChoiceField(
        label=_("Show"),
        required=False,
        choices=[("", _("All merchants")), ("open", _("Not ready"))],
    )


class ReadinessScreen(Screen):
    """One line a merchant; CSV carries the same lines, all of them."""

    name = "readiness"
    title = _("Readiness report")
    template = "cybs_jwt/readiness.html"
    permission = "cybs_jwt.view_organization"

    def get(self) -> HttpResponseBase:
        """A page of it, or with `csv` in the address all of it."""
        form = ReadinessForm(self.request.GET, scope=scope_of(self.request))
        if not form.is_valid():
            return self.render(form=form, status=400)
        scope, now = scope_of(self.request), timezone.now()
        wanted = seen.merchants(scope, **form.chosen())
        only_open = form.cleaned_data["show"] == "open"
        if "csv" in self.request.GET:
            return _download(seen.stream(wanted, scope=scope, now=now, only_open=only_open))
        after = self.request.GET.get("after", "")
        page = seen.page(wanted, scope=scope, now=now, after=after, only_open=only_open)
        return self.render(
            form=form,
            page=page,
            only_open=only_open,
            count=wanted.count(),
            first=self._link() if after else "",
            further=self._link(after=page.after) if page.after else "",
            csv=self._link(csv="1"),
        )

    def _link(self, **more: str) -> str:
        """This page with the same filters."""
        kept = {name: self.request.GET.get(name, "") for name in ("host", "portfolio", "show")}
        return "?" + urlencode({name: text for name, text in {**kept, **more}.items() if text})


class _Echo:
    """What csv writes to hands each line on."""

    def write(self, line: str) -> str:
        """The line."""
        return line


def _download(rows: Iterable[Readiness]) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(_lines(rows), content_type="text/csv; charset=utf-8")
    name = f"readiness-{timezone.now():%Y-%m-%d}.csv"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _lines(rows: Iterable[Readiness]) -> Iterator[str]:
    writer: Any = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for row in rows:
        yield writer.writerow([cell(getattr(row, name)) for name in COLUMNS])

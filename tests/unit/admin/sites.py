"""A site of the host's own under a prefix of its own, with screens that try the base classes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone

from django_cybs_jwt.admin import CredentialAdmin, register_on
from django_cybs_jwt.admin.bulk import BulkAction
from django_cybs_jwt.admin.requests import actor
from django_cybs_jwt.admin.screens import ConfirmScreen, Consequences, Screen
from django_cybs_jwt.models import Credential
from django_cybs_jwt.services import withdrawal
from django_cybs_jwt.services.overview import impact
from django_cybs_jwt.services.permissions import Permission


class Hello(Screen):
    """Only to be read."""

    name = "hello"
    title = "Hello"
    permission = Permission.VERIFY
    template = "cybs_jwt/base.html"


class Suspend(ConfirmScreen):
    name = "suspend"
    title = "Suspend"
    permission = Permission.ROTATE
    of_row = True

    def consequences(self) -> Consequences:
        names = impact.dependents(self.row, now=timezone.now())
        return Consequences(sentences=["Nothing is signed any more."], merchants=names)

    def act(self, form: Any) -> str | HttpResponse:
        withdrawal.suspend(
            self.row,
            actor=actor(self.request),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
        )
        return "Suspended."


class Destroy(Suspend):
    name = "destroy"
    title = "Destroy"
    permission = Permission.DESTROY
    asks_password = True

    def act(self, form: Any) -> str | HttpResponse:
        withdrawal.destroy(
            self.row, actor=actor(self.request), now=timezone.now(), reason="because"
        )
        return "Destroyed."


class SuspendMany(BulkAction):
    name = "suspend_many"
    label = "Suspend"
    permission = Permission.ROTATE
    typed_count = True

    def consequences(self, rows: Any) -> Consequences:
        return Consequences(merchants=[str(row.organization) for row in rows])

    def act(self, request: Any, rows: Any, form: Any) -> str:
        for row in rows:
            withdrawal.suspend(row, actor=actor(request), now=timezone.now(), reason="many")
        return "All are suspended."


class TriedAdmin(CredentialAdmin):
    screens = [Hello, Suspend, Destroy]
    bulk = [SuspendMany()]


site = admin.AdminSite(name="back-office")
register_on(site)
site.unregister(Credential)
site.register(Credential, TriedAdmin)

urlpatterns = [path("somewhere/else/", site.urls)]

"""A host that uses django-unfold: its site stands in for Django's."""

from __future__ import annotations

from django.urls import path
from unfold.sites import UnfoldAdminSite

from django_cybs_jwt.admin import register_on

site = UnfoldAdminSite(name="admin")
register_on(site)

urlpatterns = [path("admin/", site.urls)]

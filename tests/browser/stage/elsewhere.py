"""A site of the host's own, under an address of its own; Django's is not there at all."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.urls import path

from django_cybs_jwt.admin import register_on

site = AdminSite(name="back-office")
site.site_header = site.site_title = "Back office"
register_on(site)

urlpatterns = [path("staff/keys/", site.urls)]

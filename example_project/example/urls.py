from __future__ import annotations

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView
from orders import views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="orders")),
    path("orders/", views.index, name="orders"),
    path("orders/<int:pk>/pay/", views.pay, name="pay"),
    path("orders/<int:pk>/queue/", views.queue, name="queue"),
    path("admin/", admin.site.urls),
]

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from django_cybs_jwt.exceptions import CybsError
from orders.models import Order
from orders.payments import TEST_CARD
from orders.payments import pay as pay_order
from orders.payments import queue as queue_order


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "orders/index.html", {"orders": Order.objects.all()})


@require_POST
def pay(request: HttpRequest, pk: int) -> HttpResponse:
    order = get_object_or_404(Order, pk=pk, status="NEW")
    try:
        pay_order(order, TEST_CARD)
    except CybsError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{order.code}: {order.status}")
    return redirect("orders")


@require_POST
def queue(request: HttpRequest, pk: int) -> HttpResponse:
    order = get_object_or_404(Order, pk=pk, status="NEW")
    try:
        queue_order(order, TEST_CARD)
    except CybsError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{order.code}: a worker pays it")
    return redirect("orders")

"""Carry the id of the web request, as the load balancer or the caller gave it, to what is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from django_cybs_jwt.correlation import correlated

HEADER: Final = "X-Request-ID"

Answer = Callable[[HttpRequest], HttpResponse]
AnswerLater = Callable[[HttpRequest], Awaitable[HttpResponse]]


@sync_and_async_middleware
def correlation(get_response: Answer | AnswerLater) -> Answer | AnswerLater:
    """For MIDDLEWARE: `django_cybs_jwt.middleware.correlation`; reads the header X-Request-ID."""
    if iscoroutinefunction(get_response):

        async def later(request: HttpRequest) -> HttpResponse:
            with correlated(request.headers.get(HEADER, "")):
                answer: HttpResponse = await get_response(request)
                return answer

        return later

    def now(request: HttpRequest) -> HttpResponse:
        with correlated(request.headers.get(HEADER, "")):
            answer = get_response(request)
            assert isinstance(answer, HttpResponse)  # noqa: S101  # the synchronous twin
            return answer

    return now

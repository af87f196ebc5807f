"""Take a key file into memory and nowhere else: one small file, never a temporary one on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.core.files.uploadhandler import MemoryFileUploadHandler, SkipFile
from django.http import HttpRequest, HttpResponseBase
from django.views.debug import SafeExceptionReporterFilter

View = Callable[..., HttpResponseBase]

MOST_BYTES: Final = 64 * 1024
"""As `protocol.file_kind` has it; a P12 of the gateway has about five."""
_REFUSED: Final = "cybs_jwt_upload_refused"


class InMemory(MemoryFileUploadHandler):
    """Django's own handler for memory, for any request: what does not fit is skipped unread."""

    def handle_raw_input(self, *_args: Any, **_options: Any) -> None:
        """Take every upload, however long the request says it is."""
        self.activated = True
        self.bytes = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """One file; a second one is skipped."""
        if self.bytes:
            self._refuse()
        super().new_file(*args, **kwargs)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep it, up to the limit."""
        self.bytes += len(raw_data)
        if self.bytes > MOST_BYTES:
            self._refuse()
        super().receive_data_chunk(raw_data, start)

    def _refuse(self) -> None:
        if self.request is not None:
            setattr(self.request, _REFUSED, True)
        raise SkipFile


class Hidden(SafeExceptionReporterFilter):
    """Hides what was posted from Django's error page, with DEBUG too."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Always."""
        return True


def hidden(view: View) -> View:
    """What is posted to it is on no error page."""

    @wraps(view)
    def hiding(request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
        request.exception_reporter_filter = Hidden()
        return view(request, *args, **options)

    return hiding


def in_memory(view: View) -> View:
    """Set the handler before anything reads the request's body; CSRF is checked inside *view*."""

    @wraps(view)
    def receiving(request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
        request.upload_handlers = [InMemory(request)]
        request.exception_reporter_filter = Hidden()
        return view(request, *args, **options)

    # The middleware would read the body before this runs; AdminSite.admin_view checks it itself.
    receiving.csrf_exempt = True  # type: ignore[attr-defined]
    return receiving


def was_refused(request: HttpRequest) -> bool:
    """True when a file was skipped because it was too large, or not the only one."""
    return bool(getattr(request, _REFUSED, False))

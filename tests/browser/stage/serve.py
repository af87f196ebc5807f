"""The stage's web server: threads, static files, and its port on standard output."""

from __future__ import annotations

import logging

import django
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application


def main() -> None:
    django.setup()
    logging.getLogger("django.server").setLevel(logging.CRITICAL)
    logging.getLogger("django.request").setLevel(logging.ERROR)
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

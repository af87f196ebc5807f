"""Uploads to the admin under a real ASGI server, without the length that Django counts on."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cybs_jwt.testing import material
from tests.integration.processes import Platform, _killed

pytestmark = pytest.mark.alone

IMPORT = "/admin/cybs_jwt/credential/import/"
BOUNDARY = "upload-of-the-tests"
PASSWORD = "correct horse battery"
SIZES = {"a key file": 0, "64 KiB and a byte": 64 * 1024 + 1, "16 MB": 16 * 1024 * 1024}


class Watched(threading.Thread):
    """Notes every name that ever appears in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.seen, self.over = folder, set[str](), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.0005):
            self.seen |= {entry.name for entry in self.folder.iterdir()}

    def stop(self) -> set[str]:
        self.over.set()
        self.join()
        return self.seen


class Site:
    """The example project's admin, and one operator who is logged in."""

    def __init__(self, platform: Platform, temporary: Path) -> None:
        self.platform, self.temporary, self.cookies = platform, temporary, dict[str, str]()
        page = self.ask("GET", "/admin/login/")[1]
        self.token = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', page)[0]
        form = {"username": "olga", "password": PASSWORD, "csrfmiddlewaretoken": self.token}
        status, _ = self.ask("POST", "/admin/login/", urllib.parse.urlencode(form))
        assert status == 302

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.platform.port, timeout=30)
        headers = {"cookie": self.cookie(), "content-type": "application/x-www-form-urlencoded"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        for value in answer.headers.get_all("set-cookie", []):
            name, _, rest = value.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def upload(self, body: bytes) -> tuple[int, str]:
        """POST *body* in chunks and never say how long it is."""
        head = (
            f"POST {IMPORT} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
            f"cookie: {self.cookie()}\r\nx-csrftoken: {self.cookies['csrftoken']}\r\n"
            f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n"
            "transfer-encoding: chunked\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.platform.port), timeout=60) as link:
            link.sendall(head.encode())
            for at in range(0, len(body), 65_536):
                chunk = body[at : at + 65_536]
                link.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            link.sendall(b"0\r\n\r\n")
            answer = http.client.HTTPResponse(link)
            answer.begin()
            return answer.status, answer.read().decode()


def multipart(file: bytes) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (("organization", "acme"), ("purpose", "signing"), ("password", "x"))
    ]
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="k.p12"\r\n\r\n'
    return b"".join(parts) + head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


def announced_port(server: subprocess.Popen[str]) -> int:
    """Where uvicorn says that it listens."""
    for line in server.stderr or ():
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("the server ended before it listened")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("asgi")
    temporary = folder / "temporary"
    temporary.mkdir()
    platform = Platform(folder, f"sqlite:///{folder / 'db.sqlite3'}")
    platform.env["TMPDIR"] = str(temporary)
    platform.command("cybs_keyring", "generate")
    platform.command("migrate", "--verbosity", "0")
    platform.command(
        "cybs_org", "add", "acme", "--kind", "merchant", "--host", "apitest.cybersource.com"
    )
    user = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD, "DJANGO_SUPERUSER_USERNAME": "olga"}
    user["DJANGO_SUPERUSER_EMAIL"] = "olga@example.com"
    platform.command("createsuperuser", "--noinput", env=user)
    application = "django.core.asgi:get_asgi_application"
    # Python tries once whether it can write to the folder: before anybody looks what lies there.
    serve = "import tempfile, uvicorn; tempfile.gettempdir(); uvicorn.main()"
    line = ["-c", serve, application, "--factory", "--port", "0"]
    server = platform.start(*line)
    with server, _killed([server]):
        platform.port = announced_port(server)
        yield Site(platform, temporary)
        server.terminate()
        _, told = server.communicate(timeout=30)
        assert "Traceback" not in told


@pytest.mark.parametrize("size", SIZES)
def test_b27_an_upload_in_chunks_without_a_length_stores_nothing_and_leaves_no_file(
    site: Site, size: str
) -> None:
    body = multipart(b"\x30" * SIZES[size] if SIZES[size] else material.p12("acme").data)
    watched = Watched(site.temporary)
    watched.start()
    started = time.monotonic()

    status, text = site.upload(body)

    assert (status, watched.stop()) == (200, set())
    assert "Give either a file or a shared secret." in text
    assert time.monotonic() - started <= 20
    assert site.platform.json("cybs_keys", "list") == []
    assert site.ask("GET", IMPORT)[0] == 200

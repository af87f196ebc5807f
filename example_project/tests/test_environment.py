"""What the shell exports is understood, or refused in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import demo
import pytest
from django.core.exceptions import ImproperlyConfigured
from example.environment import parse_base_urls, parse_database_url

MANAGE = Path(__file__).parents[1] / "manage.py"


def test_a_database_url_keeps_what_its_driver_is_told() -> None:
    found = parse_database_url("postgres://ann:p%40ss@db:5433/shop?sslmode=require&sslrootcert=")
    assert found == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "ann",
        "PASSWORD": "p@ss",
        "HOST": "db",
        "PORT": "5433",
        "OPTIONS": {"sslmode": "require", "sslrootcert": ""},
    }


@pytest.mark.parametrize(
    "url", ["oracle://ann:hunter2@db/shop", "shop.db", "mysql://ann:hunter2@db:x/"]
)
def test_a_database_url_that_is_none_is_refused_and_no_password_repeated(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as caught:
        parse_database_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "http://127.0.0.1", "7"])
def test_base_urls_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="CYBS_BASE_URLS"):
        parse_base_urls(text)


@pytest.mark.parametrize("name", ["DATABASE_URL", "CYBS_BASE_URLS"])
def test_a_command_says_what_is_wrong_and_ends_with_2(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(MANAGE), "cybs_org", "list"],
        env=os.environ | {name: "nonsense"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(name)
    assert "Traceback" not in ended.stderr


def test_a_gateway_with_a_certificate_of_its_own_is_trusted_by_the_environment() -> None:
    ended = subprocess.run(
        [sys.executable, str(MANAGE), "diffsettings", "--output", "unified"],
        env=os.environ | {"CYBS_CA_BUNDLE": "/own/ca.pem"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "'CA_BUNDLE': '/own/ca.pem'" in ended.stdout


def test_the_demo_keeps_to_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (MANAGE.parent / "example" / "settings.py").read_text()
    read = {name for name in demo.READ_BY_SETTINGS if f'"{name}"' in text}
    assert text.count("os.environ") == len(read) == len(demo.READ_BY_SETTINGS)
    for name in read:
        monkeypatch.setenv(name, "somebody else's")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "somebody.settings")

    demo.keep_to_own_folder()

    assert not read & set(os.environ)
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "example.settings"

"""settings.CYBS_JWT as one frozen, typed value, and the key ring it names.

Read at first use and again after `override_settings`; never written to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from django_cybs_jwt.client.config import Config, Route, Timeout
from django_cybs_jwt.exceptions import ConfigurationError, InvalidHost, KeyRingError
from django_cybs_jwt.protocol import DEFAULT, PROFILES, Operations, Profile, default_operations
from django_cybs_jwt.protocol.hosts import is_live, parse_host
from django_cybs_jwt.protocol.keys import ResponseMLE
from django_cybs_jwt.sealing import FollowedFile, KeyRing
from django_cybs_jwt.texts import Text

NAME = "CYBS_JWT"

_NO_HOSTS: Final = {("TASK_QUEUES", "default"), ("TASK_QUEUES", "resolve")}
"""Keys that stand where others name a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """QUEUE over these defaults: seconds, except *tries*, *looks* and the two *at_once*.

    A worker that says nothing for a *lease* counts as dead. A request may still be processed
    until its token has ended and *gateway* and *skew* seconds more have passed: the fence.
    """

    lease: float = 180.0
    gateway: float = 130.0
    skew: float = 15.0
    first_retry: float = 0.5
    longest_retry: float = 300.0
    tries: float = 30
    first_look: float = 10.0
    looks: float = 12
    ring_again: float = 15.0
    merchant_at_once: float = 4
    host_at_once: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting with its default; docs/settings.md tells each one's story."""

    KEYRING: Mapping[str, Any] | None = field(default=None, repr=False)
    KEYRING_FILE: str | Path | None = None
    LIVE: bool = False
    FOUR_EYES: bool = False
    RESPONSE_MLE: ResponseMLE = "ask"
    OPERATIONS: Mapping[str, str] = field(default_factory=dict)
    PROFILES: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    GATEWAY_CERTIFICATE_NAMES: tuple[str, ...] = ("CyberSource_SJC_US",)
    BASE_URLS: Mapping[str, str] = field(default_factory=dict)
    TIMEOUT: Mapping[str, float] = field(default_factory=dict)
    PROXY: str | None = field(default=None, repr=False)
    PROXY_AUTH: str | None = field(default=None, repr=False)
    CA_BUNDLE: str | Path | None = None
    MAX_CONNECTIONS: int = 64
    P12_INTERPRETER: str | None = None
    ALERT_FROM: str | None = None
    ALERT_DAILY_LIMIT: int = 24
    ALERT_CHANNELS: Mapping[str, str] = field(default_factory=dict)
    DOORBELL: str | None = None
    TASK_QUEUES: Mapping[str, str] = field(default_factory=dict)
    QUEUE: Mapping[str, float] = field(default_factory=dict)
    RESOLVE: Mapping[str, Literal["search", "void", "resend", "manual"]] = field(
        default_factory=dict
    )
    KEEP_PAYLOAD_DAYS: float = 0.0
    KEEP_REPLY_DAYS: float = 30.0

    def profile(self, host: str) -> Profile:
        """The wire dialect of *host*."""
        return _profile(host, self.PROFILES.get(host, "default"))

    @property
    def timeout(self) -> Timeout:
        """TIMEOUT over the defaults."""
        try:
            return Timeout(**self.TIMEOUT)
        except TypeError:
            known = ", ".join(item.name for item in fields(Timeout))
            raise ConfigurationError(
                "CYBS_JWT['TIMEOUT'] takes {known}, in seconds.", known=known
            ) from None

    @property
    def proxy_auth(self) -> tuple[str, str] | None:
        """User and password of PROXY_AUTH."""
        if self.PROXY_AUTH is None:
            return None
        user, _, password = self.PROXY_AUTH.partition(":")
        return user, password

    @property
    def queue(self) -> Queue:
        """QUEUE over the defaults."""
        try:
            return Queue(**self.QUEUE)
        except TypeError:
            known = ", ".join(item.name for item in fields(Queue))
            raise ConfigurationError(
                "CYBS_JWT['QUEUE'] takes {known}, as numbers.", known=known
            ) from None


def unknown_settings() -> list[str]:
    """Names in settings.CYBS_JWT that mean nothing."""
    known = {item.name for item in fields(Settings)}
    return sorted(map(str, set(_raw()) - known))


@cache
def current() -> Settings:
    """The settings in force, or ConfigurationError."""
    unknown = unknown_settings()
    if unknown:
        raise ConfigurationError(
            "CYBS_JWT has no setting {unknown}. Is it a misspelling?", unknown=", ".join(unknown)
        )
    loaded = Settings(**_raw())
    _check(loaded)
    return loaded


@cache
def operations() -> Operations:
    """The MLE policy table with the project's overrides."""
    return _overridden(current())


@cache
def client_config() -> Config:
    """The settings in the form that clients take."""
    loaded = current()
    for host, url in loaded.BASE_URLS.items():
        _check_base_url(host, url)
    return Config(
        operations=operations(),
        profiles={host: loaded.profile(host) for host in loaded.PROFILES},
        response_mle=loaded.RESPONSE_MLE,
        base_urls=dict(loaded.BASE_URLS),
        timeout=loaded.timeout,
        route=Route(
            proxy=loaded.PROXY,
            proxy_auth=loaded.proxy_auth,
            ca_bundle=str(loaded.CA_BUNDLE) if loaded.CA_BUNDLE else None,
            max_connections=loaded.MAX_CONNECTIONS,
        ),
    )


def keyring() -> KeyRing:
    """The ring that seals and opens, or KeyRingError; looked for at first use.

    One from a file looks there again for a key that it lacks: see `sealing.followed`.
    """
    return _ring_holder()()


def forget_keyring() -> None:
    """Read the ring anew at next use, whatever it holds."""
    _ring_holder.cache_clear()


@cache
def _ring_holder() -> Callable[[], KeyRing]:
    loaded = current()
    if loaded.KEYRING is not None:
        ring = KeyRing.from_mapping(loaded.KEYRING)
        return lambda: ring
    if loaded.KEYRING_FILE is not None:
        return FollowedFile(loaded.KEYRING_FILE).ring
    raise KeyRingError(
        "No key ring. Set CYBS_JWT['KEYRING_FILE'] and run `manage.py cybs_keyring generate`."
    )


def has_keyring() -> bool:
    """False before a ring was ever made; what is there and cannot be read is there."""
    loaded = current()
    file = loaded.KEYRING_FILE
    return loaded.KEYRING is not None or (file is not None and Path(file).exists())


def imported(path: str, *names: str) -> Any:
    """What the dotted *path* leads to, which can be called; *names* say where it is set.

    Raises ConfigurationError.

    Whatever a module does as it is imported, it must not end a command or stop a worker.
    """
    try:
        found = import_string(path)
        if callable(found):
            return found
        told: str = Text("it cannot be called")
    except ImportError as error:
        told = str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001
        # Without its text: it may quote what the module has read.
        told = Text("it raises {kind}", kind=type(error).__name__)
    place = "".join(f"[{name!r}]" for name in names)
    raise ConfigurationError(
        "CYBS_JWT{place} names {path!r}, which cannot be used: {told}.",
        place=place,
        path=path,
        told=told,
    )


def _raw() -> Mapping[str, Any]:
    raw = getattr(django_settings, NAME, {})
    if not isinstance(raw, Mapping):
        raise ConfigurationError("settings.CYBS_JWT must be a dictionary.")
    return raw


def _check(loaded: Settings) -> None:
    """Refuse what is of the wrong type, LIVE = "False" above all, or could never take effect."""
    for name, kind in get_type_hints(Settings).items():
        if not _fits(getattr(loaded, name), kind):
            wanted = Text("of the type {kind}", kind=Settings.__annotations__[name])
            if get_origin(kind) is Literal:
                wanted = Text("one of {known}", known=", ".join(get_args(kind)))
            raise ConfigurationError(
                "CYBS_JWT[{name!r}] must be {wanted}.", name=name, wanted=wanted
            )
    for name in ("MAX_CONNECTIONS", "ALERT_DAILY_LIMIT"):
        if getattr(loaded, name) < 1:
            raise ConfigurationError("CYBS_JWT[{name!r}] must be at least 1.", name=name)
    if not all(isfinite(seconds) and seconds > 0 for seconds in loaded.TIMEOUT.values()):
        raise ConfigurationError("CYBS_JWT['TIMEOUT'] takes finite numbers of seconds above zero.")
    _check_proxy(loaded)
    _check_queue(loaded)
    _check_names(loaded)


def _check_proxy(loaded: Settings) -> None:
    # Django's page of an error shows what is called PROXY, and masks what is called ..._AUTH.
    if "@" in (loaded.PROXY or ""):
        raise ConfigurationError(
            "CYBS_JWT['PROXY'] is a URL without a password. Write 'user:password' in "
            "CYBS_JWT['PROXY_AUTH']: pages of errors mask that."
        )
    if loaded.PROXY_AUTH is not None and ":" not in loaded.PROXY_AUTH:
        raise ConfigurationError("CYBS_JWT['PROXY_AUTH'] must be 'user:password'.")


def _check_queue(loaded: Settings) -> None:
    counted = (*loaded.QUEUE.values(), loaded.KEEP_PAYLOAD_DAYS, loaded.KEEP_REPLY_DAYS)
    if not all(isfinite(number) and number >= 0 for number in counted):
        raise ConfigurationError("CYBS_JWT's QUEUE and KEEP_... take numbers from 0 up.")
    longest = loaded.timeout.total + loaded.timeout.read
    if loaded.queue.lease <= longest:
        raise ConfigurationError(
            "CYBS_JWT['QUEUE']['lease'] must exceed TIMEOUT's total and read together, {longest:g} "
            "seconds, for an exchange and its record: else a living worker counts as dead.",
            longest=longest,
        )


def _check_names(loaded: Settings) -> None:
    for name in ("KEYRING_FILE", "CA_BUNDLE", "P12_INTERPRETER"):
        if "\0" in str(getattr(loaded, name)):
            raise ConfigurationError(
                "CYBS_JWT[{name!r}] is no path: it holds a NUL character.", name=name
            )
    for name in ("BASE_URLS", "PROFILES", "TASK_QUEUES"):
        for host in getattr(loaded, name):
            if (name, host) not in _NO_HOSTS:
                _check_host(name, host)
    for operation in loaded.RESOLVE:
        _check_operation("RESOLVE", operation, loaded)


def _check_operation(name: str, operation: str, loaded: Settings) -> None:
    # One that is never met would leave the default in force without a word.
    table = _overridden(loaded)
    known = table.find(operation)
    if known != operation:
        cure = Text("Write it {known!r}.", known=known) if known else table.suggestion(operation)
        raise ConfigurationError(
            "CYBS_JWT[{name!r}]: {operation!r} is no operation. {cure}",
            name=name,
            operation=operation[:80],
            cure=cure,
        )


def _overridden(loaded: Settings) -> Operations:
    try:
        return default_operations().overridden(loaded.OPERATIONS)
    except ConfigurationError as error:
        raise ConfigurationError("CYBS_JWT['OPERATIONS']: {cause}", cause=error.text) from None


def _fits(value: object, kind: Any) -> bool:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        return True
    if origin is Literal:
        return value in inner
    if origin is UnionType:
        return any(_fits(value, each) for each in inner)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(key, inner[0]) and _fits(each, inner[1]) for key, each in value.items()
        )
    if origin is tuple:
        return isinstance(value, tuple | list) and all(_fits(each, inner[0]) for each in value)
    # True is an int to Python, never to us; a whole number is a float to everybody.
    plain = (int, float) if origin is float else origin
    return isinstance(value, plain) and (origin is bool or not isinstance(value, bool))


def _check_host(name: str, host: str) -> None:
    # One that never matches would leave a redirect out and send to the real gateway.
    try:
        known = parse_host(host) == host
    except InvalidHost:
        known = False
    if not known:
        raise ConfigurationError(
            "CYBS_JWT[{name!r}] is keyed by bare hostnames in lower case, like "
            "apitest.cybersource.com, not by {host!r}.",
            name=name,
            host=host[:80],
        )


def _check_base_url(host: str, url: str) -> None:
    schemes = ("https",) if is_live(host) else ("https", "http")
    if not _is_origin(url) or urlsplit(url).scheme not in schemes:
        raise ConfigurationError(
            "CYBS_JWT['BASE_URLS'][{host!r}] must be an origin like https://egress.example.com; "
            "http:// is for test hosts only.",
            host=host,
        )


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return named and url.isprintable() and not set(url) & set("@?# ")


def _profile(host: str, spec: str | Mapping[str, Any]) -> Profile:
    try:
        return PROFILES[spec] if isinstance(spec, str) else replace(DEFAULT, **spec)
    except (KeyError, TypeError):
        raise ConfigurationError(
            "CYBS_JWT['PROFILES'] maps a host to one of {known}, "
            "or to fields of protocol.profiles.Profile.",
            known=", ".join(PROFILES),
        ) from None
    except ConfigurationError as error:
        raise ConfigurationError(
            "CYBS_JWT['PROFILES'][{host!r}]: {cause}", host=host, cause=error.text
        ) from None


@receiver(setting_changed, dispatch_uid="cybs_jwt.conf")
def _forget(*, setting: str, **_: object) -> None:
    if setting == NAME:
        for cached in (current, operations, client_config, _ring_holder):
            cached.cache_clear()

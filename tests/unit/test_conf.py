"""settings.CYBS_JWT: read when needed, checked before it is used, never half right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.views.debug import SafeExceptionReporterFilter

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ConfigurationError, CybsError, KeyRingError
from django_cybs_jwt.protocol.hosts import PRESETS
from django_cybs_jwt.services.queue import safety
from django_cybs_jwt.testing import ring as published

HOST = "apitest.cybersource.com"
LIVE_HOST = "api.cybersource.com"


def with_settings(settings: Any, **values: Any) -> None:
    settings.CYBS_JWT = values


def everything() -> None:
    """What the checks and a first send ask for."""
    loaded = conf.current()
    conf.operations()
    conf.client_config()
    for host in loaded.PROFILES:
        loaded.profile(host)


def test_without_any_setting_the_defaults_hold(settings: Any) -> None:
    del settings.CYBS_JWT
    conf._forget(setting=conf.NAME)
    loaded = conf.current()
    assert loaded.LIVE is False
    assert loaded.RESPONSE_MLE == "ask"
    assert loaded.BASE_URLS == {}
    everything()


def test_a_changed_setting_is_read_at_once(settings: Any) -> None:
    with_settings(settings, LIVE=True)
    assert conf.current().LIVE is True
    with_settings(settings)
    assert conf.current().LIVE is False


def test_settings_cannot_be_written_to() -> None:
    with pytest.raises(AttributeError):
        conf.current().LIVE = True  # type: ignore[misc]


@pytest.mark.parametrize("raw", [None, [], "LIVE", 7, {1, 2}])
def test_settings_that_are_no_dictionary_are_refused(settings: Any, raw: object) -> None:
    settings.CYBS_JWT = raw
    with pytest.raises(ConfigurationError, match="must be a dictionary"):
        conf.current()


@pytest.mark.parametrize("name", ["LIFE", "live", "BASE_URL", "KEYRING_PATH", ""])
def test_a_misspelled_setting_is_named(settings: Any, name: str) -> None:
    with_settings(settings, **{name: 1})
    with pytest.raises(ConfigurationError, match="Is it a misspelling"):
        conf.current()
    assert conf.unknown_settings() == [name]


@pytest.mark.parametrize("value", ["False", "false", "0", "", 0, 1, None, [], "True"], ids=repr)
def test_live_is_a_boolean_and_no_text_that_looks_true(settings: Any, value: object) -> None:
    """`LIVE = os.environ["LIVE"]` with "False" in it must not go live."""
    with_settings(settings, LIVE=value)
    with pytest.raises(ConfigurationError, match="LIVE"):
        conf.current()


# One wrong value of each kind that people write.
WRONG: dict[str, dict[str, Any]] = {
    "response mle": {"RESPONSE_MLE": "always"},
    "response mle none": {"RESPONSE_MLE": None},
    "response mle list": {"RESPONSE_MLE": ["ask"]},
    "operations list": {"OPERATIONS": ["POST /pts/v2/payments"]},
    "operations policy": {"OPERATIONS": {"POST /pts/v2/payments": "sometimes"}},
    "operations key": {"OPERATIONS": {"payments": "off"}},
    "operations number": {"OPERATIONS": {7: 7}},
    "profiles name": {"PROFILES": {HOST: "fastest"}},
    "profiles field": {"PROFILES": {HOST: {"speed": 1}}},
    "profiles lifetime": {"PROFILES": {HOST: {"lifetime": 121}}},
    "profiles lifetime in words": {"PROFILES": {HOST: {"lifetime": "120"}}},
    "profiles backdate": {"PROFILES": {HOST: {"backdate": -1}}},
    "profiles digest": {"PROFILES": {HOST: {"digest_algorithm": "SHA-512"}}},
    "profiles flag": {"PROFILES": {HOST: {"request_host": "False"}}},
    "profiles claim": {"PROFILES": {HOST: {"response_kid_claim": "iss"}}},
    "profiles number": {"PROFILES": {HOST: 7}},
    "profiles list": {"PROFILES": [HOST]},
    "profiles host": {"PROFILES": {"https://apitest.cybersource.com/": "default"}},
    "base urls list": {"BASE_URLS": ["http://127.0.0.1:8443"]},
    "base urls text": {"BASE_URLS": '{"apitest.cybersource.com": "http://127.0.0.1:8443"}'},
    "base urls number": {"BASE_URLS": {HOST: 7}},
    "base urls none": {"BASE_URLS": {HOST: None}},
    "timeout name": {"TIMEOUT": {"reed": 5}},
    "timeout text": {"TIMEOUT": {"read": "5"}},
    "timeout none": {"TIMEOUT": {"read": None}},
    "timeout number": {"TIMEOUT": 5},
    "timeout nan": {"TIMEOUT": {"read": float("nan")}},
    "timeout infinite": {"TIMEOUT": {"total": float("inf")}},
    "timeout zero": {"TIMEOUT": {"read": 0}},
    "timeout below zero": {"TIMEOUT": {"total": -1.0}},
    "connections text": {"MAX_CONNECTIONS": "64"},
    "connections zero": {"MAX_CONNECTIONS": 0},
    "connections true": {"MAX_CONNECTIONS": True},
    "ca bundle number": {"CA_BUNDLE": 7},
    "interpreter number": {"P12_INTERPRETER": 7},
    "keyring file number": {"KEYRING_FILE": 7},
    "keyring list": {"KEYRING": []},
    "proxy number": {"PROXY": 7},
    "proxy password": {"PROXY": "http://user:hunter2@proxy.example.com"},
    "proxy user alone": {"PROXY_AUTH": "user"},
    "names text": {"GATEWAY_CERTIFICATE_NAMES": "CyberSource_SJC_US"},
    "names number": {"GATEWAY_CERTIFICATE_NAMES": 7},
    "ring nul": {"KEYRING_FILE": "ring\0.json"},
    "bundle nul": {"CA_BUNDLE": Path("ca\0.pem")},
    "interpreter nul": {"P12_INTERPRETER": "python\0"},
    "resolve policy": {"RESOLVE": {"POST /pts/v2/payments": "refund"}},
    "resolve typo": {"RESOLVE": {"POST /pts/v2/payment": "search"}},
    "resolve method": {"RESOLVE": {"post /pts/v2/payments": "search"}},
    "resolve id": {"RESOLVE": {"POST /pts/v2/payments/123/captures": "search"}},
    "resolve text": {"RESOLVE": {"payments": "search"}},
    "queues address": {"TASK_QUEUES": {"https://apitest.cybersource.com": "slow"}},
    "queues capitals": {"TASK_QUEUES": {"Default": "cybs"}},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_is_a_configuration_error_that_names_the_setting(
    settings: Any, wrong: str
) -> None:
    with_settings(settings, **WRONG[wrong])
    with pytest.raises(ConfigurationError) as caught:
        everything()
    assert next(iter(WRONG[wrong])) in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "user@apitest.cybersource.com",
        "apitest.cybersource.com/path",
        "apitest.cybersource.com.",
        "[2001:db8::1]",
        "http:",
        "https://apitest.cybersource.com",
        "APITEST.cybersource.com",
        "apitest.cybersource.com:443",
        "",
    ],
)
@pytest.mark.parametrize("setting", ["BASE_URLS", "PROFILES"])
def test_a_host_that_would_never_match_is_refused(settings: Any, setting: str, host: str) -> None:
    """A redirect that is silently ignored would send to the real gateway."""
    value = "https://egress.example.com" if setting == "BASE_URLS" else "default"
    with_settings(settings, **{setting: {host: value}})
    with pytest.raises(ConfigurationError, match=setting):
        everything()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "egress.example.com",
        "//egress.example.com",
        "ftp://egress.example.com",
        "https://",
        "https://user@egress.example.com",
        "https://:pw@egress.example.com",
        "https://user:pw@egress.example.com",
        "https://egress.example.com?x=1",
        "https://egress.example.com#x",
        "https://egress.example.com:99999",
        "https://egress.example.com:port",
        "https://[::1",
        "https://egress.example.com\n",
        "https://egress example.com",
        "javascript:alert(1)",
        "http:",
    ],
)
def test_a_base_url_that_is_no_origin_is_refused_and_no_password_repeated(
    settings: Any, url: str
) -> None:
    with_settings(settings, BASE_URLS={HOST: url})
    with pytest.raises(ConfigurationError, match="BASE_URLS") as caught:
        conf.client_config()
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8443",
        "http://127.0.0.1:8443/",
        "https://egress.example.com",
        "https://[::1]:8443",
        "http://localhost:1",
    ],
)
def test_a_test_host_may_be_pointed_at_any_origin(settings: Any, url: str) -> None:
    with_settings(settings, BASE_URLS={HOST: url})
    assert conf.client_config().origin(HOST) == url.rstrip("/")


@pytest.mark.parametrize("host", [name for name, preset in PRESETS.items() if preset.live])
def test_a_live_host_is_never_sent_to_in_clear(settings: Any, host: str) -> None:
    with_settings(settings, BASE_URLS={host: "http://127.0.0.1:8443"})
    with pytest.raises(ConfigurationError, match="for test hosts only"):
        conf.client_config()


def test_the_client_gets_every_setting_that_concerns_it(settings: Any) -> None:
    with_settings(
        settings,
        RESPONSE_MLE="required",
        BASE_URLS={HOST: "http://127.0.0.1:1"},
        TIMEOUT={"connect": 1, "total": 2.5},
        PROXY="http://proxy.example.com:3128",
        CA_BUNDLE=Path("/etc/ssl/own.pem"),
        MAX_CONNECTIONS=7,
    )
    config = conf.client_config()
    assert config.response_mle == "required"
    assert config.base_urls == {HOST: "http://127.0.0.1:1"}
    assert (config.timeout.connect, config.timeout.total) == (1, 2.5)
    assert config.timeout.read == 65.0
    assert config.route.proxy == "http://proxy.example.com:3128"
    assert config.route.ca_bundle == "/etc/ssl/own.pem"
    assert config.route.max_connections == 7


def test_an_operation_can_be_overridden(settings: Any) -> None:
    before = conf.operations().policy("POST", "/pts/v2/payments")
    with_settings(settings, OPERATIONS={"POST /pts/v2/payments": "off"})
    assert (before, conf.operations().policy("POST", "/pts/v2/payments")) != ("off", before)
    assert conf.operations().policy("POST", "/pts/v2/payments") == "off"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("POST /pts/v2/payment", "Did you mean 'POST /pts/v2/payments'?"),
        ("POST /pts/v2/payments/{x}/refunds", "Write it 'POST /pts/v2/payments/{id}/refunds'."),
        ("GET nothing", "added to it with OPERATIONS"),
    ],
)
def test_a_policy_for_no_operation_names_the_one_that_is_meant(
    settings: Any, written: str, says: str
) -> None:
    with_settings(settings, RESOLVE={written: "search"})
    with pytest.raises(ConfigurationError) as caught:
        conf.current()
    assert says in str(caught.value)


def test_every_operation_that_is_cleared_up_has_a_name_that_resolve_takes(settings: Any) -> None:
    for operation in safety._GUARDED | safety._UNDOING:
        with_settings(settings, RESOLVE={operation: "manual"})
        assert conf.current().RESOLVE[operation] == "manual"
    own = "POST /acme/v1/{id}/things"
    with_settings(settings, OPERATIONS={own: "optional"}, RESOLVE={own: "search"})
    assert conf.current().RESOLVE[own] == "search"


def test_a_queue_may_be_named_for_any_host_and_for_the_rest(settings: Any) -> None:
    queues = {"default": "a", "resolve": "b", HOST: "c", "gateway.example.com": "d"}
    with_settings(settings, TASK_QUEUES=queues)
    assert dict(conf.current().TASK_QUEUES) == queues


# The key ring


def test_without_a_ring_first_use_says_how_to_make_one(settings: Any) -> None:
    with_settings(settings)
    with pytest.raises(KeyRingError, match="cybs_keyring generate"):
        conf.keyring()


def test_a_ring_may_stand_in_the_settings_or_in_a_file(settings: Any, tmp_path: Path) -> None:
    file = tmp_path / "ring.json"
    file.write_text(json.dumps(published.testing_ring()))
    for values in (
        {"KEYRING": published.testing_ring()},
        {"KEYRING_FILE": file},
        {"KEYRING_FILE": str(file)},
    ):
        with_settings(settings, **values)
        assert conf.keyring().primary_id == "testing"


def test_a_missing_ring_is_looked_for_again(settings: Any, tmp_path: Path) -> None:
    """A worker that started before `cybs_keyring generate` need not be restarted."""
    file = tmp_path / "ring.json"
    with_settings(settings, KEYRING_FILE=file)
    with pytest.raises(KeyRingError, match="There is no key ring"):
        conf.keyring()
    file.write_text(json.dumps(published.testing_ring()))
    assert conf.keyring().primary_id == "testing"


def test_the_ring_and_the_proxy_show_nowhere_in_a_repr(settings: Any) -> None:
    ring = published.testing_ring()
    with_settings(
        settings, KEYRING=ring, PROXY="http://proxy.example.com", PROXY_AUTH="user:hunter2"
    )
    text = f"{conf.current()!r} {conf.keyring()!r} {conf.client_config()!r}"
    for secret in (ring["index_key"], ring["audit_key"], ring["keys"]["testing"]["key"], "hunter2"):
        assert secret not in text


def test_no_password_stands_in_the_settings_that_djangos_page_of_an_error_shows(
    settings: Any,
) -> None:
    with_settings(settings, PROXY="http://proxy.example.com", PROXY_AUTH="user:hunter2")
    shown = SafeExceptionReporterFilter().get_safe_settings()["CYBS_JWT"]
    assert shown["PROXY"] == "http://proxy.example.com"
    assert "hunter2" not in str(shown)


@pytest.mark.parametrize("damage", ["keys", "index_key", "primary"])
def test_a_damaged_ring_is_a_ring_error_that_repeats_no_key(settings: Any, damage: str) -> None:
    ring = published.testing_ring()
    planted = ring["audit_key"]
    ring[damage] = planted[:-4]
    with_settings(settings, KEYRING=ring)
    with pytest.raises(KeyRingError) as caught:
        conf.keyring()
    assert planted[:20] not in str(caught.value)


def test_every_setting_has_a_default_so_that_an_empty_project_starts(settings: Any) -> None:
    with_settings(settings)
    try:
        everything()
    except CybsError as error:  # pragma: no cover
        pytest.fail(str(error))

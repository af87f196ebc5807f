"""Merchants with real keys, and a gateway in this process that knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from asgiref.sync import sync_to_async
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import pools
from django_cybs_jwt.models import Credential, Organization
from django_cybs_jwt.services import importing, inspection, organizations
from django_cybs_jwt.services.inspection import Inspection, Wanted
from django_cybs_jwt.services.simulating import DatabaseRegistry
from django_cybs_jwt.simulator import Entry, Faults, Gateway
from django_cybs_jwt.simulator.transport import SimulatorTransport
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.material import GatewayMaterial

HOST = "apitest.cybersource.com"


class Simulation:
    """A gateway with its ledger and faults, and a way to enrol merchants in one line."""

    def __init__(self, **options: Any) -> None:
        self.gateway = Gateway(DatabaseRegistry(), **options)
        self.transport: Final = SimulatorTransport(self.gateway, run=_in_djangos_thread)
        """For an httpx client of your own, sync or async, as with `cybs.auth` or `cybs.sign`."""

    @property
    def ledger(self) -> list[Entry]:
        """What was processed, oldest first; never card data."""
        return self.gateway.ledger.entries()

    @property
    def faults(self) -> Faults:
        """Faults to inject."""
        return self.gateway.faults

    @property
    def certificate(self) -> GatewayMaterial:
        """The gateway's request-MLE certificate, as a P12 file carries it."""
        identity = self.gateway.identity
        return GatewayMaterial(
            certificate=identity.certificate,
            private_key=identity.private_key,
            kid=identity.kid,
            pem=identity.pem,
        )

    def merchant(
        self,
        org_id: str,
        *,
        kind: str = "merchant",
        parent: str | None = None,
        host: str = HOST,
        signs_with: str | None = "p12",
        covers: str | None = None,
        response_mle: bool = True,
        private_key: RSAPrivateKey | None = None,
    ) -> Organization:
        """Store an organization with active keys; *signs_with* is p12, shared_secret or None."""
        organization = organizations.add(
            org_id, actor="testing", kind=kind, host=host, parent=parent
        )
        if signs_with == "p12":
            self.import_p12(organization, "signing", covers=covers, private_key=private_key)
        elif signs_with == "shared_secret":
            self.import_shared_secret(organization, covers=covers)
        if response_mle and signs_with:
            self.import_p12(organization, "response-mle")
        return organization

    def import_p12(
        self,
        organization: Organization,
        purpose: str,
        *,
        covers: str | None = None,
        private_key: RSAPrivateKey | None = None,
        activate: bool = True,
    ) -> Credential:
        """Import a P12 in the gateway's own shape."""
        file = material.p12(organization.org_id, gateway=self.certificate, private_key=private_key)
        inspected = inspection.inspect_file(
            file.data, file.password.encode(), Wanted(purpose=purpose), now=timezone.now()
        )
        return _store(organization, inspected, covers=covers, activate=activate)

    def import_shared_secret(
        self, organization: Organization, *, covers: str | None = None, activate: bool = True
    ) -> Credential:
        """Import a shared secret."""
        file = material.shared_secret()
        inspected = inspection.inspect_shared_secret(
            file.secret, Wanted(purpose="signing", key_id=file.key_id), now=timezone.now()
        )
        return _store(organization, inspected, covers=covers, activate=activate)

    @contextmanager
    def in_process(self) -> Iterator[Simulation]:
        """While open, what `cybs` and the queue send is answered here, and none of it leaves.

        A client of your own goes where you send it: give it `transport`.
        """
        with pools.replaced(self.transport):
            yield self


async def _in_djangos_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    # Under async_to_sync that is the test's own thread, with its connection and its open
    # transaction. A test that is a coroutine has another one, which sees what is committed only.
    return await sync_to_async(call)(*arguments)


@contextmanager
def _alone() -> Iterator[None]:
    """Enrolling is set-up: there is no second person to ask where FOUR_EYES is on."""
    if not conf.current().FOUR_EYES:
        yield
        return
    with override_settings(CYBS_JWT={**getattr(settings, conf.NAME), "FOUR_EYES": False}):
        yield


def _store(
    organization: Organization, inspected: Inspection, *, covers: str | None, activate: bool
) -> Credential:
    with _alone():
        return importing.import_key(
            organization,
            inspected,
            actor="testing",
            now=timezone.now(),
            covers=covers,
            activate=activate,
        )

"""Keys: a slot is the stable place, a credential one version in it."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.models.organizations import Organization
from django_cybs_jwt.texts import Text, listed


class Purpose(models.TextChoices):
    """What a key is for; a text, because the names of keys and slots are made of it."""

    SIGNING = "signing", Text("Request signing")
    RESPONSE_MLE = "response-mle", Text("Response MLE")


class Coverage(models.TextChoices):
    OWN = "own", Text("This organization")
    ALL = "all", Text("All current and future descendants")
    SELECTED = "selected", Text("Selected merchants")


class State(models.TextChoices):
    STAGED = "STAGED", _("Staged")
    VERIFIED = "VERIFIED", _("Verified")
    ACTIVE = "ACTIVE", _("Active")
    RETIRING = "RETIRING", _("Retiring")
    RETIRED = "RETIRED", _("Retired")
    SUSPENDED = "SUSPENDED", _("Suspended")
    COMPROMISED = "COMPROMISED", _("Compromised")
    DESTROYED = "DESTROYED", _("Destroyed")


class Verdict(models.TextChoices):
    """What a verification with the gateway came to."""

    ACCEPTED = "accepted", _("Accepted")
    REFUSED = "refused", _("Refused")
    INCONCLUSIVE = "inconclusive", _("Inconclusive")


class KeySlot(models.Model):
    """A stable place for one key of an organization; rotation happens inside it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="slots", verbose_name=_("organization")
    )
    purpose = models.CharField(_("purpose"), max_length=12, choices=Purpose.choices)
    name = models.CharField(_("name"), max_length=60, blank=True, default="")
    coverage = models.CharField(
        _("covers"), max_length=8, choices=Coverage.choices, default=Coverage.OWN
    )
    merchants = models.ManyToManyField(
        Organization, related_name="selected_by", blank=True, verbose_name=_("merchants")
    )

    class Meta:
        verbose_name = _("key slot")
        verbose_name_plural = _("key slots")
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "purpose", "name"], name="cybs_slot_once"
            ),
        ]

    def __str__(self) -> str:
        return str(self.named)

    @property
    def named(self) -> Text:
        """Its name as a text, for what is stored: English there, the reader's on a page."""
        named = [self.name] if self.name else []
        return listed([self.organization.org_id, self.get_purpose_display(), *named])


class Credential(models.Model):
    """One version of a key. Secrets are sealed; every fact a page needs is a clear column."""

    class Kind(models.TextChoices):
        P12 = "p12", _("P12 certificate")
        PRIVATE_KEY = "private_key", _("Private key")
        SHARED_SECRET = "shared_secret", _("Shared secret")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slot = models.ForeignKey(
        KeySlot, models.PROTECT, related_name="credentials", verbose_name=_("slot")
    )
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="credentials", verbose_name=_("organization")
    )
    kind = models.CharField(_("kind"), max_length=13, choices=Kind.choices)
    key_id = models.CharField(_("key ID"), max_length=128)
    algorithm = models.CharField(_("algorithm"), max_length=12)
    state = models.CharField(_("state"), max_length=11, choices=State.choices, default=State.STAGED)

    sealed_secret = models.BinaryField(null=True, editable=False)
    sealed_p12 = models.BinaryField(null=True, editable=False)

    fingerprint = models.CharField(_("fingerprint"), max_length=64, editable=False)
    certificate = models.TextField(_("certificate"), blank=True, editable=False)
    common_name = models.CharField(_("common name"), max_length=256, blank=True)
    serial = models.CharField(_("certificate serial"), max_length=128, blank=True)
    not_before = models.DateTimeField(_("valid from"), null=True, blank=True)
    not_after = models.DateTimeField(_("valid to"), null=True, blank=True)
    expires_at = models.DateTimeField(_("ends"), null=True, blank=True)
    # What else the upload held, clear and safe to show: see services.contents.
    contents = models.JSONField(default=dict, editable=False)

    uploaded_by = models.CharField(_("uploaded by"), max_length=150, blank=True)
    staged_at = models.DateTimeField(_("staged"), null=True, editable=False)
    verified_at = models.DateTimeField(_("verified"), null=True, editable=False)
    activated_at = models.DateTimeField(_("activated"), null=True, editable=False)
    retiring_at = models.DateTimeField(_("retiring since"), null=True, editable=False)
    retired_at = models.DateTimeField(_("retired"), null=True, editable=False)
    suspended_at = models.DateTimeField(_("suspended"), null=True, editable=False)
    compromised_at = models.DateTimeField(_("compromised"), null=True, editable=False)
    destroyed_at = models.DateTimeField(_("destroyed"), null=True, editable=False)
    overlap_until = models.DateTimeField(_("overlap until"), null=True, editable=False)
    suspended_from = models.CharField(
        _("suspended from"), max_length=11, choices=State.choices, blank=True, editable=False
    )
    verify_requested_at = models.DateTimeField(_("verify requested"), null=True, editable=False)
    verify_requested_by = models.CharField(max_length=150, blank=True, editable=False)
    verify_checked_at = models.DateTimeField(_("verify checked"), null=True, editable=False)
    verify_outcome = models.CharField(
        _("verify outcome"), max_length=12, choices=Verdict.choices, blank=True, editable=False
    )
    verify_detail = models.CharField(_("verify detail"), max_length=300, blank=True)
    verify_reference = models.CharField(_("gateway reference"), max_length=64, blank=True)
    verify_report = models.TextField(_("why it was refused"), blank=True, editable=False)
    activate_at = models.DateTimeField(_("activates at"), null=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    use_count = models.PositiveBigIntegerField(_("uses"), default=0, editable=False)
    lock_version = models.PositiveIntegerField(default=0, editable=False)

    # Nullable unique columns: constraints that PostgreSQL, SQLite and MySQL all keep.
    active_slot = models.OneToOneField(
        KeySlot, models.PROTECT, related_name="active", null=True, editable=False
    )
    live_key_id = models.CharField(max_length=128, null=True, editable=False)  # noqa: DJ001

    class Meta:
        verbose_name = _("key")
        verbose_name_plural = _("keys")
        ordering = ["-staged_at"]
        permissions = [
            ("import_credential", "Can import keys"),
            ("verify_credential", "Can verify keys with the gateway"),
            ("rotate_credential", "Can rotate and withdraw keys, and choose whom they cover"),
            ("destroy_credential", "Can destroy keys"),
            ("export_credential", "Can ask for the export of keys"),
        ]
        indexes = [
            models.Index(fields=["fingerprint"], name="cybs_key_fingerprint"),
            models.Index(fields=["expires_at"], name="cybs_key_ends"),
            models.Index(fields=["state", "activate_at"], name="cybs_key_due"),
            models.Index(fields=["-staged_at", "-id"], name="cybs_key_newest"),
            # Asked every few seconds: which keys are to be verified.
            models.Index(fields=["verify_requested_at"], name="cybs_key_marked"),
            # What the front page and the filters ask of each active key, without its wide row.
            models.Index(
                fields=["active_slot", "expires_at", "verify_outcome"], name="cybs_key_standing"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "live_key_id"], name="cybs_key_id_once_per_owner"
            ),
            models.CheckConstraint(
                name="cybs_active_fills_its_slot",
                # Not null is said too: a comparison with null is no violation to a database.
                condition=models.Q(
                    state=State.ACTIVE, active_slot__isnull=False, active_slot=models.F("slot")
                )
                | (~models.Q(state=State.ACTIVE) & models.Q(active_slot=None)),
            ),
            models.CheckConstraint(
                name="cybs_destroyed_keeps_no_secret",
                condition=~models.Q(state=State.DESTROYED)
                | models.Q(sealed_secret=None, sealed_p12=None, live_key_id=None),
            ),
        ]

    def __str__(self) -> str:
        return str(self.named)

    @property
    def named(self) -> Text:
        """Its name as a text, for what is stored: English there, the reader's on a page."""
        purpose = self.slot.get_purpose_display()
        return listed([self.organization.org_id, purpose, self.key_id])


class InUse(models.Manager["GatewayCertificate"]):
    """Certificates of hosts, and of uploads whose key was put into use.

    An upload alone redirects nobody's encryption: that takes the activation of its key.
    """

    def get_queryset(self) -> models.QuerySet[GatewayCertificate]:
        """What may encrypt."""
        return super().get_queryset().filter(in_use=True)


class GatewayCertificate(models.Model):
    """A request-MLE certificate: of one owner's P12, or of a whole host."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization,
        models.PROTECT,
        related_name="gateway_certificates",
        null=True,
        blank=True,
        help_text=_("Empty: serves every organization of the host."),
        verbose_name=_("organization"),
    )
    credential = models.ForeignKey(
        Credential,
        models.PROTECT,
        related_name="gateway_certificates",
        null=True,
        blank=True,
        verbose_name=_("key whose file carried it"),
    )
    # Written by the lifecycle: a join with the key in every look would cost the scans dearly.
    in_use = models.BooleanField(_("in use"), default=True, editable=False)
    host = models.CharField(_("host"), max_length=253)
    key_id = models.CharField(_("key ID"), max_length=128)
    certificate = models.TextField(_("certificate"))
    common_name = models.CharField(_("common name"), max_length=256)
    fingerprint = models.CharField(_("fingerprint"), max_length=64)
    not_before = models.DateTimeField(_("valid from"))
    not_after = models.DateTimeField(_("valid to"))
    source = models.CharField(_("source"), max_length=200)
    preferred = models.BooleanField(
        _("preferred"), default=False, help_text=_("Serves before an organization's own.")
    )
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    objects = InUse()
    stored = models.Manager()

    class Meta:
        verbose_name = _("request-MLE certificate")
        verbose_name_plural = _("request-MLE certificates")
        ordering = ["host", "-not_after"]
        indexes = [models.Index(fields=["host", "organization"], name="cybs_gateway_cert_host")]

    def __str__(self) -> str:
        owner = self.organization.org_id if self.organization else self.host
        return f"{owner} {self.key_id}"


class KeyUse(models.Model):
    """How often a key was used in one hour: the proof that a retired one is idle."""

    credential = models.ForeignKey(
        Credential, models.CASCADE, related_name="uses", verbose_name=_("credential")
    )
    hour = models.DateTimeField()
    signed = models.PositiveBigIntegerField(default=0)
    opened = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name = _("key use")
        verbose_name_plural = _("key uses")
        constraints = [
            models.UniqueConstraint(fields=["credential", "hour"], name="cybs_use_once_per_hour"),
        ]

    def __str__(self) -> str:
        return f"{self.credential_id} {self.hour:%Y-%m-%d %H}h"

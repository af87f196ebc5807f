"""Every error this package raises, in one tree.

CybsError
├── ConfigurationError          a setting is missing or wrong
│   ├── KeyRingError            the ring of key-encryption keys is missing, weak or malformed
│   └── WeakDurability          the database may forget what it has committed
├── KeyMaterialError            an uploaded file or pasted secret is refused
│   ├── UnreadableKeyFile       wrong password or damaged file; which of them is not said
│   ├── WrongKeyFile            a readable file, but not the one that belongs here
│   ├── WeakKey                 too short, not RSA, or not random
│   ├── ExpiredKey              its certificate has ended, or has not begun
│   └── DuplicateKey            this key is stored already
├── MessageError                a request cannot be signed as it was given
│   ├── InvalidHost, InvalidPath, InvalidHeader, InvalidBody
│   ├── EncryptionImpossible    MLE is asked for and no valid certificate can do it
│   │   └── BodyNotEncryptable  this body never can be: it is not JSON
│   └── EncryptionRequired      mle=False on an operation that must be encrypted
├── SealingError                a secret in the database does not open
│   ├── SecretIntegrityError    damaged, moved, or written by something else
│   ├── KeyUnavailable          its key-encryption key is not in the ring
│   └── KeyBlocked              its key-encryption key is blocked
├── OrganizationError
│   ├── OrganizationNotFound
│   ├── OrganizationAmbiguous   the same id on several hosts: say ORG_ID@HOST
│   ├── OrganizationInactive
│   └── OrganizationConflict    a kind, parent, host or id that does not fit
├── KeyResolutionError          no key may sign for this merchant
│   ├── NoKey                   nothing found; says what was looked at
│   ├── KeyNotUsable            suspended, compromised or ended: never passed over
│   └── KeyMismatch             the key that opened is not the key the row describes
├── InvalidTransition           the lifecycle has no such step
├── ApprovalRequired            FOUR_EYES is on and nobody else has approved
├── ApprovalDenied              this person, or this request, cannot be approved
├── TooManyImports              this person has uploaded too much within the hour
├── LiveRefused                 a live host, and the setting LIVE is not True
├── QueueError                  the durable queue does not take this
│   ├── IdempotencyConflict     the key was used before, with another payload
│   ├── TransactionIdConflict   another request of the merchant has this transactionId
│   ├── OpenTransaction         submit inside a transaction that may yet roll back
│   └── WrongState              the request is where this cannot be done with it
└── SendError
    ├── NotSent                 not one byte left; sending again is safe
    ├── OutcomeUnknown          bytes left and no usable answer came back
    │   └── ReplyUnreadable     an answer came and cannot be read
    │       ├── ReplyNotEncrypted   RESPONSE_MLE is "required" and the answer came in clear
    │       └── MLEDecryptError     the encrypted answer does not open
    └── GatewayRefused          an answer with a status that is not 2xx

The docstring of a class is its default message.
Messages name the cure; secrets and card data are never part of one.
They are templates, filled with the facts: `NotSent("Nothing was sent ({error}).", error=kind)`.
`str(error)` says it in the language that is active, `error.english` never in another.
Where the cure is a command and a page has another way, *page* is the message for pages.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from django_cybs_jwt.texts import Text


class CybsError(Exception):
    """Something in django_cybs_jwt went wrong."""

    page: ClassVar[str] = ""
    """What a page says instead of the default message, whose cure is a command."""

    def __init__(self, message: str = "", /, *, page: str = "", **facts: Any) -> None:
        if not message:
            message, page = inspect.cleandoc(type(self).__doc__ or ""), page or type(self).page
        self.text = Text(message, page=page, **facts)
        super().__init__(self.text.english)
        self.facts = {name: self.text.facts[name] for name in facts}
        """Redacted evidence for a log or a screen: ids, times, counts."""

    def __str__(self) -> str:
        return str(self.text)

    @property
    def english(self) -> str:
        """The message in English: for rows and logs, which outlive a reader's language."""
        return self.text.english


class ConfigurationError(CybsError):
    """A setting of CYBS_JWT is missing or wrong."""


class KeyRingError(ConfigurationError):
    """The key ring cannot be used. Make one with `manage.py cybs_keyring generate`."""


class WeakDurability(ConfigurationError):
    """The database may forget a commit in a power cut: a payment would be sent twice."""


class KeyMaterialError(CybsError, ValueError):
    """This key cannot be used."""


class UnreadableKeyFile(KeyMaterialError):
    """The file cannot be opened: the password is wrong or the file is damaged.

    Download the key again if the password is surely right; the gateway does not store it.
    """


class WrongKeyFile(KeyMaterialError):
    """This is not the file that belongs here."""


class WeakKey(KeyMaterialError):
    """The key is too weak to use. Generate a new one in the Business Center."""


class ExpiredKey(KeyMaterialError):
    """The certificate is outside its validity. Generate a new key in the Business Center."""


class DuplicateKey(KeyMaterialError):
    """This key is stored already."""


class MessageError(CybsError, ValueError):
    """The request cannot be signed as it was given."""


class InvalidHost(MessageError):
    """Not a hostname. Give the bare name, like apitest.cybersource.com."""


class InvalidPath(MessageError):
    """Not a resource path. Give an absolute path without host, like /pts/v2/payments."""


class InvalidHeader(MessageError):
    """A header name or value cannot be sent."""


class InvalidBody(MessageError):
    """The body cannot be sent as JSON."""


class EncryptionImpossible(MessageError):
    """Message-level encryption is asked for, and no valid request-MLE certificate is stored.

    Import the P12 that carries it, or add the host's with `manage.py cybs_gateway_cert add`.
    """

    page = (
        "Message-level encryption is asked for, and no valid request-MLE certificate is stored. "
        "Import the P12 that carries it."
    )


class BodyNotEncryptable(EncryptionImpossible):
    """Only JSON bodies can be encrypted."""


class EncryptionRequired(MessageError):
    """The gateway accepts this operation only encrypted; mle=False is refused."""


class SealingError(CybsError):
    """A sealed secret does not open."""


class SecretIntegrityError(SealingError):
    """A sealed secret is damaged, was moved from another row, or was not written by the ring.

    Restore the row from a backup, or import the key again.
    """


class KeyUnavailable(SealingError):
    """The key-encryption key of this secret is not in the ring. Put it back and try again."""


class KeyBlocked(SealingError):
    """The key-encryption key of this secret is blocked in the ring."""


class OrganizationError(CybsError):
    """The organization cannot be used."""


class OrganizationNotFound(OrganizationError, LookupError):
    """No such organization. `manage.py cybs_org list` shows what is stored."""


class OrganizationAmbiguous(OrganizationError, LookupError):
    """This id exists on several hosts. Name it ORG_ID@HOST."""


class OrganizationInactive(OrganizationError):
    """This organization is disabled."""


class OrganizationConflict(OrganizationError, ValueError):
    """The organization cannot be stored like this."""


class KeyResolutionError(CybsError):
    """No key may sign for this merchant."""


class NoKey(KeyResolutionError, LookupError):
    """No active key. Import one with `manage.py cybs_import ORG_ID FILE --activate`."""


class KeyNotUsable(KeyResolutionError):
    """The merchant's own key may not be used, and no other key takes its place silently."""


class KeyMismatch(KeyResolutionError):
    """The key that opened is not the key its row describes. Import the key again."""


class InvalidTransition(CybsError):
    """The key's lifecycle has no such step."""


class ApprovalRequired(CybsError):
    """A second person must approve this first."""


class ApprovalDenied(CybsError):
    """The approval is refused."""


class TooManyImports(CybsError):
    """Too many uploads within an hour. Wait, or use `manage.py cybs_import`."""


class LiveRefused(CybsError):
    """A live host, and CYBS_JWT["LIVE"] is not True. Nothing was sent."""


class QueueError(CybsError):
    """The durable queue does not take this request."""


class IdempotencyConflict(QueueError, ValueError):
    """This idempotency key was used before for another request. Give each order its own key."""


class TransactionIdConflict(QueueError, ValueError):
    """Another request of this merchant has this transactionId, and would be taken for this one.

    Give each its own, never used again, or leave it out: one is made from the idempotency key.
    """


class OpenTransaction(QueueError, RuntimeError):
    """A transaction is open: what is sent now could not be unsent by its rollback.

    Call `cybs.enqueue` inside the transaction, or `cybs.submit` after it has committed.
    """


class WrongState(QueueError):
    """The request is in a state where this cannot be done with it."""


class SendError(CybsError):
    """The request was not answered as it should be."""


class NotSent(SendError):
    """Nothing left this machine; sending again is safe."""


class OutcomeUnknown(SendError):
    """The request left and no usable answer came back: it may have been processed.

    Look the transaction up, or void it by its transactionId, before sending it again.
    """


class ReplyUnreadable(OutcomeUnknown):
    """An answer came back and cannot be read. The request was probably processed."""


class ReplyNotEncrypted(ReplyUnreadable):
    """The answer came in clear although RESPONSE_MLE is "required" for this organization."""


class MLEDecryptError(ReplyUnreadable):
    """The encrypted answer does not open with this owner's response keys.

    The request was probably processed: look it up before sending it again.
    """


class GatewayRefused(SendError):
    """The gateway answered with a status that is not 2xx."""

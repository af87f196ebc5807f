"""The password of a key file, checked before a library sees it.

Some passwords make the library panic and print them; none of those opens a file anyway.
"""

from __future__ import annotations

from typing import Final

from django_cybs_jwt.exceptions import UnreadableKeyFile

MAX_CHARACTERS: Final = 1024


def encode_password(password: str | bytes) -> bytes:
    """The exact bytes that are tried: nothing is trimmed, normalised or tried a second way.

    Raises UnreadableKeyFile for a NUL, for bytes that are not UTF-8 and above 1,024 characters.
    """
    try:
        text = password if isinstance(password, str) else password.decode()
        encoded = text.encode()
    except UnicodeError:
        raise UnreadableKeyFile("The password is not UTF-8 text. Type it again.") from None
    if "\0" in text:
        raise UnreadableKeyFile("The password contains a NUL character. Type it again.")
    if len(text) > MAX_CHARACTERS:
        raise UnreadableKeyFile(
            "The password has more than {most:,} characters. Was a file pasted instead?",
            most=MAX_CHARACTERS,
        )
    return encoded

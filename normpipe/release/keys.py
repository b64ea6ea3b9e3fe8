"""The user's key, and the pseudonyms that it makes: who holds the key can tell who is who, nobody else can.

A pseudonym is the beginning of HMAC-SHA256 (RFC 2104) over kind, dataset and name. The same key gives the same pseudonyms in
every release, so that two versions can be compared and a person can be taken out. Without a key, names of subjects could be
guessed by hashing lists of names. The key itself stands in no file that is written; a release holds the HMAC of a fixed word,
by which a rebuild knows whether it was given the same key.
"""

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from normpipe.errors import UsageError

_WORD = b"normpipe release"
_DIGITS = 32
_KEY_BYTES = 32
_DISTINCT_BYTES = 16
"""32 random bytes have fewer distinct values once in 10^12 times; typed passphrases and repeated patterns have."""

_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_HOW = "make one: openssl rand -hex 32 > release.key && chmod 600 release.key"


class Kind(StrEnum):
    """What a name is of: equal names of different kinds have different pseudonyms."""

    SAMPLE = "sample"
    SUBJECT = "subject"
    SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True)
class Key:
    """The user's secret; its repr does not show it."""

    secret: bytes

    def __repr__(self) -> str:
        return "Key()"

    @property
    def check(self) -> str:
        """Hex HMAC-SHA256 of a fixed word: equal for equal keys, and tells nothing else."""
        return hmac.digest(self.secret, _WORD, "sha256").hex()


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key as it lies on disk; `exposed` says that others than its owner may read it."""

    key: Key
    exposed: bool


@dataclass(frozen=True, slots=True)
class Names:
    """From the sources' names to those of a release.

    Attributes:
        key: None keeps names as they are (--plain-ids).
    """

    key: Key | None

    def released(self, kind: Kind, dataset: str | None, name: str) -> str:
        """The name as the release shows it: 32 hex digits, or itself without a key."""
        return name if self.key is None else self.tombstone(kind, dataset, name)

    def tombstone(self, kind: Kind, dataset: str | None, name: str) -> str:
        """What stands for a name that was withdrawn: its pseudonym; without a key a plain hash, which can be guessed."""
        message = f"{kind}\0{dataset_word(dataset or '')}\0{spelled(name)}".encode("utf-8", "surrogatepass")
        if self.key is None:
            return hashlib.sha256(message).hexdigest()[:_DIGITS]
        return hmac.digest(self.key.secret, message, "sha256").hex()[:_DIGITS]

    @property
    def check(self) -> str | None:
        """The key's check, None with plain names."""
        return None if self.key is None else self.key.check


def dataset_word(name: str) -> str:
    """A dataset's word as terms and pseudonyms know it: in small letters, without space around it."""
    return name.strip().lower()


def spelled(name: str) -> str:
    """A name as lists and pseudonyms know it: composed letters (Unicode's NFC), without space around it.

    The same person must not be two since one file writes an accent as a sign of its own.
    """
    plain = name.strip()
    return plain if plain.isascii() else unicodedata.normalize("NFC", plain)


def read_key(path: Path) -> KeyFile:
    """Read a key: at least 32 random bytes, raw, in hex or in base64.

    Raises:
        UsageError: there is no such file, or what it holds is too short or too regular to be a key.
    """
    try:
        content = path.read_bytes()
        exposed = bool(path.stat().st_mode & 0o077)
    except FileNotFoundError as error:
        raise UsageError(f"--key-file {path.name}: not there; {_HOW}") from error
    except OSError as error:
        raise UsageError(f"--key-file {path.name}: cannot be read ({error.strerror})") from error
    secret = _decoded(content)
    if len(secret) < _KEY_BYTES or len(set(secret)) < _DISTINCT_BYTES:
        raise UsageError(f"--key-file {path.name}: a key has at least {_KEY_BYTES} random bytes, this one has not; {_HOW}")
    return KeyFile(Key(secret), exposed)


def _decoded(content: bytes) -> bytes:
    """The bytes that a text stands for, so that how a key is written does not count as randomness."""
    text = content.strip()
    if _HEX.fullmatch(text):
        return binascii.unhexlify(text)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return content

"""SHA256SUMS.sig: an Ed25519 signature (RFC 8032) of SHA256SUMS, which names every file's sha256, and so of the whole release.

It is the 64 bytes alone, which `openssl pkeyutl -verify -rawin` reads as well, and stands outside the sums: signing changes no
file of the release. The same release and key give the same signature.
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from normpipe.errors import NormpipeError, UsageError
from normpipe.release.push import outgoing_files
from normpipe.release.reader import ReleaseFolder
from normpipe.release.sums import SIGNATURE_FILE, SUMS_FILE, read_sums_bytes
from normpipe.shards.atomic import sha256_of, write_bytes

SIGNATURE_BYTES = 64

_ENCRYPTED = b"ENCRYPTED"
_MOST_KEY_BYTES = 1 << 16


def is_encrypted(key: Path) -> bool:
    """Whether a private key asks for a passphrase.

    Raises:
        UsageError: the file cannot be read.
    """
    return _ENCRYPTED in _read(key, "--key")


def sign(release: Path, key: Path, passphrase: bytes | None = None) -> None:
    """Write SHA256SUMS.sig, after every file was read and found as SHA256SUMS says.

    Args:
        release: Folder of a release.
        key: Ed25519 private key, PEM (PKCS 8), outside the release.
        passphrase: Of an encrypted key.

    Raises:
        UsageError: the key is none, lies in the release, or the folder is no release.
        NormpipeError: a file is not what SHA256SUMS says.
    """
    if key.resolve().is_relative_to(release.resolve()):
        raise UsageError(f"--key: {key.name}: the private key lies in the release, where it would be published; move it away")
    private = _private_key(key, passphrase)
    for file in outgoing_files(release):
        if sha256_of(file.source) != file.sha256:
            raise NormpipeError(f"{file.path}: its sha256 is not the one in {SUMS_FILE}; not signed")
    write_bytes(release / SIGNATURE_FILE, private.sign(read_sums_bytes(release)))


def read_public_key(file: Path) -> Ed25519PublicKey:
    """The key of --public-key.

    Raises:
        UsageError: the file is no Ed25519 public key in PEM.
    """
    try:
        key = load_pem_public_key(_read(file, "--public-key"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"--public-key: {file.name} is no public key in PEM (-----BEGIN PUBLIC KEY-----)") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"--public-key: {file.name} is no Ed25519 key")
    return key


def check_signature(content: bytes, signature: bytes, public_key: Ed25519PublicKey) -> None:
    """Hold a signature against the bytes of SHA256SUMS.

    Raises:
        NormpipeError: it is not that key's signature of these bytes.
    """
    try:
        public_key.verify(signature, content)
    except InvalidSignature as error:
        raise NormpipeError(
            f"{SIGNATURE_FILE}: not a signature of this {SUMS_FILE} by that key; do not trust this release"
        ) from error


def verify_signature(folder: ReleaseFolder, key: Ed25519PublicKey) -> None:
    """Whether a release's SHA256SUMS is signed by a key; its files are the business of whoever verifies the sums.

    Raises:
        UsageError: there is no release or no signature.
        NormpipeError: the signature is wrong.
    """
    try:
        signature = folder.content(SIGNATURE_FILE)
    except FileNotFoundError as error:
        raise UsageError(f"{SIGNATURE_FILE}: not there; the release is not signed") from error
    try:
        sums = folder.content(SUMS_FILE)
    except FileNotFoundError as error:
        raise UsageError(f"{folder.name}: not a release (it has no {SUMS_FILE})") from error
    check_signature(sums, signature, key)


def _private_key(file: Path, passphrase: bytes | None) -> Ed25519PrivateKey:
    pem = _read(file, "--key")
    try:
        key = load_pem_private_key(pem, passphrase)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        if _ENCRYPTED in pem:
            raise UsageError(f"--key: {file.name} has another passphrase, or is damaged") from error
        raise UsageError(f"--key: {file.name} is no private key in PEM (-----BEGIN PRIVATE KEY-----)") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"--key: {file.name} is no Ed25519 key; make one with openssl genpkey -algorithm ed25519")
    return key


def _read(file: Path, option: str) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST_KEY_BYTES)
    except OSError as error:
        raise UsageError(f"{option}: {file.name} cannot be read ({error.strerror})") from error

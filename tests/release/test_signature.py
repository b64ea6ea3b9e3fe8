"""A signature says that the holder of a key saw exactly this release; anyone can check it, without normpipe as well."""

import re
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from fixtures.command import normpipe
from fixtures.signed import write_keys
from fixtures.small_release import contents, write_release, write_sums

from normpipe.errors import NormpipeError, UsageError
from normpipe.release.pull import pull
from normpipe.release.reader import open_release
from normpipe.release.remote import open_remote
from normpipe.release.signature import is_encrypted, read_public_key, sign, verify_signature
from normpipe.release.sums import SIGNATURE_FILE, SUMS_FILE


def check(folder, public_key):
    verify_signature(open_release(str(folder)), read_public_key(public_key))


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "release")


@pytest.fixture
def keys(tmp_path):
    return write_keys(tmp_path, "steward")


def test_a_signed_release_is_verified_with_the_public_key(release, keys):
    before = contents(release)
    sign(release, keys[0])
    check(release, keys[1])
    after = contents(release)
    assert len(after.pop(SIGNATURE_FILE)) == 64
    assert after == before, "signing changes nothing that is hashed"


def test_the_same_key_gives_the_same_signature(release, keys):
    sign(release, keys[0])
    first = (release / SIGNATURE_FILE).read_bytes()
    sign(release, keys[0])
    assert (release / SIGNATURE_FILE).read_bytes() == first


def test_another_release_another_key_and_a_changed_signature_are_found(release, keys, tmp_path):
    sign(release, keys[0])
    with pytest.raises(NormpipeError, match="not a signature of this SHA256SUMS by that key"):
        check(release, write_keys(tmp_path, "other")[1])
    good = (release / SIGNATURE_FILE).read_bytes()
    for wrong in (b"", good[:-1], good + b"x", bytes([good[0] ^ 1]) + good[1:]):
        (release / SIGNATURE_FILE).write_bytes(wrong)
        with pytest.raises(NormpipeError, match="do not trust"):
            check(release, keys[1])
    (release / SIGNATURE_FILE).write_bytes(good)
    (release / "README.md").write_text("# better\n")
    (release / SIGNATURE_FILE).unlink()
    write_sums(release)
    (release / SIGNATURE_FILE).write_bytes(good)
    with pytest.raises(NormpipeError, match="do not trust"):
        check(release, keys[1])


def test_what_is_damaged_is_not_signed(release, keys):
    (release / "README.md").write_text("# better\n")
    with pytest.raises(NormpipeError, match=r"^README\.md: its sha256 is not the one in SHA256SUMS; not signed$"):
        sign(release, keys[0])
    assert not (release / SIGNATURE_FILE).exists()


def test_a_key_in_the_release_would_be_published(release):
    private, _ = write_keys(release / "data", "steward")
    with pytest.raises(UsageError, match="the private key lies in the release"):
        sign(release, private)


def test_files_that_are_no_ed25519_keys(release, keys, tmp_path):
    private, public = keys
    (tmp_path / "text").write_text("key")
    other_private, other_public = write_keys(tmp_path, "ec", key=generate_private_key(SECP256R1()))
    for wrong in (public, other_private, tmp_path / "text", tmp_path / "absent", tmp_path):
        with pytest.raises(UsageError, match=f"^--key: {re.escape(wrong.name)} (is no|cannot be read)"):
            sign(release, wrong)
    sign(release, private)
    for wrong in (private, other_public, tmp_path / "text", tmp_path / "absent"):
        with pytest.raises(UsageError, match=r"^--public-key: "):
            check(release, wrong)


def test_an_encrypted_key_needs_its_passphrase(release, tmp_path):
    private, public = write_keys(tmp_path, "hidden", b"words")
    assert is_encrypted(private)
    for wrong in (None, b"", b"other"):
        with pytest.raises(UsageError, match=r"^--key: hidden-private\.pem has another passphrase, or is damaged$"):
            sign(release, private, wrong)
    sign(release, private, b"words")
    check(release, public)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_makes_keys_and_reads_signatures(release, tmp_path):
    def openssl(*arguments):
        return subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert openssl("genpkey", "-algorithm", "ed25519", "-out", "private.pem").returncode == 0
    assert openssl("pkey", "-in", "private.pem", "-pubout", "-out", "public.pem").returncode == 0
    sign(release, tmp_path / "private.pem")
    check(release, tmp_path / "public.pem")
    files = ("-in", str(release / SUMS_FILE), "-sigfile", str(release / SIGNATURE_FILE))
    checked = openssl("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", *files)
    assert (checked.returncode, "Verified Successfully" in checked.stdout) == (0, True)


def test_a_pull_checks_the_signature_before_anything_else_is_read(release, keys, tmp_path):
    source, folder = open_remote(str(release)), tmp_path / "pulled"
    with pytest.raises(UsageError, match="not signed"):
        pull(source, folder, 2, public_key=keys[1])
    sign(release, keys[0])
    with pytest.raises(NormpipeError, match="do not trust"):
        pull(source, folder, 2, public_key=write_keys(tmp_path, "other")[1])
    assert not folder.exists()
    assert pull(source, folder, 2, public_key=keys[1]).signed
    assert contents(folder) == contents(release)


def test_a_signature_that_came_later_is_pulled_too(release, keys, tmp_path):
    source, folder = open_remote(str(release)), tmp_path / "pulled"
    pull(source, folder, 2)
    sign(release, keys[0])
    assert pull(source, folder, 2).fetched == 1
    assert pull(source, folder, 2).fetched == 0
    check(folder, keys[1])


def test_the_commands(release, keys, tmp_path, capsys):
    assert normpipe(capsys, "release", "sign", release, "--key", keys[0])[:2] == (0, f"{release}: signed\n")
    code, out, _ = normpipe(capsys, "release", "pull", release, tmp_path / "pulled", "--public-key", keys[1])
    assert (code, out.rpartition("; ")[2]) == (0, "signature verified\n")
    code, out, _ = normpipe(capsys, "release", "pull", release, tmp_path / "pulled")
    assert (code, out.rpartition("; ")[2]) == (0, "signed, but not held against a key (--public-key)\n")
    code, out, err = normpipe(
        capsys, "release", "pull", release, tmp_path / "x", "--public-key", write_keys(tmp_path, "other")[1]
    )
    assert (code, out) == (1, "")
    assert err == f"error: {SIGNATURE_FILE}: not a signature of this {SUMS_FILE} by that key; do not trust this release\n"

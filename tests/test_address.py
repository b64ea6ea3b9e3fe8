import pytest

from normpipe.address import shown
from normpipe.errors import UsageError
from normpipe.release.reader import open_release


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://me:secret@127.0.0.1:9/x", "ftp://127.0.0.1:9/x"),
        ("https://host/x?token=secret#secret", "https://host/x"),
        ("https://host:8080/x?token=a:b@secret", "https://host:8080/x"),
        ("ftp://me:secr/et@host/x", "ftp://host/x"),
        ("ftp://me:secr?e#t@host/x", "ftp://host/x"),
        ("s3://bucket/x", "s3://bucket/x"),
        ("s3://bucket/x@2", "s3://bucket/x@2"),
        ("hf://datasets/owner/name@1.1.0", "hf://datasets/owner/name@1.1.0"),
        ("/home/secret/x", "x"),
        ("/home/secret/x/", "x"),
        ("file:///home/secret/x", "x"),
        (".", "."),
        ("/", "/"),
    ],
)
def test_addresses_are_told_without_what_is_secret_in_them(url, told):
    assert shown(url) == told


def test_an_unknown_protocol_is_told_without_the_password():
    with pytest.raises(UsageError, match=r"^nowhere://host/x: cannot be opened; ") as caught:
        open_release("nowhere://me:secret@host/x")
    assert "secret" not in str(caught.value)

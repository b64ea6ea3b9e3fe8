"""Amazon S3 and whatever speaks its language: objects appear whole, carry their sha256, and broken uploads are gone on with.

A small file is one request whose checksum S3 compares. A large one is a multipart upload: its parts are no object until it is
completed, which happens only when the whole was hashed here and found right. The object's own checksum would then be one of
its parts' checksums, so the sha256 of the content is kept beside it, as metadata that appears with the object.

A killed push leaves its multipart uploads open. The next one takes the parts that are there (their ETag is their MD5, but under
encryption with keys of the user, where they are sent again), and whatever is still open in the end is aborted.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html
"""

import base64
import hashlib
from collections.abc import Collection, Mapping
from typing import TypedDict

from normpipe.errors import NormpipeError
from normpipe.release.outgoing import Outgoing
from normpipe.release.parallel import Halt
from normpipe.release.remote_fsspec import FsspecRemote
from normpipe.sources.retries import retried

_PART = 8 << 20
_MOST_PARTS = 10_000
_SHA256_KEY = "sha256"


class _Part(TypedDict):
    PartNumber: int
    ETag: str
    ChecksumSHA256: str


class _Answer(TypedDict, total=False):
    """What of the answers is used here."""

    ChecksumSHA256: str
    ETag: str
    Metadata: dict[str, str]
    Parts: list[_Part]
    UploadId: str
    Uploads: list[dict[str, str]]


_Arguments = Mapping[str, str | int | bytes | Mapping[str, str] | Mapping[str, list[_Part]]]


class S3Remote(FsspecRemote):
    """A place of `release.remote`.

    Args:
        url: `s3://bucket/prefix`. Credentials, region and endpoint are those that boto3 finds.
    """

    def agrees(self, file: Outgoing) -> bool | None:
        """Compare with the checksum that S3 itself took of the whole object, or else with what `send` put beside it."""
        head = self._call("head_object", {"Key": self._key(file.path), "ChecksumMode": "ENABLED"})
        whole = head.get("ChecksumSHA256")
        if whole is not None and "-" not in head["ETag"]:  # there stands the number of parts, whose checksums it would be of
            return base64.b64decode(whole).hex() == file.sha256
        kept = head.get("Metadata", {}).get(_SHA256_KEY)
        return None if kept is None else kept == file.sha256

    def send(self, file: Outgoing, halt: Halt) -> None:
        """One request, or a multipart upload that goes on with the parts that are there."""
        if file.size > _PART:
            self._send_parts(file, halt)
            return
        (content,) = file.pieces(_PART, halt)
        metadata = {_SHA256_KEY: file.sha256}
        key, checksum = self._key(file.path), _sha256_of(content)
        self._call("put_object", {"Key": key, "Body": content, "Metadata": metadata, "ChecksumSHA256": checksum})

    def clear(self, paths: Collection[str]) -> None:
        """Abort open multipart uploads of these files."""
        keys = {self._key(path) for path in paths}
        for upload in self._uploads(self._key("")):
            if upload["Key"] in keys:
                self._abort(upload)

    def _send_parts(self, file: Outgoing, halt: Halt) -> None:
        upload, there = self._upload(file)
        size = max(_PART, -(-file.size // _MOST_PARTS))
        parts: list[_Part] = []
        try:
            for number, piece in enumerate(file.pieces(size, halt), start=1):
                checksum, tag = _sha256_of(piece), f'"{hashlib.md5(piece, usedforsecurity=False).hexdigest()}"'
                if there.get(number) != tag:
                    sent = self._call(
                        "upload_part", {**upload, "PartNumber": number, "Body": piece, "ChecksumSHA256": checksum}
                    )
                    tag = sent["ETag"]
                parts.append({"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum})
        except NormpipeError:  # the file is wrong, and so are the parts
            self._abort(upload)
            raise
        self._call("complete_multipart_upload", {**upload, "MultipartUpload": {"Parts": parts}})

    def _upload(self, file: Outgoing) -> tuple[dict[str, str], dict[int, str]]:
        """An upload to go on with, and the ETags of its first thousand parts; a new one if there is none."""
        key = self._key(file.path)
        for upload in self._uploads(key):
            if upload["Key"] == key:
                return upload, {part["PartNumber"]: part["ETag"] for part in self._call("list_parts", upload).get("Parts", [])}
        metadata = {_SHA256_KEY: file.sha256}
        made = self._call("create_multipart_upload", {"Key": key, "Metadata": metadata, "ChecksumAlgorithm": "SHA256"})
        return {"Key": key, "UploadId": made["UploadId"]}, {}

    def _uploads(self, prefix: str) -> list[dict[str, str]]:
        """Open uploads, a thousand at most; none where asking for them is not allowed."""
        try:
            found = self._call("list_multipart_uploads", {"Prefix": prefix}).get("Uploads", [])
        except PermissionError:
            return []
        return [{"Key": upload["Key"], "UploadId": upload["UploadId"]} for upload in found]

    def _abort(self, upload: dict[str, str]) -> None:
        self._call("abort_multipart_upload", upload)

    def _key(self, path: str) -> str:
        return self._at(path).partition("/")[2]

    def _call(self, method: str, arguments: _Arguments) -> _Answer:
        """One request of https://docs.aws.amazon.com/AmazonS3/latest/API/."""
        bucket, filesystem = self._at("").partition("/")[0], self._filesystem()
        answer: _Answer = retried(lambda: filesystem.call_s3(method, Bucket=bucket, **arguments))
        return answer


def _sha256_of(content: bytes) -> str:
    """As S3 writes it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode("ascii")

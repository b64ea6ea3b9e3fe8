"""Calls to remote file systems fail now and then: each is tried again for some seconds, and a broken transfer resumes.

Only what may pass is tried again. A missing file, a refused one, or a folder in its place is a fact and reported at once. All
that leaves here is an OSError with an error number and no address in it, whatever the backend raised, so that nobody else has
to know backends.
"""

import errno
import http.client
import io
import os
import sys
import time
from collections.abc import Callable
from typing import IO, TypeVar

_T = TypeVar("_T")

_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)  # seconds before each further attempt

_FACTS = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EINVAL,
    }
)
_NUMBER_OF_CLASS: tuple[tuple[type[OSError], int], ...] = (
    (FileNotFoundError, errno.ENOENT),
    (PermissionError, errno.EACCES),
    (IsADirectoryError, errno.EISDIR),
    (NotADirectoryError, errno.ENOTDIR),
    (FileExistsError, errno.EEXIST),
    (TimeoutError, errno.ETIMEDOUT),
    (io.UnsupportedOperation, errno.EINVAL),
)
_NUMBER_OF_STATUS = {"401": errno.EACCES, "403": errno.EACCES, "404": errno.ENOENT, "408": errno.ETIMEDOUT, "410": errno.ENOENT}

# Roots of what fsspec's backends let pass although it is no OSError. Nothing is imported for it: a class that no module has
# loaded, nobody can have raised.
_BACKEND_ERRORS = (
    ("aiohttp", "ClientError"),  # http, gcsfs, s3fs
    ("gcsfs.retry", "HttpError"),
    ("gcsfs.retry", "ChecksumError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("botocore.exceptions", "BotoCoreError"),  # s3fs
    ("botocore.exceptions", "ClientError"),
    ("urllib3.exceptions", "HTTPError"),
    ("azure.core.exceptions", "AzureError"),  # adlfs
    ("paramiko.ssh_exception", "SSHException"),  # sftp
    ("httpx", "HTTPError"),  # huggingface_hub
    ("httpx2", "HTTPError"),
)


def retried(call: Callable[[], _T]) -> _T:
    """Result of a call, which is made up to five times more if it fails in a way that may pass.

    Raises:
        OSError: the call failed to the end, or for good. The subclass tells what it was: FileNotFoundError, PermissionError,
            TimeoutError and so on.
    """
    for pause in (*_PAUSES, None):
        try:
            return call()
        except _transfer_errors() as error:
            number = _number(error)
            if pause is None or number in _FACTS:
                raise OSError(number, os.strerror(number)) from error
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


class ResumingFile(io.RawIOBase):
    """A file for reading that, after a failure, is opened anew and read on from where it was.

    Args:
        reopen: Opens the file at its beginning.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, reopen: Callable[[], IO[bytes]]) -> None:
        super().__init__()
        self._reopen = reopen
        self._offset = 0
        self._file: IO[bytes] | None = None
        self._file = retried(reopen)

    def readable(self) -> bool:
        """True: this is a source."""
        return True

    def seekable(self) -> bool:
        """True: any offset can be reached."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer from the current offset; returns the number of bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # RawIOBase declares its argument more loosely than it is
        data = self._again(lambda file: file.read(len(view)))
        view[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def readall(self) -> bytes:
        """All bytes from the current offset on."""
        data = self._again(lambda file: file.read())
        self._offset += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset; returns it from the file's beginning."""
        if whence == io.SEEK_CUR:
            offset, whence = self._offset + offset, io.SEEK_SET
        self._offset = self._again(lambda file: file.seek(offset, whence))
        return self._offset

    def tell(self) -> int:
        """Current offset."""
        return self._offset

    def close(self) -> None:
        """Close the file underneath, too."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _again(self, call: Callable[[IO[bytes]], _T]) -> _T:
        def attempt() -> _T:
            file, self._file = self._file, None  # a file on which a call failed is not used again
            if file is None:
                file = self._reopen()
                file.seek(self._offset)
            result = call(file)
            self._file = file
            return result

        return retried(attempt)


def _transfer_errors() -> tuple[type[BaseException], ...]:
    loaded = [(sys.modules[module], name) for module, name in _BACKEND_ERRORS if module in sys.modules]
    return OSError, http.client.HTTPException, *(getattr(module, name) for module, name in loaded if hasattr(module, name))


def _number(error: BaseException) -> int:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    for kind, number in _NUMBER_OF_CLASS:
        if isinstance(error, kind):
            return number
    answer = getattr(error, "response", None)  # huggingface_hub; botocore has a dictionary there, and no status
    # aiohttp has the first, gcsfs the second
    status = getattr(error, "status", None) or getattr(error, "code", None) or getattr(answer, "status_code", None)
    return _NUMBER_OF_STATUS.get(str(status), errno.EIO)

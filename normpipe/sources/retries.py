"""Calls to remote file systems fail now and then: each is tried again for some seconds, and a broken transfer resumes.

Only what may pass is tried again. A missing file, a refused one, or a folder in its place is a fact and reported at once. What
is still broken after that leaves here as OSError, whatever the backend raised, so that nobody else has to know backends, and
the row fails as io_error or timeout.
"""

import errno
import http.client
import io
import sys
import time
from collections.abc import Callable
from typing import IO, TypeVar

_T = TypeVar("_T")

_RETRIES = 5
_FIRST_PAUSE = 0.1  # seconds, doubled each time: 3.1 in all

_FACTS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError, io.UnsupportedOperation)
_FACT_NUMBERS = {errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}

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
)
_STATUS_ERRORS = {"401": PermissionError, "403": PermissionError, "404": FileNotFoundError, "410": FileNotFoundError}


def retried(call: Callable[[], _T]) -> _T:
    """Result of a call, which is made up to five times more if it fails in a way that may pass.

    Raises:
        OSError: the call failed to the end, or for good.
    """
    pause = _FIRST_PAUSE
    for _ in range(_RETRIES):
        try:
            return call()
        except _transfer_errors() as error:
            fact = _fact(error)
            if fact is not None:
                raise fact from error
        time.sleep(pause)
        pause *= 2
    try:
        return call()
    except _transfer_errors() as error:
        if isinstance(error, OSError):
            raise
        raise _fact(error) or OSError(errno.EIO, "the transfer failed") from error


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
        self._file: IO[bytes] | None = retried(reopen)

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


def _fact(error: BaseException) -> OSError | None:
    """The error to end with if trying again is in vain."""
    if isinstance(error, OSError):
        return error if isinstance(error, _FACTS) or error.errno in _FACT_NUMBERS else None
    status = str(getattr(error, "status", None) or getattr(error, "code", None))  # aiohttp has the one, gcsfs the other
    kind = _STATUS_ERRORS.get(status)
    return None if kind is None else kind(f"the server answers {status}")

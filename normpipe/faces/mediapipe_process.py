"""mediapipe behind pipes, for whatever is asked of it: landmarks by the face engine, blendshapes by the audit.

It reports usage to its maker when it closes, and nothing but a dead proxy in the process's environment stops it; that would
break every other connection of the process, so it gets one for itself. It writes one byte when it is ready. Then each request
is height and width (two little-endian uint32) and the RGB bytes; what an answer looks like is between the two modules on either
side, which is why both sides are here and mediapipe itself is not.
"""

import os
import struct
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from normpipe.batches import Image
from normpipe.errors import NormpipeError

_DEAD_PROXY = "http://127.0.0.1:9"
_READY = b"R"


class RefusedError(Exception):
    """mediapipe cannot load the bundle."""


class MediaPipeProcess:
    """A process that runs a worker module.

    Args:
        module: Name of the module, which calls `answer_requests`.
        bundle: The `.task` file, the module's first argument.
        arguments: Its further arguments.

    Raises:
        RefusedError: the process ended before it was ready.
    """

    def __init__(self, module: str, bundle: Path, *arguments: str) -> None:
        guarded = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _DEAD_PROXY)
        guarded |= {"no_proxy": "", "NO_PROXY": ""}
        self.process = subprocess.Popen(  # noqa: S603 (our own interpreter and module, no shell)
            [sys.executable, "-m", module, str(bundle), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=guarded,
        )
        self._close = weakref.finalize(self, _end, self.process)
        if _stream(self.process.stdout).read(1) != _READY:
            self._close()
            raise RefusedError

    def send(self, image: Image) -> None:
        """Ask about an (height, width, 3) uint8 RGB image.

        Raises:
            NormpipeError: the process has ended.
        """
        height, width = image.shape[:2]
        outgoing = _stream(self.process.stdin)
        try:
            outgoing.write(struct.pack("<II", height, width) + np.ascontiguousarray(image).tobytes())
            outgoing.flush()
        except (OSError, ValueError) as error:
            raise _ended() from error

    def read(self, size: int) -> bytes:
        """The next so many bytes of the answer.

        Raises:
            NormpipeError: the process has ended.
        """
        try:
            content = _stream(self.process.stdout).read(size)
        except (OSError, ValueError) as error:
            raise _ended() from error
        if len(content) < size:
            raise _ended()
        return content

    def close(self) -> None:
        """End the process; nothing can be asked afterwards."""
        self._close()


def answer_requests(answer: Callable[[Image], bytes], requests: BinaryIO, answers: BinaryIO) -> None:
    """The worker's side: say that it is ready, and answer until the requests end."""
    answers.write(_READY)
    answers.flush()
    while header := requests.read(8):
        height, width = struct.unpack("<II", header)
        answers.write(answer(np.frombuffer(requests.read(3 * height * width), np.uint8).reshape(height, width, 3)))
        answers.flush()


def private_answers() -> BinaryIO:
    """Standard output, kept for answers alone: whatever native code prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _ended() -> NormpipeError:
    return NormpipeError("mediapipe's process has ended; run again")


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        _stream(pipe).close()

"""A process that works for this one and ends with it: its owner's half, and how it begins itself.

Its other end is a socket, which it finds as its standard input: there comes all that it is to know, and back goes all that it
has to say. What native libraries write on standard output and error goes nowhere, for it may hold paths.
"""

import ctypes
import math
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from normpipe.engine.threads import steady_environment

_GRACE_SECONDS = 2.0
_REAP_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class LostError(Exception):
    """The process died or hung; the message says how."""

    def __init__(self, how: str, *, hung: bool) -> None:
        super().__init__(how)
        self.hung = hung


class OwnedProcess:
    """One process, and the socket to it. It must be started by a thread that lives as long: Linux ends it with that thread.

    Args:
        module: Whose function `main` it runs; that begins with `channel_to_owner`.
        first: What it hears first, pickled.
        variables: Of its environment, beside this process's own.
        folder: In which it works; this process's unless given.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self, module: str, first: bytes, variables: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        self._channel, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module, no shell
                # -P: the current folder, which may hold anything, is no place to import from.
                [sys.executable, "-P", "-c", f"from {module} import main; main()", str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={
                    **steady_environment(os.environ),
                    "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path),
                    **(variables or {}),
                },
                cwd=folder,
                process_group=0,  # so that processes of its own end with it, and a terminal's Ctrl-C passes it by
            )
        with suppress(OSError):
            self._channel.send_bytes(first)

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended and was not given up."""
        return not self._channel.closed and self._process.poll() is None

    def send(self, message: object) -> None:
        """Say something; that the process is dead comes out on hearing from it."""
        with suppress(OSError):
            self._channel.send(message)

    def has_spoken(self, seconds: float) -> bool:
        """Whether there is something to hear, its death included; waits for it."""
        try:
            return self._channel.poll(seconds)
        except OSError:
            return True

    def hear(self, deadline: float) -> object:
        """What it says next.

        Args:
            deadline: Seconds after which it counts as hung.

        Raises:
            LostError: the process is dead, or hung and now dead as well.
        """
        # Counted in short waits, so that time during which this very process was stopped does not count.
        wait = min(1.0, deadline)
        try:
            for _ in range(math.ceil(deadline / wait)):
                if self._channel.poll(wait):
                    said: object = self._channel.recv()
                    return said
        except (EOFError, OSError):
            end = self._kill()
            self.close()
            raise LostError(end, hung=False) from None
        self._kill()
        self.close()
        raise LostError(f"nothing heard for {deadline:g} s", hung=True)

    def end(self) -> None:
        """Ask it to end, then make it; safe while another thread is hearing it."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        self._kill()

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def _kill(self) -> str:
        """End it and all it has started, and say how it ended if it did so by itself."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        try:
            code = self._process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:  # stuck in the kernel, say on a dead network file system; it is left behind
            return "cannot be ended"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def channel_to_owner() -> Connection:
    """What an owned process does first: it makes sure that it does not outlive its owner, and finds the socket.

    The owner's process id is the only argument.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold photos
    channel = Connection(os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # a device, not a path
        os.dup2(nothing.fileno(), 0)
    _end_with_owner(channel, int(sys.argv[1]))
    return channel


def _end_with_owner(channel: Connection, owner: int) -> None:
    """Whatever this process is doing then.

    The thread works everywhere, but not while native code holds the interpreter; on Linux, the kernel sees to that.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != owner:  # it died before the line above
            os._exit(0)
    threading.Thread(target=_exit_on_hang_up, args=(channel.fileno(),), daemon=True).start()


def _exit_on_hang_up(socket: int) -> None:
    hang_up = select.poll()
    hang_up.register(socket, 0)  # no event but the other end's closing
    hang_up.poll()
    os._exit(0)

"""The real command in processes of its own, and what it left on disk."""

import contextlib
import os
import subprocess
import sys
import time

import psutil

TIMEOUT = 240.0
"""Seconds; a run that takes longer hangs."""


def start(source, out, *options, extra=None, prefix=()):
    """Begin `normpipe run`; its streams become one text."""
    command = [*prefix, sys.executable, "-m", "normpipe", "run", str(source), str(out), *map(str, options)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **(extra or {})},
    )


def finish(process, timeout=TIMEOUT):
    """Exit code and text."""
    try:
        text, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_all(process)
        text, _ = process.communicate()
        raise AssertionError(f"the run hangs; so far it said: {text}") from None
    return process.returncode, text


def run(source, out, *options, **surroundings):
    """Exit code and text of a whole run."""
    return finish(start(source, out, *options, **surroundings))


def workers(process):
    """Descendants that do the work: not the helper processes of multiprocessing."""
    try:
        found = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    working = []
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word or "normpipe.engine.child" in word for word in one.cmdline()):
                working.append(one)
    return working


def family(process):
    """The driver and everything below it."""
    try:
        driver = psutil.Process(process.pid)
        return [driver, *driver.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_alive(process):
    """Whether it still does anything."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_all(process):
    """SIGKILL for the whole family."""
    for one in family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def wait_for(condition, timeout=TIMEOUT):
    """Until it holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def committed(out):
    """Shards with a record, as long as the run goes on."""
    return len(list((out / "journal").glob("part-*.json")))

"""flaky://FOLDER: local files behind a file system that fails one call in twenty, as object stores do on a bad day."""

import os
import random
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

_random = random.Random(os.getpid())


def _may_fail():
    if _random.random() < 0.05:
        raise ConnectionError("the other side hung up")


class FlakyFile(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        _may_fail()
        with Path(self.path).open("rb") as file:
            file.seek(start)
            return file.read(end - start)


class FlakyFileSystem(AbstractFileSystem):
    protocol = "flaky"
    cachable = False
    root_marker = "/"

    def __init__(self, **options):
        super().__init__(**options)
        self._local = LocalFileSystem()

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("flaky://").strip("/")

    def ls(self, path, detail=True, **options):
        _may_fail()
        found = self._local.ls(self._strip_protocol(path), detail=True)
        return found if detail else [entry["name"] for entry in found]

    def info(self, path, **options):
        _may_fail()
        return self._local.info(self._strip_protocol(path))

    def _open(self, path, mode="rb", block_size=None, autocommit=True, cache_options=None, **options):
        _may_fail()
        return FlakyFile(self, path, mode, block_size or 4096, autocommit, cache_options=cache_options)

"""A dataset repository on the Hugging Face hub (or on the server that HF_ENDPOINT names): a push is one commit.

Large files are brought to the hub first, where nobody sees them; the hub knows them by their sha256 and does not take them
again, which is what resumes a broken push. Then one commit shows all files at once, SHA256SUMS among them, and only on top of
what was there when the push began. A branch for a revision starts at the repository's first commit, so each holds one release
alone. The token is the one that huggingface_hub finds (HF_TOKEN, or `hf auth login`); its usage reports are off, as everywhere.
"""

import hashlib
import io
import logging
from collections.abc import Collection, Mapping
from typing import BinaryIO

from huggingface_hub import CommitOperationAdd, HfApi, HfFileSystem
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars

from normpipe.errors import NormpipeError, UsageError
from normpipe.release.outgoing import Outgoing
from normpipe.release.parallel import Halt
from normpipe.sources.retries import ResumingFile, retried

_KIND = "dataset"
_PIECE = 8 << 20
_OF_THE_HUB = ".gitattributes"
"""Written by the hub into every new repository; it belongs to no release."""


class HubRemote:
    """A place of `release.remote`.

    Args:
        name: owner/name.
        revision: Branch to push to; branch, tag or commit to pull from; None for the main branch.
        public: Whether the repository may be public.
    """

    def __init__(self, name: str, revision: str | None, public: bool) -> None:
        disable_progress_bars()
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        self.name = f"hf://datasets/{name}" + (f"@{revision}" if revision is not None else "")
        self._api = HfApi()
        self._name = name
        self._revision = revision
        self._public = public
        self._commit: str | None = None
        self._listed: dict[str, RepoFile] = {}
        self._operations: list[CommitOperationAdd] = []

    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file of the newest commit, which is the one that is read from then on."""
        self._commit = self._head(self._revision)
        entries = retried(
            lambda: list(self._api.list_repo_tree(self._name, recursive=True, revision=self._commit, repo_type=_KIND))
        )
        files = [entry for entry in entries if isinstance(entry, RepoFile) and entry.path != _OF_THE_HUB]
        self._listed = {file.path: file for file in files}
        return {file.path: file.size for file in files}

    def open(self, path: str) -> BinaryIO:
        """Open a file of that commit; a broken transfer is read on from where it was."""
        name = f"datasets/{self._name}@{self._commit}/{path}"
        files = HfFileSystem(endpoint=self._api.endpoint)
        return io.BufferedReader(ResumingFile(lambda: files.open(name, "rb", block_size=_PIECE)))

    def prepare(self) -> None:
        """Make the repository and the branch if they are not there."""
        try:
            info = retried(lambda: self._api.dataset_info(self._name))
        except FileNotFoundError:
            retried(lambda: self._api.create_repo(self._name, private=not self._public, repo_type=_KIND))
        else:
            if not info.private and not self._public:
                raise UsageError(f"{self.name}: the repository is public; make it private, or give --public")
        if self._revision is not None:
            self._make_branch(self._revision)

    def agrees(self, file: Outgoing) -> bool | None:
        """Compare with the sha256 of a large file, with git's own digest of a small one."""
        kept = self._listed[file.path]
        if kept.lfs is not None:
            return kept.lfs.sha256 == file.sha256
        header = f"blob {file.size}\0".encode()
        return kept.blob_id == hashlib.sha1(header + file.source.read_bytes(), usedforsecurity=False).hexdigest()

    def send(self, file: Outgoing, halt: Halt) -> None:
        """Hash the file, and bring it to the hub if it is a large one; the commit takes the others along."""
        for _ in file.pieces(_PIECE, halt):
            pass
        operation = CommitOperationAdd(file.path, file.source)
        operation.upload_info.sha256 = bytes.fromhex(file.sha256)
        retried(lambda: self._bring(operation))
        self._operations.append(operation)

    def clear(self, paths: Collection[str]) -> None:
        """Nothing: the hub drops what no commit names."""

    def publish(self, message: str) -> None:
        """The commit."""
        retried(
            lambda: self._api.create_commit(
                self._name,
                self._operations,
                commit_message=message,
                repo_type=_KIND,
                revision=self._revision,
                parent_commit=self._commit,
            )
        )

    def _bring(self, operation: CommitOperationAdd) -> None:
        try:
            self._api.preupload_lfs_files(self._name, [operation], repo_type=_KIND, revision=self._revision)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, OSError):  # some answers of the hub are both
                raise
            if error.__cause__ is not None:  # the library tells what failed and wraps why
                raise error.__cause__ from None
            raise NormpipeError(f"{operation.path_in_repo}: the hub does not take it; may the account hold so much?") from error

    def _head(self, revision: str | None) -> str | None:
        return retried(lambda: self._api.dataset_info(self._name, revision=revision)).sha

    def _make_branch(self, branch: str) -> None:
        try:
            self._head(branch)
        except FileNotFoundError:
            first = retried(lambda: self._api.list_repo_commits(self._name, repo_type=_KIND))[-1].commit_id
            retried(lambda: self._api.create_branch(self._name, branch=branch, revision=first, repo_type=_KIND, exist_ok=True))

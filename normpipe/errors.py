"""Errors that a user can act on. The command line turns each into one line and its exit code, never a traceback."""

import hashlib


class NormpipeError(Exception):
    """Base of all errors with a message for the user: what, where, what to do. Exit code 1."""

    exit_code = 1


class UsageError(NormpipeError):
    """The command, the pipeline file or the input cannot be used as given. Exit code 2."""

    exit_code = 2


class IncompatibleRunError(NormpipeError):
    """The output folder belongs to another configuration, or another run holds it. Exit code 3."""

    exit_code = 3


class RankLostError(NormpipeError):
    """Another process that shares the training has ended or cannot be reached. Exit code 1."""


class ModelUnavailableError(UsageError):
    """A model file or an optional package that the configuration names is not installed. Exit code 2."""


def shown_sample(sample_id: str, hash_ids: bool) -> str:
    """A sample as messages, logs and captions name it: its id, or under --hash-ids the first 12 hex digits of its SHA-256.

    Ids may carry the source's own names, and those may be people's.
    """
    return hashlib.sha256(sample_id.encode()).hexdigest()[:12] if hash_ids else sample_id

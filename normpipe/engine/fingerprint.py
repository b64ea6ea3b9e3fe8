"""What a run's bytes depend on, by name, so that a resume can refuse and say what changed.

Names are dotted. Those under `config`, `environment` and `algorithm` are what a user can set, install or update, and are told
in those words; all others stand for content (a manifest, weights, a photo) and hold digests, of which a message shows the
beginning.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_ABSENT = "absent"
_DIGEST = re.compile(r"[0-9a-f]{16,}")
_SHOWN_DIGITS = 8


@dataclass(frozen=True)
class Fingerprint:
    """Dotted names to values; two runs with equal parts write equal bytes."""

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Hex sha256 over names and values, in any order of theirs."""
        return hashlib.sha256(json.dumps(dict(self.parts), sort_keys=True).encode()).hexdigest()

    def differences(self, other: "Fingerprint") -> list[str]:
        """What changed from this one to `other`, in the user's words, one entry per name: configuration first."""
        names = sorted(set(self.parts) | set(other.parts), key=lambda name: (not name.startswith("config."), name))
        found: list[str] = []
        told: set[str] = set()  # a weight's own record of its options repeats the configuration
        for name in names:
            for inner, before, after in _changes(name, self.parts.get(name, _ABSENT), other.parts.get(name, _ABSENT)):
                key = inner.rpartition(".")[2].removesuffix("_sha256")
                if name.startswith("config."):
                    told.add(key)
                elif key in told:
                    continue
                found.append(f"{_spoken(inner)}: {_contrast(before, after)}")
        return found


def flatten(document: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    """A nested mapping as dotted names and JSON values, for the parts of a fingerprint."""
    for key, value in document.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, name)
        else:
            yield name, json.dumps(value, sort_keys=True)


def _changes(name: str, before: str, after: str) -> Iterator[tuple[str, str, str]]:
    """Name, old and new value; of values that are JSON objects, those of the entries that differ."""
    if before == after:
        return
    old, new = (_object(value, name) for value in (before, after))
    if old is None or new is None:
        yield name, before, after
        return
    for inner in sorted(set(old) | set(new)):
        if old.get(inner) != new.get(inner):
            yield inner, old.get(inner, _ABSENT), new.get(inner, _ABSENT)


def _object(value: str, name: str) -> dict[str, str] | None:
    try:
        document = json.loads(value)
    except ValueError:
        return None
    return dict(flatten(document, name)) if isinstance(document, dict) else None


def _spoken(name: str) -> str:
    section, _, rest = name.partition(".")
    if section == "config":
        return rest
    if section == "algorithm":
        return f"normpipe's own way to {rest}"
    return f"{section} {rest}" if section == "environment" else name.removesuffix("_sha256")


def _contrast(before: str, after: str) -> str:
    old, new = (_DIGEST.sub(lambda digest: digest[0][:_SHOWN_DIGITS], _plain(value)) for value in (before, after))
    if _DIGEST.search(before) and _DIGEST.sub("", before) == _DIGEST.sub("", after):
        return f"other content ({old} -> {new})"
    return f"{old} -> {new}"


def _plain(value: str) -> str:
    """A JSON value as people write it."""
    try:
        document = json.loads(value)
    except ValueError:
        return value
    if document is None:
        return "none"
    return document if isinstance(document, str) else value

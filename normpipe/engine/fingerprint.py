"""What a run's bytes depend on, by name, so that a resume can refuse and say what changed."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fingerprint:
    """Dotted names to values; two runs with equal parts write equal bytes."""

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Hex sha256 over names and values, in any order of theirs."""
        return hashlib.sha256(json.dumps(dict(self.parts), sort_keys=True).encode()).hexdigest()

    def differences(self, other: "Fingerprint") -> list[str]:
        """What changed from this one to `other`, one sentence part per name, sorted."""
        names = sorted(set(self.parts) | set(other.parts))
        return [
            f"{name}: {self.parts.get(name, 'absent')} -> {other.parts.get(name, 'absent')}"
            for name in names
            if self.parts.get(name) != other.parts.get(name)
        ]


def flatten(document: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    """A nested mapping as dotted names and JSON values, for the parts of a fingerprint."""
    for key, value in document.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, name)
        else:
            yield name, json.dumps(value, sort_keys=True)

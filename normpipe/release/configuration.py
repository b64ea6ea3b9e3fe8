"""What a run's bytes depend on, as people read it: the card's table of configuration, weights and libraries."""

import json

from normpipe.release.document import ReleasedRun

_ONLY_WITH = {
    "config.detect.insightface_pack": ("config.detect.detector", "insightface"),
    "config.detect.smoothing": ("config.detect.policy", "track"),
    "config.normalize.neutral_labels": ("config.normalize.own_neutral", "yes"),
}
"""Parts of a configuration that mean something only where another has a certain value."""


def configuration(run: ReleasedRun) -> dict[str, str]:
    """What a run's bytes depend on, in plain words; without what is not set, or means nothing beside the rest."""
    found: dict[str, str] = {}
    for name in ("normalizer", "detector", "landmarker"):
        value = _value(run.fingerprint_parts.get(name, "null"))
        parts = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        found |= {key: _plain(each) for key, each in parts.items() if each is not None}
    for name, text in run.fingerprint_parts.items():
        value = _value(text) if name.startswith("config.") else text
        if name.startswith(("config.", "environment.", "algorithm.")) and value is not None:
            found[name] = _plain(value)
    idle = {name for name, (other, wanted) in _ONLY_WITH.items() if found.get(other) != wanted}
    return {name: value for name, value in found.items() if name not in idle}


def _value(text: str) -> object:
    """What a part says: JSON, or a text that is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value)

"""Names that datasets give emotions, and the one common name of each.

English nouns and adjectives are known; codes ("3", "SU") mean something else in every dataset and must be mapped by the user.
"""

from collections import Counter
from collections.abc import Mapping

from normpipe.errors import UsageError
from normpipe.records import EMOTIONS

_KNOWN = {
    **{name: name for name in EMOTIONS},
    "happy": "happiness",
    "joy": "happiness",
    "surprised": "surprise",
    "sad": "sadness",
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "contemptuous": "contempt",
}


class EmotionNames:
    """Common names for raw ones, collecting those that have none.

    Args:
        mapping: Raw value to common name, "" for no emotion; wins over the known names.

    Raises:
        UsageError: a common name is not one of records.EMOTIONS.
    """

    def __init__(self, mapping: Mapping[str, str]) -> None:
        for raw, common in mapping.items():
            if common and common not in EMOTIONS:
                raise UsageError(f"--emotion {raw}={common}: {common!r} is none of {', '.join(EMOTIONS)}")
        self._mapping = dict(mapping)
        self._unknown: Counter[str] = Counter()

    def common(self, raw: str | None) -> str | None:
        """Common name, None where the row is not annotated or the name is unknown (which is noted)."""
        if raw is None:
            return None
        if raw in self._mapping:
            return self._mapping[raw] or None
        common = _KNOWN.get(raw.strip().lower())
        if common is None:
            self._unknown[raw] += 1
        return common

    def raise_if_unknown(self) -> None:
        """End if a raw name had no common one.

        Raises:
            UsageError: lists them with their counts.
        """
        if self._unknown:
            listed = ", ".join(f"{raw!r} ({count})" for raw, count in sorted(self._unknown.items())[:20])
            example = min(self._unknown)
            raise UsageError(
                f"emotions without a common name: {listed}; map each, such as --emotion {example}=neutral"
                " (nothing after the = for none)"
            )

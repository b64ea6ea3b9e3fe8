"""What the audit answers with: a figure and its interval, or the reason why there is none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Why(StrEnum):
    """Why a figure cannot be had from these rows."""

    NO_ROWS = "no_rows"
    NO_SUBJECTS = "no_subjects"
    ONE_SUBJECT = "one_subject"
    ONE_IMAGE_PER_SUBJECT = "one_image_per_subject"
    TOO_FEW_SUBJECTS = "too_few_subjects"
    NO_LABELS = "no_labels"
    ONE_CLASS = "one_class"
    NO_VARIATION = "no_variation"
    NO_CLIPS = "no_clips"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class NotMeasurable:
    """No figure. `detail` says in plain words what is missing; it names counts only, no ids."""

    why: Why
    detail: str


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its 95 % interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


Measured = Figure | NotMeasurable


def document(value: object) -> Json:
    """A result of the audit as JSON: dataclasses become objects, enums their word, numbers that are not finite null.

    Raises:
        TypeError: something that is not a result, e.g. an array.
    """
    if isinstance(value, StrEnum):
        return value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): document(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [document(each) for each in value]
    raise TypeError(f"{type(value).__name__} is not a result of the audit")

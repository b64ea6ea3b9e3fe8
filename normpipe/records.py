"""The data model: every table that normpipe reads or writes has its schema here, and every outcome its word.

Null means "not annotated" in label columns and "not measured" in all others. Boxes are (x0, y0, x1, y1), points (x, y[, z]),
all in pixels of the upright source image, origin at the outer corner of its first pixel, x to the right, y down.
"""

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

FORMAT_VERSION = 1


class Status(StrEnum):
    """Outcome of a row."""

    OK = "ok"
    FAILED = "failed"


class ReasonClass(StrEnum):
    """Who must act on a failure: the data's owner, or whoever runs the machine."""

    DATA = "data"
    ENVIRONMENT = "environment"


class Reason(StrEnum):
    """Why a row failed. The same word stands in the column, the log and the summary."""

    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    NO_FRAMES = "no_frames"
    NO_SUCH_FRAME = "no_such_frame"
    NO_FACE = "no_face"
    NO_BOX = "no_box"
    NO_LANDMARKS = "no_landmarks"
    NOT_RENDERED = "not_rendered"
    VANISHED = "vanished"
    CHANGED = "changed"  # the source's bytes are not those that were analyzed
    PERMISSION = "permission"
    IO_ERROR = "io_error"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    POISON = "poison"
    WITHDRAWN = "withdrawn"  # the person withdrew consent: the row keeps its place and nothing else

    @property
    def reason_class(self) -> ReasonClass:
        """Environment failures hold a shard back; data failures are facts about the row and are committed at once."""
        return ReasonClass.ENVIRONMENT if self in _ENVIRONMENT_REASONS else ReasonClass.DATA

    @property
    def may_pass_again(self) -> bool:
        """Whether trying the row again can help: `--retry-failed` takes these.

        A file that may not be read is a fact about the file, so it is committed; but its owner can put it right.
        """
        return self is Reason.PERMISSION or self.reason_class is ReasonClass.ENVIRONMENT


_ENVIRONMENT_REASONS = frozenset(
    {Reason.VANISHED, Reason.CHANGED, Reason.IO_ERROR, Reason.TIMEOUT, Reason.OUT_OF_MEMORY, Reason.POISON}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that keeps its place but has no result. `detail` names no path and shows no content."""

    reason: Reason
    detail: str = ""


EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

# FACS action units that public datasets annotate (BP4D, BP4D+, DISFA, CK+, UNBC, GFT, EmotioNet, Aff-Wild2).
ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28, 43)

LANDMARK_COUNT = 468


def _label_fields() -> list[pa.Field]:
    fields = [
        pa.field("emotion", pa.string()),
        pa.field("emotion_raw", pa.string()),
        pa.field("compound_emotion", pa.string()),
        pa.field("emotion_votes", pa.list_(pa.float32())),
        pa.field("valence", pa.float32()),
        pa.field("arousal", pa.float32()),
    ]
    fields += [pa.field(f"au_occurrence_{au:02d}", pa.int8()) for au in ACTION_UNITS]
    fields += [pa.field(f"au_intensity_{au:02d}", pa.float32()) for au in ACTION_UNITS]
    fields.append(pa.field("weight", pa.float32()))
    return fields


BOX_TYPE = pa.list_(pa.float32(), 4)
FIVE_POINTS_TYPE = pa.list_(pa.float32(), 10)
LANDMARKS_TYPE = pa.list_(pa.float32(), 3 * LANDMARK_COUNT)
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

LABEL_SCHEMA = pa.schema(_label_fields())

_IDENTITY_FIELDS = [
    pa.field("sample_id", pa.string(), nullable=False),
    pa.field("dataset", pa.string()),
    pa.field("subject", pa.string()),
    pa.field("sequence", pa.string()),
    pa.field("frame", pa.int64()),
    pa.field("pts", pa.int64()),
    pa.field("timestamp", pa.float64()),
    pa.field("split", pa.string()),
]

# One row per frame. `uri` is relative to ROOT; `frame` is null for stills.
MANIFEST_SCHEMA = pa.schema(
    [
        _IDENTITY_FIELDS[0],
        pa.field("uri", pa.string(), nullable=False),
        *_IDENTITY_FIELDS[1:],
        pa.field("box", BOX_TYPE),
        pa.field("five_points", FIVE_POINTS_TYPE),
        *LABEL_SCHEMA,
    ]
)

_OUTCOME_FIELDS = [
    pa.field("status", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
]

_FACE_FIELDS = [
    pa.field("box", BOX_TYPE),
    pa.field("five_points", FIVE_POINTS_TYPE),
    pa.field("yaw", pa.float32()),
    pa.field("pitch", pa.float32()),
    pa.field("roll", pa.float32()),
    pa.field("detector_score", pa.float32()),
    pa.field("landmark_score", pa.float32()),
]

# One row per face, at least one per frame; `face_index` is null when the frame has none. `track_id` counts the people of a clip
# in order of appearance; it is null where faces are not tracked.
FACES_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("face_index", pa.int32()),
        pa.field("track_id", pa.int32()),
        *_OUTCOME_FIELDS,
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        *_FACE_FIELDS,
        pa.field("landmarks", LANDMARKS_TYPE),
        pa.field("content_sha256", pa.string()),
    ]
)

# Measured on the aligned crop and on the normalized image; units in the docstring of stages/quality.py.
QUALITY_FIELDS = [
    pa.field("eye_distance", pa.float32()),
    pa.field("sharpness", pa.float32()),
    pa.field("brightness", pa.float32()),
    pa.field("contrast", pa.float32()),
    pa.field("inside_frame", pa.float32()),
    pa.field("normalized_yaw", pa.float32()),
    pa.field("normalized_pitch", pa.float32()),
    pa.field("normalized_roll", pa.float32()),
    pa.field("normalized_score", pa.float32()),
]

# One row per row of the faces table, in the same order.
PAIRS_SCHEMA = pa.schema(
    [
        _IDENTITY_FIELDS[0],
        pa.field("face_index", pa.int32()),
        pa.field("track_id", pa.int32()),
        pa.field("original", IMAGE_TYPE),
        pa.field("normalized", IMAGE_TYPE),
        *_IDENTITY_FIELDS[1:],
        *_OUTCOME_FIELDS,
        *_FACE_FIELDS,
        *QUALITY_FIELDS,
        *LABEL_SCHEMA,
        pa.field("content_sha256", pa.string()),
    ]
)

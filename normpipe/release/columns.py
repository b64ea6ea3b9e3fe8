"""The columns of a release in words, for its card: what they hold, in which units, and which labels are missing."""

from collections.abc import Iterator

from normpipe.records import ACTION_UNITS, EMOTIONS, LABEL_SCHEMA
from normpipe.release.document import ReleaseDocument

_UNITS = [f"{unit:02d}" for unit in ACTION_UNITS]
_FAMILIES = ("au_occurrence", "au_intensity")
"""Columns of which there is one for each action unit."""


def _of_units(family: str) -> tuple[str, ...]:
    return tuple(f"{family}_{unit}" for unit in _UNITS)


_GROUPS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("original", "normalized"), "picture: `bytes` of its file, without metadata, and `path`"),
    (("sample_id", "subject", "sequence", "dataset"), "the picture, the person, the clip; the source"),
    (("face_index", "track_id"), "which face of the frame; which person of the clip; from 0"),
    (("frame", "pts", "timestamp"), "moment of a clip: from 0; ticks of the stream's time base; seconds"),
    (("split", "status", "reason"), "bookkeeping: `status` is `ok` and `reason` null, in every row"),
    (("content_sha256",), "SHA-256 of the source file"),
    (("box",), "x0, y0, x1, y1 around the landmarks, pixels of the source picture"),
    (
        ("five_points",),
        "x, y of eyes, tip of the nose and corners of the mouth, the image's left first, pixels of the source picture",
    ),
    (("yaw", "pitch", "roll"), "degrees in the source picture; 0 is frontal; positive is to the image's right, up, clockwise"),
    (("detector_score", "landmark_score"), "0 to 1"),
    (("eye_distance",), "pixels between the eyes in the source picture"),
    (("sharpness",), "variance of the Laplacian of the aligned crop's luminance, squared grey levels"),
    (("brightness", "contrast"), "mean and standard deviation of the crop's luminance, grey levels 0 to 255"),
    (("inside_frame",), "share of the face's box inside the source picture, 0 to 1"),
    (("normalized_yaw", "normalized_pitch", "normalized_roll"), "degrees in the normalized face"),
    (("normalized_score",), "`landmark_score` of the normalized face"),
    (("emotion",), f"label: {', '.join(f'{number} {name}' for number, name in enumerate(EMOTIONS))}"),
    (("emotion_raw", "compound_emotion"), "label: the source's word"),
    (("emotion_votes",), "label: votes, in the source's order"),
    (("valence", "arousal"), "label: -1 to 1"),
    (_of_units("au_occurrence"), f"label: 0 or 1, of the action unit NN of FACS: {', '.join(_UNITS)}"),
    (_of_units("au_intensity"), "label: 0 to 5, of the same action units"),
    (("weight",), "label: weight of the row, 0 or more"),
)


def column_lines(document: ReleaseDocument) -> Iterator[str]:
    """The table of columns, by groups, then which label columns are empty."""
    yield "| columns | what they hold |"
    yield "|---|---|"
    for names, meaning in _GROUPS:
        there = [name for name in names if name in document.columns]
        if there:
            yield f"| {_called(there)} | {meaning} |"
    yield ""
    labels = [name for name in LABEL_SCHEMA.names if name in document.columns]
    empty = [name for name in labels if name not in document.labels]
    if empty == labels:
        yield "**No row has a label**: all label columns are empty."
        yield ""
    elif empty:
        yield f"Label columns that are empty: {_called(empty)}."
        yield ""


def _called(names: list[str]) -> str:
    """Names in a list, those of action units as one."""
    shown = [f"`{name}`" for name in names if not name.startswith(_FAMILIES)]
    for family in _FAMILIES:
        missing = [name[-2:] for name in _of_units(family) if name not in names]
        if len(missing) < len(_UNITS):
            shown.append(f"`{family}_NN`" + (f" (but {', '.join(missing)})" if missing else ""))
    return ", ".join(shown)

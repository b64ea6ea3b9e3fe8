"""The models that normpipe knows by name and does not ship: plain data.

A hash or an address stands here only where it was verified; where it was not, the entry says so and nothing is pulled.
"""

from dataclasses import dataclass

_INSIGHTFACE_TERMS = "non-commercial research use only (InsightFace model packs); ask the makers for any other use"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One file of the model store.

    Attributes:
        name: What users and pipeline files call it.
        file: Path inside the store, with forward slashes.
        sha256: Of the file; None where no verified hash is known.
        size: Bytes; None where not known.
        url: Direct https address of the file; None where no verified one is known.
        licence: Terms in a line.
        note: What it is for and how it gets into the store by hand.
    """

    name: str
    file: str
    sha256: str | None
    size: int | None
    url: str | None
    licence: str
    note: str


REGISTRY = (
    ModelEntry(
        name="mediapipe-face-landmarker",
        file="face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        size=3_758_596,
        url=None,
        licence="Apache-2.0 as far as its makers state",
        note="detector or landmarker `mediapipe`; the bundle of MediaPipe's Face Landmarker guide",
    ),
    ModelEntry(
        name="buffalo_l",
        file="buffalo_l/det_10g.onnx",
        sha256=None,
        size=None,
        url=None,
        licence=_INSIGHTFACE_TERMS,
        note="detector `insightface`; unpack the pack's zip into a folder of its name",
    ),
    ModelEntry(
        name="buffalo_s",
        file="buffalo_s/det_500m.onnx",
        sha256=None,
        size=None,
        url=None,
        licence=_INSIGHTFACE_TERMS,
        note="detector `insightface`, the small one; unpack the pack's zip into a folder of its name",
    ),
)

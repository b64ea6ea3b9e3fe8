"""The answers of the audit, as the reduce finds them and audit.json holds them: one field for each question."""

from dataclasses import dataclass

from normpipe.audit.attackers import Identity
from normpipe.audit.classifier import Classification
from normpipe.audit.codes import LabelCode, LabelSurplus
from normpipe.audit.dependence import Dependence
from normpipe.audit.expression import Blendshapes, Displacement
from normpipe.audit.figures import NotMeasurable
from normpipe.audit.jitter import Jitter
from normpipe.audit.losses import Losses


@dataclass(frozen=True, slots=True)
class Sample:
    """Which rows the statistics are made of.

    Attributes:
        rows: All rows of the run.
        pairs: Of them with a pair.
        used: Of these in the sample.
        people: People in the sample.
        crowded: Rows in frames with several faces: nobody says whose face is whose, they count for no person.
        matched: Whether pairs of pictures are compared at the same emotion only.
        no_face_in_original: Rows of the sample in whose crop the landmarker sees no face.
        no_face_in_normalized: The same of the normalized image.
    """

    rows: int
    pairs: int
    used: int
    people: int
    crowded: int
    matched: bool
    no_face_in_original: int
    no_face_in_normalized: int


@dataclass(frozen=True, slots=True)
class Expression:
    """Is the expression still there?

    Attributes:
        displacement: Landmarks, original against normalized.
        displacement_repeated: The same of two measurements of the original: what the instrument can reach at best.
        blendshapes: Blendshapes kept.
        label_code: Whether the normalized image is a code of its label.
        label_surplus: Whether it knows more of the label than its source shows.
        use: The plain classifier.
        jitter: Tremble of clips.
    """

    displacement: Displacement | NotMeasurable
    displacement_repeated: Displacement | NotMeasurable
    blendshapes: Blendshapes | NotMeasurable
    label_code: LabelCode | NotMeasurable
    label_surplus: LabelSurplus | NotMeasurable
    use: Classification | NotMeasurable
    jitter: Jitter | NotMeasurable


@dataclass(frozen=True, slots=True)
class Angle:
    """Percentiles (50, 90, 95) of an angle's size in degrees."""

    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Shows:
    """How much of a picture's variance a disturbance of the source adds to what the expression explains."""

    original: Dependence | NotMeasurable
    normalized: Dependence | NotMeasurable


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Pose and background.

    Attributes:
        angles: Yaw, pitch and roll that are left.
        shows: Of the pose, the background and the sharpness of the source.
    """

    angles: dict[str, Angle] | NotMeasurable
    shows: dict[str, Shows]


@dataclass(frozen=True, slots=True)
class Findings:
    """All answers."""

    sample: Sample
    identity: Identity
    expression: Expression
    surroundings: Surroundings
    losses: Losses

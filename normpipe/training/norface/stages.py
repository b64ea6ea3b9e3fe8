"""The stages of a training as folders: what each depends on, whether it is done, and that nobody goes on with another one.

A stage depends on its own section of the training file, on those of all before it, and on the examples. When it begins, these
are noted in its folder; when it is done, its averaged weights are there. Paths, the device and the card decide about no weight.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from normpipe.engine.fingerprint import Fingerprint, flatten
from normpipe.training.begun import refuse_another
from normpipe.training.norface.build import Part
from normpipe.training.norface.config import Training

STAGE_FILE = "stage.json"
RESULT_FILE = "averaged.safetensors"

MASKED, READING, IDENTITY, LATENT, DRAWING = "masked", "reading", "identity", "latent", "drawing"

_SECTIONS = (
    (MASKED, ("masked",)),
    (READING, ("merger", "reading")),
    (IDENTITY, ("identity",)),
    (LATENT, ()),
    (DRAWING, ("decoder", "drawing")),
)
_OF_TARGETS = ("examples", "by_landmarks", "by_rig", "by_detail")
"""Keys of the section drawing that say what is drawn, and not how it is learnt."""
_PATHS = {"runs", "rig"}


def stage_fingerprints(training: Training, parts: Sequence[Part]) -> dict[str, Fingerprint]:
    """What each stage depends on, in the order of the stages; those that are left out are there as well.

    Args:
        training: The training file.
        parts: The planned parts of the examples.
    """
    document = training.model_dump(mode="json")
    document["examples"] = {key: value for key, value in document["examples"].items() if key not in _PATHS}
    known = {"examples": Fingerprint({part.name: part.fingerprint for part in parts}).digest}
    for section in ("seed", "precision", "encoder", "examples"):
        known |= flatten({section: document[section]}, "config")
    found = {}
    for name, sections in _SECTIONS:
        if name == LATENT and training.latent is not None:  # a training without the section is one of before there was any
            targets = {key: document["drawing"][key] for key in _OF_TARGETS}
            known |= flatten({"latent": document["latent"], "drawing": targets}, "config")
        for section in sections:
            known |= flatten({section: document[section]}, "config")
        found[name] = Fingerprint(dict(known))
    return found


def refuse_others(out: Path, stages: Mapping[str, Fingerprint]) -> None:
    """Make sure that no stage in the folder was begun otherwise.

    Raises:
        IncompatibleRunError: one was; the message names the keys.
    """
    for name, fingerprint in stages.items():
        refuse_another(out / name / STAGE_FILE, fingerprint, f"{out.name}: its stage {name}")

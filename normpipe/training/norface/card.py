"""The model card that is shipped with the weights: what they are, what they learnt from and under which terms, and how."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from normpipe import __version__
from normpipe.stages.environment import library_version
from normpipe.training.curve import CURVE_FILE
from normpipe.training.norface.config import Training
from normpipe.training.norface.examples import ExampleSet, Kind

_LIBRARIES = ("torch", "diffusers", "accelerate")
_STEM = "The first layers started from those of MediaPipe's Face Mesh (Google LLC, Apache-2.0). "
_NOT_MEASURED = "Nothing was measured of these weights when this card was written; `normpipe normalizer evaluate` does."
_NOT_STATED = "not stated by whoever trained"


def model_card(training: Training, examples: ExampleSet, parameters: Mapping[str, int], stages: Mapping[str, Path]) -> str:
    """The text, in Markdown, without anything of the machine that trained.

    Args:
        training: The training file.
        examples: What was learnt from.
        parameters: Of each part, how many.
        stages: The folders of the stages that were trained.
    """
    heads, warps, photos = (int(np.count_nonzero(examples.kinds == kind)) for kind in (Kind.HEAD, Kind.WARP, Kind.PHOTO))
    terms = [*training.card.data, *[_NOT_STATED] * (len(training.examples.runs) - len(training.card.data))]
    runs = "\n".join(
        f"| {Path(run).absolute().name} | {said} |" for run, said in zip(training.examples.runs, terms, strict=True)
    )
    parts = "\n".join(f"| {name} | {number:,} |" for name, number in parameters.items())
    learnt = f"{heads} synthetic heads and {warps} warped portraits of the rig ICT-FaceKit, and {photos} photos"
    curves = "\n".join(line for name, folder in stages.items() for line in [_last_line(name, folder)] if line)
    stem = _STEM if training.encoder.from_mesh else ""
    libraries = ", ".join(f"{name} {library_version(name)}" for name in _LIBRARIES)
    return f"""---
license: other
library_name: normpipe
tags: [facial-expression, face-normalization]
---

# norface

Draws a face again: the same expression, one common face, one pose, one background. Load it with

```python
from normpipe.normalizers.norface.pipeline import NorfacePipeline

pipeline = NorfacePipeline.from_pretrained("FOLDER")
```

or name its folder in `normalize.weights` of a pipeline file. Weights are stored in float16 and computed in float32.

Licence of the weights: {training.card.licence}

## Parts

| part | parameters |
|---|---|
{parts}

## Learnt from

{learnt}.

| run | what it shows, and its terms |
|---|---|
{runs}

{stem}Truth of photos is how the normalizer mean_face reads them, not what people who were asked see in them.

## Limits

Pictures that it draws remain personal data of those who were photographed. How much of a person is left in them, and how much
of the expression, is to be measured on the data at hand with `normpipe audit`.

## Figures

{training.card.figures or _NOT_MEASURED}

## How

normpipe {__version__}, {libraries}; seed {training.seed}:

```
normpipe normalizer train CONFIG -o OUT
```

Losses at the end of each stage:

| stage | steps | losses |
|---|---|---|
{curves}

CONFIG, paths without their folders:

```yaml
{_configuration(training)}```
"""


def _configuration(training: Training) -> str:
    document = training.model_dump(mode="json", exclude={"card": {"figures"}})
    document["examples"]["runs"] = [Path(run).absolute().name for run in training.examples.runs]
    if training.examples.rig is not None:
        document["examples"]["rig"] = Path(training.examples.rig).name
    written: str = yaml.safe_dump(document, sort_keys=False)
    return written


def _last_line(name: str, folder: Path) -> str:
    lines = (folder / CURVE_FILE).read_text(encoding="utf-8").splitlines()
    if not lines:
        return ""
    last = json.loads(lines[-1])
    losses = ", ".join(f"{key} {value:.4f}" for key, value in last.items() if key != "step")
    return f"| {name} | {last['step']} | {losses} |"

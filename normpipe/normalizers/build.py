"""From the pipeline file's `normalize` section to a normalizer. Each is imported only when it is named."""

from normpipe.config import Pipeline
from normpipe.errors import UsageError
from normpipe.normalizers.protocol import Normalizer

NORMALIZERS = ("mean_face", "norface")


def build_normalizer(pipeline: Pipeline) -> Normalizer:
    """The normalizer that the section `normalize` names, not yet prepared.

    Args:
        pipeline: Its size, margin and section `normalize`.

    Raises:
        UsageError: there is no such normalizer, or it cannot do what the options ask for.
        ModelUnavailableError: its weights or an optional package are missing.
    """
    if pipeline.normalize.normalizer == "mean_face":
        from normpipe.normalizers.mean_face import MeanFace

        return MeanFace(pipeline)
    if pipeline.normalize.normalizer == "norface":
        from normpipe.normalizers.norface.normalizer import Norface

        return Norface(pipeline)
    raise UsageError(
        f"normalize.normalizer: no normalizer {pipeline.normalize.normalizer!r}; there is: {', '.join(NORMALIZERS)}"
    )

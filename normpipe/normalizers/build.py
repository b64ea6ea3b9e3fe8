"""From the pipeline file's `normalize` section to a normalizer. Each is imported only when it is named."""

from normpipe.config import Normalize
from normpipe.errors import UsageError
from normpipe.normalizers.protocol import Normalizer

NORMALIZERS = ("mean_face",)


def build_normalizer(options: Normalize, size: int) -> Normalizer:
    """The normalizer that `options` names, not yet prepared.

    Args:
        options: The section.
        size: Side of the rendered images, pixels.

    Raises:
        UsageError: there is no such normalizer.
    """
    if options.normalizer == "mean_face":
        from normpipe.normalizers.mean_face import MeanFace

        return MeanFace(options, size)
    raise UsageError(f"normalize.normalizer: no normalizer {options.normalizer!r}; there is: {', '.join(NORMALIZERS)}")

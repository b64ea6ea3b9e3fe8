"""mean_face: the embedded default normalizer. Geometry and wrinkles of the source, drawn on an average of many faces.

expression.py says how the face is deformed, detail.py which wrinkles it gets, interior.py what is seen through eyes and mouth,
identity.py whose face it is; normalizer.py puts them together. No learned network takes part: everything is linear algebra
fitted once (normpipe.training.mean_face) and shipped as model.npz arrays.
"""

from normpipe.normalizers.mean_face.normalizer import MeanFace

__all__ = ["MeanFace"]

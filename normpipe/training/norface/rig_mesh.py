"""The face mesh tied to the rig under the common face's skin: what each of the rig's shapes does to the 468 points.

Warps move photos by it, and drawings are taught by it.
"""

from dataclasses import dataclass

import numpy as np

from normpipe.batches import Floats, Image
from normpipe.config import Detect, Pipeline
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.normalizer import MeanFace
from normpipe.synthetic.heads import HeadRig
from normpipe.synthetic.paint import fit_face_atlas
from normpipe.synthetic.surface import MeshOnRig


@dataclass(frozen=True, slots=True)
class RigMesh:
    """A rig that the face engine has looked at.

    Attributes:
        atlas: Its skin, the common face's.
        mesh: Where the face mesh lies on it.
        offsets: (57, 468, 2) float32, what each expression shape does to the frontal mesh, eye distances.
    """

    atlas: Image
    mesh: MeshOnRig
    offsets: Floats

    @classmethod
    def of(cls, rig: HeadRig) -> "RigMesh":
        """Paint the rig and tie the mesh to it; takes seconds.

        Raises:
            NormpipeError: the networks do not find the head, or see points beside it.
        """
        detector, landmarker = build_detector(Detect(), "cpu"), build_landmarker(Detect(), "cpu")
        common = MeanFace(Pipeline())
        common.prepare("cpu")
        neutral = common.neutral()
        found = landmarker.landmarks(neutral, detector.detect(neutral)[:1])[0]
        assert found is not None, "the common face is found"
        atlas = fit_face_atlas(rig, neutral, found.points[:, :2], detector, landmarker)
        mesh = MeshOnRig.fit(rig, atlas, detector, landmarker)
        offsets = np.stack([mesh.offsets(rig.vertices({name: 1.0}, ()), rig.neutral) for name in rig.expression_names])
        return cls(atlas, mesh, offsets)

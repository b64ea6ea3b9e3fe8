"""The embedded engine: three small networks that ship with the package find faces and place 468 landmarks, with no download.

One picture with one large face costs one call of the short-range detector and one of the mesh. What that misses is looked for
in steps, each dearer than the one before: room around the picture (tight crops), the full-range detector on the whole picture,
then on overlapping tiles (small faces), then the picture turned (lying and upside-down faces). A doubtful candidate is shown to
the mesh, whose own score removes false ones.

Sources: BlazeFace, https://arxiv.org/abs/1907.05047; Face Mesh, https://arxiv.org/abs/1907.06724
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from normpipe.batches import Detection, Floats, Image, Landmarks
from normpipe.faces import blazeface
from normpipe.faces.boxes import weighted_nms
from normpipe.faces.networks import EMBEDDED_NETWORKS, FACE_MESH, FULL_RANGE, SHORT_RANGE, Network, NetworkFile
from normpipe.faces.regions import Border, Region
from normpipe.records import LANDMARK_COUNT

ALGORITHM_VERSION = 1

_MESH_SCALE = 1.5
"""Room of the mesh's region around the detector's box, the value that the network was trained with."""

_FACE = 0.5
"""Mesh score from which there is a face."""

_SURE = 0.88
"""Detector score that needs no second opinion before the search ends; lying faces that pass for upright ones reach 0.87."""

_SHORT_RANGE_SCORE = 0.75
"""Below, the short-range network also answers to chests and hands; what it should see there the full-range one sees better."""

_FILLING = 0.45
"""Share of the picture's longer side from which a face fills it, and where that score is not asked for: the tight crops of
aligned data sets, grey and blurred, go down to 0.55; only 7 of 500 tiles without a face have an answer of that size at all."""

_MORE_LOOKS = 3
_SETTLED_TURN = math.radians(8)
_SETTLED_SHIFT = 0.08
_SETTLED_GROWTH = math.log(1.15)
"""How far the region of the landmarks may be from the one they were placed in: what 95 of 100 upright faces stay within."""

_SMALL = 48.0
"""Pixels. Below, the mesh's score is no judge (it rejects every third true face), but the detector's is: false candidates of
that size stayed below 0.67, true ones above 0.77 in nine of ten cases."""

_SMALL_SURE = 0.75

_ROOM = 1.5
"""Side of the padded picture over the picture's."""

_TILE = 256
"""Pixels; faces of 20 px are found in a tile of this side and the mesh has no use for smaller ones."""

_TILE_SHARE = 1 / 3
"""Each level of tiles has this share of the side of the level before."""

_TILE_LEVELS = 2
_TILE_OVERLAP = 1 / 3

_LARGEST_TILE = 0.8
"""Share of the picture above which a tile shows nothing that the whole does not."""


@dataclass(frozen=True, slots=True)
class _BlazeFace:
    """A detector network and its anchors."""

    file: NetworkFile
    network: Network
    anchors: Floats

    def candidates(self, image: Image, regions: Sequence[Region], min_score: float) -> tuple[Floats, Floats]:
        """Shapes (k, 8) in image pixels and scores (k,) over all regions, overlapping ones not yet merged."""
        offsets, logits = self.network(
            _inputs(self.file, [region.cut(image, self.file.side, Border.CONSTANT) for region in regions])
        )
        shapes, scores = [], []
        for region, own_offsets, own_logits in zip(regions, offsets, logits, strict=True):
            found, found_scores = blazeface.decode(own_offsets, own_logits, self.anchors, self.file.side, min_score)
            shapes.append(_to_image(found, region))
            scores.append(found_scores)
        return np.concatenate(shapes), np.concatenate(scores)


class EmbeddedEngine:
    """Detector and Landmarker in one, on whatever runs the networks.

    Attributes:
        exhaustive: Look for small faces even where a large one was found.
    """

    def __init__(self, load: Callable[[NetworkFile], Network], *, min_score: float = 0.5, exhaustive: bool = False) -> None:
        self._short_range = _BlazeFace(SHORT_RANGE, load(SHORT_RANGE), blazeface.anchors(SHORT_RANGE.side, ((8, 2), (16, 6))))
        self._full_range = _BlazeFace(FULL_RANGE, load(FULL_RANGE), blazeface.anchors(FULL_RANGE.side, ((4, 1),)))
        self._mesh = load(FACE_MESH)
        self._min_score = min_score
        self.exhaustive = exhaustive

    @property
    def fingerprint(self) -> str:
        """See Detector."""
        weights = "+".join(file.sha256[:16] for file in EMBEDDED_NETWORKS)
        search = "exhaustive" if self.exhaustive else "first"
        return f"embedded/{ALGORITHM_VERSION}/{search}/{self._min_score}/{weights}"

    def detect(self, image: Image) -> list[Detection]:
        """See Detector."""
        for shapes, scores in self._steps(image):
            found = self._confirmed(image, *weighted_nms(shapes, scores))
            if found:
                return found
        return []

    def landmarks(self, image: Image, detections: Sequence[Detection]) -> list[Landmarks | None]:
        """See Landmarker."""
        found = self._settled(image, [_mesh_region(detection) for detection in detections])
        return [
            placed if placed.score >= _FACE or _sure_though_small(detection) else None
            for placed, detection in zip(found, detections, strict=True)
        ]

    def _steps(self, image: Image) -> Iterator[tuple[Floats, Floats]]:
        """Candidates, step by step, until the caller has found a face."""
        height, width = image.shape[:2]
        whole = Region(width / 2, height / 2, max(width, height))
        upright = self._upright(whole, width, height, image)
        if self.exhaustive:
            shapes, scores = zip(*upright, strict=True)
            yield np.concatenate(shapes), np.concatenate(scores)
            yield self._near(image, [replace(whole, side=_ROOM * whole.side)])
        else:
            yield next(upright)
            yield self._near(image, [replace(whole, side=_ROOM * whole.side)])
            yield from upright
        for quarters in (1, 3, 2):
            yield self._near(image, [_turned(whole, quarters)])

    def _upright(self, whole: Region, width: int, height: int, image: Image) -> Iterator[tuple[Floats, Floats]]:
        """Candidates of large, middle and small upright faces."""
        yield self._near(image, [whole])
        yield self._full_range.candidates(image, [whole], self._min_score)
        for level in range(1, _TILE_LEVELS + 1):
            side = max(_TILE, whole.side * _TILE_SHARE**level)
            if side > _LARGEST_TILE * whole.side:
                return
            yield self._full_range.candidates(image, _tiles(width, height, side), self._min_score)
            if side == _TILE:
                return

    def _near(self, image: Image, regions: Sequence[Region]) -> tuple[Floats, Floats]:
        """Candidates of the short-range network: the certain ones, and any that fill much of the picture."""
        shapes, scores = self._short_range.candidates(image, regions, self._min_score)
        filling = _widths(shapes) >= _FILLING * max(image.shape[:2])
        kept = filling | (scores >= _SHORT_RANGE_SCORE)
        return shapes[kept], scores[kept]

    def _confirmed(self, image: Image, shapes: Floats, scores: Floats) -> list[Detection]:
        """The candidates that the detector is sure of or that the mesh takes for a face, this way up."""
        found = [
            Detection(shape[:4], float(score), shape[4:].reshape(2, 2)) for shape, score in zip(shapes, scores, strict=True)
        ]
        return [detection for detection in found if _sure(detection) or self._stands_the_test(image, detection)]

    def _stands_the_test(self, image: Image, detection: Detection) -> bool:
        """Whether the mesh sees a face, and sees it best as it was found: a lying face passes for a bad upright one.

        A face that fills the picture was cut out by somebody, who may have turned it upside down but not onto a side.
        """
        region = _mesh_region(detection)
        filling = bool(_widths(detection.box[None])[0] >= _FILLING * max(image.shape[:2]))
        turns = [_turned(region, quarters) for quarters in ((2,) if filling else (1, 2, 3))]
        upright, *others = (placed.score for placed in self._place(image, [region, *turns]))
        return upright >= max(_FACE, *others)

    def _settled(self, image: Image, regions: Sequence[Region]) -> list[Landmarks]:
        """Landmarks whose own region is the one they were placed in.

        A detector's region nearly always is; where it was coarse (a lying face, another detector's box) the mesh looks again
        in the region of its own landmarks.
        """
        found = self._place(image, regions)
        regions = list(regions)
        for _ in range(_MORE_LOOKS):
            own = [Region.of_face(placed.points, _MESH_SCALE) for placed in found]
            unsettled = [index for index, region in enumerate(regions) if not _alike(region, own[index])]
            if not unsettled:
                break
            for index, again in zip(unsettled, self._place(image, [own[index] for index in unsettled]), strict=True):
                regions[index] = own[index]
                if again.score >= min(_FACE, found[index].score):
                    found[index] = again
        return found

    def _place(self, image: Image, regions: Sequence[Region]) -> list[Landmarks]:
        """Landmarks in every region, face or not."""
        if not regions:
            return []
        cuts = [region.cut(image, FACE_MESH.side, Border.REPLICATE) for region in regions]
        points, logits = self._mesh(_inputs(FACE_MESH, cuts))
        return [
            Landmarks(region.to_image(own.reshape(LANDMARK_COUNT, 3) / FACE_MESH.side), 1.0 / (1.0 + math.exp(-float(logit))))
            for region, own, logit in zip(regions, points, logits.reshape(-1), strict=True)
        ]


def _alike(region: Region, other: Region) -> bool:
    """Whether the mesh would answer much the same in both."""
    turn = math.remainder(region.angle - other.angle, math.tau)
    shift = math.hypot(region.x - other.x, region.y - other.y) / region.side
    return abs(turn) <= _SETTLED_TURN and shift <= _SETTLED_SHIFT and abs(math.log(other.side / region.side)) <= _SETTLED_GROWTH


def _widths(shapes: Floats) -> Floats:
    return shapes[:, 2] - shapes[:, 0]


def _turned(region: Region, quarters: int) -> Region:
    return replace(region, angle=region.angle + quarters * math.pi / 2)


def _mesh_region(detection: Detection) -> Region:
    return Region.around(detection.box, detection.eyes, _MESH_SCALE)


def _sure(detection: Detection) -> bool:
    return detection.score >= _SURE or _sure_though_small(detection)


def _sure_though_small(detection: Detection) -> bool:
    x0, y0, x1, y1 = detection.box
    return bool(max(x1 - x0, y1 - y0) < _SMALL) and detection.score >= _SMALL_SURE


def _inputs(file: NetworkFile, pictures: Sequence[Image]) -> Floats:
    """(n, side, side, 3) float32 in the network's range."""
    return np.stack(pictures).astype(np.float32) * np.float32((1.0 - file.low) / 255.0) + np.float32(file.low)


def _to_image(shapes: Floats, region: Region) -> Floats:
    """Boxes stay upright squares about their moved centre, however the region is turned; eyes move as points."""
    centres = region.to_image((shapes[:, :2] + shapes[:, 2:4]) / 2)
    half = (shapes[:, 2:4] - shapes[:, :2]) * (region.side / 2)
    eyes = region.to_image(shapes[:, 4:].reshape(-1, 2, 2)).reshape(-1, 4)
    return np.concatenate([centres - half, centres + half, eyes], axis=1)


def _tiles(width: int, height: int, side: float) -> list[Region]:
    """Overlapping squares that cover the picture, rows first."""
    return [Region(x, y, side) for y in _tile_centres(height, side) for x in _tile_centres(width, side)]


def _tile_centres(extent: int, side: float) -> list[float]:
    if extent <= side:
        return [extent / 2]
    count = math.ceil((extent - side) / (side * (1 - _TILE_OVERLAP))) + 1
    return [float(centre) for centre in np.linspace(side / 2, extent - side / 2, count)]

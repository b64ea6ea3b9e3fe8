"""The whole fit on a few made-up people: it gives back the expressions that were planted, for a person it has never seen."""

from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from fixtures.portraits import SIZE, Expression, aligned, landmarks, mirror_index, portrait, turned
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.config import Detect, Pipeline
from normpipe.errors import UsageError
from normpipe.faces.build import build_landmarker
from normpipe.faces.geometry import mean_shape
from normpipe.normalizers.mean_face import MeanFace
from normpipe.normalizers.mean_face.expression import expression_of, measured_shape
from normpipe.normalizers.mean_face.model import load_model, save_model
from normpipe.sources.manifest import manifest_table, write_manifest
from normpipe.stages.align import template_detection
from normpipe.synthetic.heads import HeadParams, HeadRig
from normpipe.synthetic.paint import draw_atlas
from normpipe.training import turned_heads
from normpipe.training.mean_face import common_texture, fit, fit_gains, main
from normpipe.training.measures import Region, expression_measures, measure_regions
from normpipe.training.samples import Samples, collect
from normpipe.training.turned_heads import TurnedHeads
from normpipe.training.wiener import Groups

PEOPLE = 24
FACES_OF_EMOTION = {
    "neutral": Expression(),
    "happiness": Expression(left_corner=0.12, right_corner=0.12, lids=-0.02),
    "surprise": Expression(brows=0.15, jaw=0.2, lids=0.05),
    "anger": Expression(brows=-0.12, lids=-0.03),
    "sadness": Expression(left_corner=-0.08, right_corner=-0.08, brows=0.05),
    "fear": Expression(brows=0.15, lids=0.05, jaw=0.06, left_corner=0.04, right_corner=0.04),
}


def person(seed):
    """Shape of a person, (468, 2) face units: smooth bumps all over the face, unlike on both sides."""
    random = np.random.default_rng(seed)
    points = mean_shape().points[:, :2]
    shape = np.zeros_like(points)
    for centre in random.choice(468, 6, replace=False):
        near = np.exp(-((points - points[centre]) ** 2).sum(axis=1) / (2 * 0.6**2))
        shape += near[:, None] * random.normal(0, 0.03, 2)
    return shape.astype(np.float32)


def made_up(seeds):
    """Faces of people in all expressions, a little turned; landmarks without noise."""
    faces, subjects, emotions = [], [], []
    for seed in seeds:
        random = np.random.default_rng([7, seed])
        for emotion, full in FACES_OF_EMOTION.items():
            amount = random.uniform(0.6, 1.2)
            expression = Expression(**{field.name: amount * getattr(full, field.name) for field in fields(full)})
            points = turned(landmarks(expression, person(seed)), random.uniform(-12, 12), random.uniform(-8, 8))
            faces.append(portrait(load_model(), points))
            subjects.append(f"person {seed}")
            emotions.append(emotion)
    shapes, poses = measured_shape(np.stack([face.landmarks for face in faces]))
    return Samples(faces, np.array(subjects), np.array(emotions), shapes, poses)


@pytest.fixture(scope="module")
def train():
    return made_up(range(PEOPLE))


@pytest.fixture(scope="module")
def views():
    """People in one expression each, turned; landmarks without noise, so that turning changes nothing."""
    views = ((0, 0), (25, 5), (-35, -8))
    faces = [
        portrait(load_model(), turned(landmarks(Expression(), person(seed)), *view)) for seed in range(12) for view in views
    ]
    shapes, poses = measured_shape(np.stack([face.landmarks for face in faces]))
    return TurnedHeads(faces, shapes, poses, np.repeat([f"head {seed}" for seed in range(12)], len(views)))


@pytest.fixture(scope="module")
def fitted(train, views):
    return fit(train, train, views, Pipeline())


def offsets(model, points):
    return expression_of(aligned(np.full((SIZE, SIZE, 3), 160, np.uint8), points), model).offsets


@pytest.mark.parametrize("emotion", [name for name in FACES_OF_EMOTION if name != "neutral"])
def test_the_planted_expression_of_a_stranger_is_found(fitted, emotion):
    planted = FACES_OF_EMOTION[emotion].offsets()
    stranger = person(1000)
    found = offsets(fitted, landmarks(FACES_OF_EMOTION[emotion], stranger)) - offsets(fitted, landmarks(identity=stranger))
    assert np.corrcoef(found.ravel(), planted.ravel())[0, 1] > 0.85
    # Before the gains, the amplitude is that of all that is observed, people's differences included.
    assert 0.5 < np.linalg.norm(found) / np.linalg.norm(planted) < 1.4


def test_who_it_is_moves_the_common_face_little(fitted):
    shares = []
    for seed in range(1000, 1010):
        moved = offsets(fitted, landmarks(identity=person(seed))) - offsets(fitted, landmarks())
        shares.append(np.linalg.norm(moved) / np.linalg.norm(person(seed)))
    assert np.median(shares) < 0.4


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(1000, 2000))
def test_both_sides_are_treated_alike(fitted, seed):
    identity = person(seed)
    other = identity[mirror_index()] * np.array([-1, 1], np.float32)
    here, there = (offsets(fitted, landmarks(FACES_OF_EMOTION["happiness"], shape)) for shape in (identity, other))
    np.testing.assert_allclose(there, here[mirror_index()] * [-1, 1], atol=2e-3)


def test_the_arrays_are_those_of_a_model(fitted):
    for field in fields(fitted):
        array, shipped = getattr(fitted, field.name), getattr(load_model(), field.name)
        assert array.dtype == shipped.dtype, field.name
        assert array.ndim == shipped.ndim, field.name
        finite = field.name != "offset_limit"  # its limit is set with the gains
        assert np.isfinite(array).all() == finite, field.name
        assert not np.isnan(array).any(), field.name
    assert fitted.offset_limit.shape == (1,)
    np.testing.assert_array_equal(fitted.skin_triangles, load_model().skin_triangles)


def some(samples, chosen):
    faces = [samples.faces[index] for index in chosen]
    return Samples(faces, samples.subjects[chosen], samples.emotions[chosen], samples.shapes[chosen], samples.poses[chosen])


def test_fewer_faces_than_components_are_refused(train, views):
    with pytest.raises(UsageError, match=r"^125 labelled faces to fit on: mean_face needs at least 126 faces$"):
        fit(some(train, np.arange(125)), train, views, Pipeline())


def test_without_a_neutral_face_there_is_no_fit(train, views):
    with pytest.raises(UsageError, match="no labelled face to fit on has the emotion neutral"):
        fit(replace(train, emotions=np.full(len(train.emotions), "fear")), train, views, Pipeline())


STRONG = (
    Expression(),
    Expression(left_corner=0.15, right_corner=0.15),
    Expression(jaw=0.3),
    Expression(brows=0.15, jaw=0.15, lids=0.08),
    Expression(brows=-0.12, lids=-0.05),
    Expression(brows=0.05, lids=0.1),
    Expression(brows=0.1, left_corner=-0.1, right_corner=-0.1),
)


@pytest.fixture(scope="module")
def few():
    """Three people with strong expressions, with the landmarks that the embedded network finds on their portraits."""
    drawn = [portrait(load_model(), landmarks(look, person(seed))) for seed in range(3) for look in STRONG]
    faces = [
        replace(face, landmarks=points) for face, points in zip(drawn, _found([face.image for face in drawn]), strict=True)
    ]
    shapes, poses = measured_shape(np.stack([face.landmarks for face in faces]))
    names = np.repeat([f"person {seed}" for seed in range(3)], len(STRONG))
    return Samples(faces, names, np.full(len(names), ""), shapes, poses)


@pytest.fixture(scope="module")
def weak():
    """The shipped arrays with too little amplitude and no limit, as a fit leaves them."""
    shipped = load_model()
    return replace(shipped, shape_out=shipped.shape_out * np.float32(0.3), offset_limit=np.array([np.inf], np.float32))


@pytest.fixture(scope="module")
def amplified(weak, few):
    return fit_gains(weak, few, Pipeline())


def test_gains_bring_the_slopes_of_all_regions_nearer_to_their_targets(weak, amplified, few):
    targets = {Region.BROW: 1.25, Region.EYE: 1.5, Region.MOUTH: 1.35}
    before, after = (
        sum(abs(np.log(slopes[region] / target)) for region, target in targets.items())
        for slopes in (_slopes(model, few) for model in (weak, amplified))
    )
    assert after < 0.7 * before


def test_gains_scale_each_landmark_and_change_nothing_else(weak, amplified):
    changed = {field.name for field in fields(weak) if getattr(weak, field.name) is not getattr(amplified, field.name)}
    assert changed == {"shape_out", "offset_limit"}
    gains = landmark_gains(weak, amplified)
    np.testing.assert_allclose(amplified.shape_out, weak.shape_out * np.repeat(gains, 2), rtol=1e-3, atol=1e-6)
    assert amplified.shape_out.dtype == np.float32


def test_gains_differ_by_region_and_change_smoothly_between(weak, amplified):
    gains = landmark_gains(weak, amplified)
    np.testing.assert_allclose(gains, gains[mirror_index()], rtol=0.02)
    logs = np.log(gains)
    middle_of_brow, outer_lip = 105, 17
    assert abs(logs[middle_of_brow] - logs[outer_lip]) > 0.1
    steps = np.abs(logs[weak.skin_triangles] - logs[np.roll(weak.skin_triangles, 1, axis=1)])
    assert steps.max() < 0.6 * np.ptp(logs), "neighbours never take the whole difference between two regions"


def test_the_limit_is_what_one_face_in_twenty_exceeds(amplified, few):
    seen = few.shapes - few.poses @ amplified.pose_effect - amplified.shape_offset
    amounts = np.sqrt(((seen @ amplified.shape_in @ amplified.shape_out) ** 2).mean(axis=1))
    assert amplified.offset_limit.shape == (1,)
    assert amplified.offset_limit.dtype == np.float32
    assert amplified.offset_limit[0] == pytest.approx(np.quantile(amounts, 0.95), rel=1e-5)


def test_an_expression_that_comes_out_inverted_is_not_amplified(weak, few):
    with pytest.raises(UsageError, match="not found again on their renderings: brow, eye, mouth;"):
        fit_gains(replace(weak, shape_out=-3 * weak.shape_out), few, Pipeline())


def landmark_gains(weak, amplified):
    """(468,) by how much each landmark's offsets were scaled."""
    before, after = (np.linalg.norm(model.shape_out.reshape(-1, 468, 2), axis=(0, 2)) for model in (weak, amplified))
    return after / before


def _slopes(model, samples):
    """Median slope per region of the renderings' measures against the sources', within people, as `fit_gains` means it."""
    mirror, people = mirror_index(), Groups.of(samples.subjects)
    with TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model.npz")
        renderer = MeanFace(Pipeline(), Path(folder) / "model.npz")
        renderer.prepare("cpu")
    shapes = measured_shape(_found(renderer.normalize(samples.faces)))[0]
    source = samples.shapes - samples.poses @ model.pose_effect
    wanted = people.centred(expression_measures(source, mirror).astype(float))
    got = people.centred(expression_measures(shapes, mirror).astype(float))
    slopes = (wanted * got).sum(axis=0) / (wanted**2).sum(axis=0)
    return {region: float(np.median(slopes[measure_regions(mirror) == region])) for region in Region}


def _found(images):
    """(n, 468, 3) landmarks that the embedded network finds where the template says."""
    landmarker = build_landmarker(Detect(), "cpu")
    return np.stack([landmarker.landmarks(image, [template_detection(SIZE, 0.1)])[0].points for image in images])


@pytest.mark.slow
def test_the_same_faces_give_the_same_arrays(train, fitted, tmp_path, views):
    save_model(fitted, tmp_path / "first")
    save_model(fit(train, train, views, Pipeline()), tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_normalizer_draws_with_fitted_arrays(train, fitted, tmp_path):
    save_model(fitted, tmp_path / "model.npz")
    renderer = MeanFace(Pipeline(), tmp_path / "model.npz")
    renderer.prepare("cpu")
    pictures = renderer.normalize(train.faces[:6])
    assert all(picture.shape == (SIZE, SIZE, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 6
    neutral = renderer.neutral()
    assert np.abs(neutral.astype(int) - neutral[:, ::-1]).mean() < 1


def test_the_common_texture_is_that_of_calm_colourful_frontal_portraits(train, fitted):
    """Portraits that are grey or turned leave no trace as long as there are others."""
    calm = np.nonzero(train.emotions == "neutral")[0]
    good = [train.faces[index] for index in calm] * 2
    grey = [
        replace(face, image=np.repeat(cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)) for face in good[:20]
    ]
    blue_aside = [
        replace(face, image=np.ascontiguousarray(face.image[..., ::-1]), pose=np.array([30, 0, 0], np.float32)) for face in good
    ]

    def portraits(faces):
        shapes, poses = measured_shape(np.stack([face.landmarks for face in faces]))
        return Samples(faces, np.array([""] * len(faces)), np.array([""] * len(faces)), shapes, poses)

    expected = common_texture(portraits(good), fitted)
    np.testing.assert_array_equal(common_texture(portraits(good + grey + blue_aside), fitted), expected)
    assert np.abs(expected.astype(int) - expected[:, ::-1]).max() <= 1


@pytest.mark.slow
@pytest.mark.long
def test_the_command_fits_rendered_heads_from_manifests(shared, tmp_path, monkeypatch):
    path = shared / "data" / "ict-facekit" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip("needs ../shared/data/ict-facekit/ict_facekit.npz")
    monkeypatch.setattr(turned_heads, "_HEADS", 60)
    rig = HeadRig.load(path)
    atlas = draw_atlas(rig)
    looks = {
        "neutral": {},
        "happiness": {"mouthSmile_L": 0.8, "mouthSmile_R": 0.8},
        "surprise": {"jawOpen": 0.5, "browInnerUp_L": 0.8, "browInnerUp_R": 0.8},
        "anger": {"browDown_L": 0.9, "browDown_R": 0.9},
        "sadness": {"mouthFrown_L": 0.8, "mouthFrown_R": 0.8},
    }
    names, subjects, emotions, splits = [], [], [], []
    for number in range(28):
        identity = tuple(np.random.default_rng(number).normal(size=100) * 0.6)
        for emotion, weights in looks.items():
            known = {name: weight for name, weight in weights.items() if name in rig.expression_names}
            head = rig.render(HeadParams(size=160, extent=36, identity=identity, expression=known), atlas)
            names.append(f"{number}-{emotion}.png")
            subjects.append(str(number))
            emotions.append(emotion)
            splits.append("test" if number == 27 else "train")
            cv2.imwrite(str(tmp_path / names[-1]), head.image[..., ::-1])
    columns = {"sample_id": names, "uri": names, "subject": subjects, "emotion": emotions, "split": splits}
    manifest, output = tmp_path / "heads.parquet", tmp_path / "model.npz"
    write_manifest(manifest_table(columns, len(names)), manifest)
    arguments = [str(part) for part in (manifest, tmp_path, manifest, tmp_path, "--rig", path, "-o", output)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "of 27 people in split train" in result.output
    renderer = MeanFace(Pipeline(), output)
    renderer.prepare("cpu")
    assert renderer.neutral().shape == (SIZE, SIZE, 3)
    heads = collect(manifest_table(columns, len(names)), tmp_path, Pipeline())
    assert 0.5 < _slope(renderer, heads) < 3, "what the estimate shrinks, the gain gives back"


def _slope(renderer, samples):
    """Amplitude of the renderings' measures against the sources', within people."""
    found = _found(renderer.normalize(samples.faces))
    people, mirror = Groups.of(samples.subjects), mirror_index()
    wanted = people.centred(expression_measures(samples.shapes, mirror).astype(float))
    got = people.centred(expression_measures(measured_shape(found)[0], mirror).astype(float))
    return float((wanted * got).sum() / (wanted**2).sum())

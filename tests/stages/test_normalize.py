import numpy as np
import pytest
from fixtures.faces import aligned_face
from fixtures.normalizers import GreyComposite

from normpipe.config import Normalize, Pipeline
from normpipe.errors import UsageError
from normpipe.normalizers.build import build_normalizer
from normpipe.records import Failure, Reason
from normpipe.stages.normalize import normalize

NO_FACE = Failure(Reason.NO_FACE)


def test_failures_keep_their_place_and_pass_through():
    faces = [aligned_face(0), NO_FACE, aligned_face(1, yaw=50), aligned_face(2)]
    rendered = normalize(faces, GreyComposite(max_yaw=30))
    assert [getattr(entry, "reason", None) for entry in rendered] == [None, Reason.NO_FACE, Reason.NOT_RENDERED, None]
    np.testing.assert_array_equal(rendered[3], GreyComposite().normalize([faces[3]])[0])


def test_without_a_face_the_normalizer_is_not_asked():
    class Forbidden(GreyComposite):
        def normalize(self, faces):
            raise AssertionError

    assert normalize([NO_FACE], Forbidden()) == [NO_FACE]
    assert normalize([], Forbidden()) == []


def test_a_normalizer_that_loses_a_face_is_caught():
    class Loses(GreyComposite):
        def normalize(self, faces):
            return super().normalize(faces)[1:]

    with pytest.raises(AssertionError, match="one entry per face"):
        normalize([aligned_face(0), aligned_face(1)], Loses())


def test_an_unknown_normalizer_is_refused_with_the_names_there_are():
    with pytest.raises(UsageError, match="no normalizer 'mean'; there is: mean_face"):
        build_normalizer(Pipeline(normalize=Normalize(normalizer="mean")))

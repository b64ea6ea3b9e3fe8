"""Faces of successive frames become people, the same whatever shard boundary cuts the clip, and one person is kept."""

import numpy as np
import pytest
from fixtures.puppets import puppet_models, write_clip, write_stills
from fixtures.runs import run
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.config import load_pipeline
from normpipe.errors import UsageError
from normpipe.records import Reason
from normpipe.shards.reader import iter_rows
from normpipe.stages.tracks import Seen, Tracker

HIDDEN = None


def seen(x, y=50, side=40, score=0.9):
    points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    return Seen(np.array([x, y, x + side, y + side], np.float32), (np.array([x, y]) + side * points).astype(np.float32), score)


def walk(*paths):
    """Track ids of people who walk along `paths`, one list of left edges (or HIDDEN) each; one list of ids per path."""
    tracker = Tracker()
    ids = [[] for _ in paths]
    for places in zip(*paths, strict=True):
        present = sorted((x, who) for who, x in enumerate(places) if x is not HIDDEN)
        found = dict(zip((who for _, who in present), tracker.step([seen(x) for x, _ in present]), strict=True))
        for who, mine in enumerate(ids):
            mine.append(found.get(who))
    return tracker, ids


def test_one_person_has_one_number():
    _, (ids,) = walk([10 + 3 * step for step in range(30)])
    assert set(ids) == {0}


def test_numbers_go_by_first_appearance_and_then_from_the_left():
    _, (right, left, late) = walk([200] * 5, [20] * 5, [HIDDEN, HIDDEN, 100, 100, 100])
    assert (left[0], right[0], late[-1]) == (0, 1, 2)


def test_people_who_cross_keep_their_numbers():
    """The one behind is hidden while they overlap by more than half, as a detector would have it."""
    there = [3 * step for step in range(80)]
    back = [237 - 3 * step for step in range(80)]
    hidden = [HIDDEN if abs(x - y) < 24 else y for x, y in zip(there, back, strict=True)]
    _, (front, behind) = walk(there, hidden)
    assert hidden.count(HIDDEN) >= 5
    assert set(front) == {0}
    assert set(behind) - {None} == {1}


def test_a_person_may_be_missing_for_a_second():
    _, (ids,) = walk([100] * 5 + [HIDDEN] * 25 + [102] * 5)
    assert set(ids) - {None} == {0}


def test_who_comes_back_later_is_somebody_new():
    _, (ids,) = walk([100] * 5 + [HIDDEN] * 26 + [102] * 5)
    assert (ids[0], ids[-1]) == (0, 1)


def test_after_a_cut_everybody_is_new():
    _, (ids,) = walk([20] * 5 + [200] * 5)
    assert (ids[0], ids[-1]) == (0, 1)


def test_a_face_of_another_size_is_another_person():
    tracker = Tracker()
    assert [tracker.step([seen(100, side=30)]), tracker.step([seen(60, 10, side=120)])] == [[0], [1]]


def test_kept_is_the_largest_and_longest():
    tracker = Tracker()
    for _ in range(3):
        tracker.step([seen(20, side=20), seen(200, side=60)])
    assert tracker.kept == 1
    for _ in range(40):
        tracker.step([seen(20, side=20)])
    assert tracker.kept == 0
    assert Tracker().kept is None


@given(st.lists(st.integers(-6, 6), min_size=2, max_size=40))
@settings(max_examples=30, deadline=None)
def test_two_people_apart_never_mix_whatever_their_steps(steps):
    path = np.cumsum(steps)
    _, (left, right) = walk([int(x) for x in path], [int(x) + 500 for x in path])
    assert (set(left), set(right)) == ({0}, {1})


# Red walks to the right, green stands and is larger, blue passes behind green; for some frames there is nobody.
PLAY = [
    {}
    if step in (9, 10)
    else {"red": (10 + 5 * step, 20, 30), "blue": (290 - 8 * step, 40, 30), "green": (150, 40, 60)}
    if step % 7
    else {"red": (10 + 5 * step, 20, 30)}
    for step in range(30)
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A clip, the stills of a sequence, and stills that belong to none; of two clips one follows the other at once."""
    folder = tmp_path_factory.mktemp("stage")
    write_clip(folder / "first.png", PLAY)
    write_clip(folder / "second.png", PLAY[::-1][:13])
    names = write_stills(folder, PLAY[11:19])
    lines = ["sample_id,uri,frame,sequence"]
    lines += [f"second-{frame:02d},second.png,{frame}," for frame in range(13)]
    lines += [f"still-{name},{name},,walk" for name in names[:5]]
    lines += [f"alone-{name},{name},," for name in names[5:]]
    lines += [f"first-{frame:02d},first.png,{frame}," for frame in range(30)]
    table = folder / "manifest.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def tracked(table, out, *settings):
    how = ("detect.policy=track", *settings)
    summary = run(table, out, *how, build=puppet_models)
    assert summary.complete
    return list(iter_rows(out)), list(iter_rows(out, "faces"))


@pytest.fixture(scope="module")
def whole(stage, tmp_path_factory):
    return tracked(stage, tmp_path_factory.mktemp("whole") / "out", "detect.smoothing=2")


@pytest.mark.parametrize("shard_size", [1, 2, 3, 7])
def test_rows_do_not_depend_on_where_shards_cut_a_clip(stage, tmp_path, shard_size):
    how = ("detect.smoothing=2", "limit=24")
    expected = tracked(stage, tmp_path / "whole", *how)
    assert tracked(stage, tmp_path / "out", *how, f"shard_size={shard_size}") == expected


def test_one_person_is_kept_and_frames_without_it_fail(whole):
    rows = {row["sample_id"]: row for row in whole[0]}
    assert len(rows) == len(whole[0]) == 51
    for step in range(30):
        row = rows[f"first-{step:02d}"]
        there = "green" in PLAY[step]
        assert (row["status"], row["reason"]) == (("ok", None) if there else ("failed", Reason.NO_FACE))
        assert row["track_id"] == (1 if there else None)  # at first red is alone, then green stands left of blue
        assert row["face_index"] == (0 if there else None)
    faces = {row["sample_id"]: row for row in whole[1]}
    np.testing.assert_allclose(faces["first-02"]["box"][:2], (150, 40), atol=1)


def test_a_sequence_of_stills_is_a_clip_and_other_stills_stand_alone(whole):
    ids = [(row["sample_id"].partition("-")[0], row["track_id"]) for row in whole[0]]
    assert {track for kind, track in ids if kind == "still"} <= {0, 1, 2, None}
    assert len({track for kind, track in ids if kind == "still"} - {None}) == 1
    alone = [row for row in whole[1] if row["sample_id"].startswith("alone") and row["status"] == "ok"]
    for row in alone:  # the largest face of the frame
        assert row["box"][2] - row["box"][0] > 50 or row["track_id"] == 0


def test_smoothing_steadies_and_does_not_lag(tmp_path):
    """A square that trembles around a straight path is drawn onto the path."""
    rng = np.random.default_rng(3)
    path = [(20 + 4 * step, 40) for step in range(40)]
    scenes = [
        {"red": (x + int(dx), y + int(dy), 40)} for (x, y), (dx, dy) in zip(path, rng.integers(-2, 3, (40, 2)), strict=True)
    ]
    write_clip(tmp_path / "clip.png", scenes)
    table = tmp_path / "manifest.csv"
    table.write_text("sample_id,uri,frame\n" + "".join(f"{frame:02d},clip.png,{frame}\n" for frame in range(40)))
    errors = []
    for smoothing in (0, 4):
        _, faces = tracked(table, tmp_path / f"out{smoothing}", f"detect.smoothing={smoothing}")
        boxes = np.array([row["box"] for row in faces[5:-5]])
        errors.append(boxes[:, :2] - path[5:-5])
    assert np.abs(errors[1]).std() < 0.6 * np.abs(errors[0]).std()
    assert np.abs(errors[1].mean(axis=0) - errors[0].mean(axis=0)).max() < 0.25


def test_smoothing_without_tracks_is_refused():
    with pytest.raises(UsageError, match=r"needs detect\.policy: track"):
        load_pipeline(None, ["detect.smoothing=3"])


@pytest.mark.slow
def test_a_real_clip_whatever_shard_boundary_cuts_it(shared, tmp_path):
    from fixtures.normalizers import grey_models

    clip = shared / "data/sign-videos/bird.mkv"

    def rows(size):
        out = tmp_path / f"out{size}"
        run(clip, out, "limit=24", "detect.policy=track", "detect.smoothing=2", f"shard_size={size}", build=grey_models)
        return list(iter_rows(out)), list(iter_rows(out, "faces"))

    expected = rows(24)
    assert {row["track_id"] for row in expected[0]} == {0}
    for size in (1, 2, 3, 7):
        assert rows(size) == expected

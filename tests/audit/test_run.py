"""The audit from end to end: runs whose answers are known, and runs that are stopped half-way."""

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.audited import QUICK, audited, finished, rewritten, write_embedding
from fixtures.kills import Bomb, KilledError
from fixtures.normalizers import grey_models
from fixtures.runs import executed, planned

from normpipe.audit.document import at, figure_at, items
from normpipe.audit.embeddings import EmbeddingFile
from normpipe.audit.plan import AuditOptions, plan_audit
from normpipe.config import Gates
from normpipe.engine.dask import DaskExecutor
from normpipe.errors import UsageError
from normpipe.purge.request import Request
from normpipe.purge.run import purge

FINDINGS = ("findings", "expression", "displacement", "whole")
WORST = ("findings", "identity", "worst", "result", "auc")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("audited"))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Too few people for most figures: for what is about files, not figures."""
    return finished(tmp_path_factory.mktemp("few"), "shard_size=6", people=4)


@pytest.fixture(scope="module")
def embedding(tmp_path_factory):
    pytest.importorskip("onnx")
    return write_embedding(tmp_path_factory.mktemp("embedding") / "fields.onnx")


def originals(table):
    return [image and image["bytes"] for image in table["original"].to_pylist()]


def aucs(document, which):
    return {
        (at(each, "feature"), at(each, "method")): figure_at(each, "result", "auc").value
        for each in items(document, "findings", "identity", which)
    }


@pytest.fixture(scope="module")
def unchanged(out, embedding, tmp_path_factory):
    """The originals in the place of the normalized images."""
    folder = rewritten(out, tmp_path_factory.mktemp("unchanged") / "out", originals)
    options = AuditOptions(draws=100, repetitions=1, permutations=5, identity=(embedding,))
    return folder, audited(folder, options).document


def test_of_originals_nothing_is_gone(unchanged):
    _, document = unchanged
    before, after = aucs(document, "before"), aucs(document, "attacks")
    assert {name for name, _ in before} == {"fields", "HOG", "face shape"}
    for name, value in before.items():
        assert after[name] == pytest.approx(value, abs=0.01)
    assert max(before.values()) > 0.9


def test_of_originals_the_whole_expression_is_kept(unchanged):
    _, document = unchanged
    for name in ("correlation", "slope", "kept"):
        assert figure_at(document, *FINDINGS, name).value == pytest.approx(1, abs=1e-3)
    assert at(document, "findings", "expression", "label_code", "verdict") == "expression_kept"


def test_rows_lie_beside_those_of_the_run_and_hold_no_vector(unchanged):
    folder, _ = unchanged
    for part in (folder / "shards").iterdir():
        rows, pairs = (pq.read_table(path).to_pylist() for path in (folder / "audit" / "rows" / part.name, part))
        assert [row["sample_id"] for row in rows] == [row["sample_id"] for row in pairs]
        for row, pair in zip(rows, pairs, strict=True):
            assert (row["face_in_normalized"] is None) == (pair["status"] == "failed")
            if pair["status"] == "ok":
                assert row["expression_kept"] == pytest.approx(1, abs=1e-3)
                assert row["identity_similarity"] > 0.99
            assert all(value is None or isinstance(value, str | int | float) for value in row.values())


def test_features_go_when_the_audit_is_done(unchanged):
    folder, _ = unchanged
    assert not (folder / "audit" / "features").exists()
    assert {"audit.json", "index.html", "rows", "journal"} <= {path.name for path in (folder / "audit").iterdir()}


def test_a_constant_image_shows_nobody_and_nothing(out, tmp_path):
    """All pictures are one: an attacker guesses, and no expression is left."""

    picture = []

    def one(table):
        images = originals(table)
        picture.extend(filter(None, images))
        return [image and picture[0] for image in images]

    gates = Gates(max_identity_auc=0.55, min_expression_correlation=0.5)
    document = audited(rewritten(out, tmp_path / "out", one), gates=gates).document
    assert aucs(document, "attacks")["HOG", "cosine"] == pytest.approx(0.5, abs=0.01)
    assert aucs(document, "attacks")["HOG", "probe"] == pytest.approx(0.5, abs=0.01)
    assert figure_at(document, *FINDINGS, "slope").value == pytest.approx(0, abs=0.01)
    assert [at(each, "passed") for each in items(document, "gates")][1] is False
    assert document["passed"] is False


def test_somebody_elses_images_show_neither_person_nor_expression(out, tmp_path):
    def shuffled(table):
        """Within a part, which holds people in the order of their names."""
        images = originals(table)
        there = [number for number, image in enumerate(images) if image]
        order = np.random.default_rng(1).permutation(len(there))
        mixed = dict(zip(there, (images[there[place]] for place in order), strict=True))
        return [mixed.get(number) for number in range(len(images))]

    document = audited(rewritten(out, tmp_path / "out", shuffled)).document
    assert abs(figure_at(document, *FINDINGS, "correlation").value) < 0.25
    assert aucs(document, "attacks")["HOG", "cross_cosine"] < 0.65
    assert at(document, "findings", "expression", "label_code", "verdict") in ("expression_lost", "undecided")


def test_one_picture_per_label_is_found_out(out, tmp_path):
    """Nobody is recognized and the classifier is right every time: the audit calls it a code of the label."""
    pictures = {}

    def by_label(table):
        images, labels = originals(table), table["emotion"].to_pylist()
        for image, label in zip(images, labels, strict=True):
            if image:
                pictures.setdefault(label, image)
        return [image and pictures[label] for image, label in zip(images, labels, strict=True)]

    document = audited(rewritten(out, tmp_path / "out", by_label)).document
    assert at(document, "findings", "expression", "label_code", "verdict") == "label_only_code"
    assert aucs(document, "attacks")["HOG", "cosine"] == pytest.approx(0.5, abs=0.01)
    assert figure_at(document, "findings", "expression", "use", "arms", "normalized", "macro_f1").value == 1
    assert "code of their label" in (tmp_path / "out" / "audit" / "index.html").read_text()


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "journal" not in path.parts and path.suffix in {".parquet", ".json", ".html", ".png"}
        and path.name not in {"run.json", "progress.json"}
    }  # fmt: skip


def copied(out, target):
    return rewritten(out, target, lambda table: [image and image["bytes"] for image in table["normalized"].to_pylist()])


@pytest.mark.slow
def test_two_workers_write_what_one_writes(few, tmp_path):
    options = AuditOptions(draws=100, repetitions=1, permutations=5, keep_features=True)
    one, two = copied(few, tmp_path / "one"), copied(few, tmp_path / "two")
    audited(one, options)
    audited(two, options, executor=DaskExecutor(2, None, 300.0))
    assert digests(one / "audit") == digests(two / "audit")
    assert any(name.startswith("features/") for name in digests(one / "audit"))


def test_a_killed_audit_goes_on_where_it_was(few, tmp_path):
    whole, killed = copied(few, tmp_path / "whole"), copied(few, tmp_path / "killed")
    audited(whole)
    with pytest.raises(KilledError), Bomb(after=16) as bomb:
        audited(killed)
    assert bomb.burst
    assert not (killed / "audit" / "audit.json").exists()
    done = len(list((killed / "audit" / "features").glob("part-*.parquet")))
    assert 0 < done < 4
    again = audited(killed)
    assert again.summary is not None
    assert digests(whole / "audit") == digests(killed / "audit")


def test_a_finished_audit_is_not_done_again_but_judged_anew(few, tmp_path):
    folder = copied(few, tmp_path / "out")
    first = audited(folder)
    again = audited(folder, gates=Gates(max_identity_auc=0.5))
    assert first.summary is not None
    assert again.summary is None
    assert first.document["passed"] is None  # no gate is set
    assert again.document["passed"] is False
    assert json.loads((folder / "audit" / "audit.json").read_text())["gates"][0]["name"] == "max_identity_auc"
    assert "gates.max_identity_auc=0.5 missed: not measurable" in (folder / "audit" / "index.html").read_text()
    drawn = audited(folder)
    assert drawn.document["passed"] is False  # drawing again takes no verdict back


def test_who_withdrew_is_told_of_apart_from_what_failed(few, tmp_path):
    folder = copied(few, tmp_path / "out")
    (done,) = purge(folder, Request(frozenset({"p001"}), frozenset()))
    assert done.withdrawal.frames == 5
    found = audited(folder, gates=Gates(max_failed_fraction=0.01))
    told = [at(found.document, "run", name) for name in ("rows", "withdrawn_rows", "failed_rows", "failed")]
    assert told == [20, 5, 0, {}]
    assert found.document["passed"] is True
    page = found.page.read_text()
    assert "15 pairs of 20 rows (5 withdrawn)" in page
    assert "5 rows were withdrawn: only their places are left" in page


def test_an_audit_of_before_that_counted_them_as_failed_is_judged_anew(few, tmp_path):
    folder = copied(few, tmp_path / "out")
    list(purge(folder, Request(frozenset({"p001"}), frozenset())))
    path = audited(folder).page.with_name("audit.json")
    document = json.loads(path.read_text())
    document["run"] |= {"failed_rows": 5, "failed": {"withdrawn": 5}}
    del document["run"]["withdrawn_rows"]
    path.write_text(json.dumps(document))
    again = audited(folder, gates=Gates(max_failed_fraction=0.01))
    assert again.summary is None, "nothing is measured again"
    assert again.document["passed"] is True


def test_an_instrument_that_is_not_given_again_is_asked_for(few, embedding, tmp_path):
    folder = copied(few, tmp_path / "out")
    audited(folder, replace(QUICK, identity=(embedding,)))
    before = digests(folder / "audit")
    with pytest.raises(UsageError, match=r"the audit there was made with identity.fields; give"):
        audited(folder)
    assert digests(folder / "audit") == before


def test_runs_to_compare_with_are_looked_at_before_anything_is_measured(few, tmp_path):
    folder = copied(few, tmp_path / "out")
    with pytest.raises(UsageError, match="--compare bare: not audited"):
        audited(folder, compare=(tmp_path / "bare",))
    assert not (folder / "audit").exists()


def test_damaged_files_of_an_audit_are_made_again(few, tmp_path):
    folder = copied(few, tmp_path / "out")
    audited(folder)
    whole = digests(folder / "audit")
    for damaged in ("rows/part-00000.parquet", "journal/committed.parquet", "plan.json"):
        (folder / "audit" / damaged).write_bytes(b"PAR1 no")
        if not damaged.startswith("rows"):
            (folder / "audit" / "audit.json").unlink()
        audited(folder)
        assert digests(folder / "audit") == whole


def test_what_has_changed_is_audited_again(few, tmp_path):
    folder = copied(few, tmp_path / "out")
    audited(folder)
    changed = rewritten(folder, tmp_path / "changed", originals)  # with the audit of the other pictures beside it
    assert (changed / "audit" / "audit.json").exists()
    assert audited(changed).summary is not None
    seeded = AuditOptions(draws=100, repetitions=1, permutations=5, seed=1)
    assert audited(changed, seeded).summary is not None


def test_without_subjects_and_labels_it_says_what_cannot_be_measured(few, tmp_path):
    plain = executed(planned(few.parent / "photos", tmp_path / "out", "limit=20", "shard_size=32", build=grey_models))
    assert plain.complete
    gates = Gates(max_identity_auc=0.9)
    document = audited(tmp_path / "out", gates=gates).document
    assert at(document, "findings", "identity", "worst") is None
    assert {at(each, "result", "why") for each in items(document, "findings", "identity", "attacks")} == {"no_subjects"}
    assert document["passed"] is False  # what cannot be measured does not pass
    page = (tmp_path / "out" / "audit" / "index.html").read_text()
    assert "not measurable" in page
    assert "no row with a face names its subject" in page


def test_a_run_without_a_single_pair_has_a_page(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in "ab":
        (tmp_path / "photos" / f"{name}.png").write_bytes(b"")
    assert executed(planned(tmp_path / "photos", tmp_path / "out", build=grey_models)).complete
    document = audited(tmp_path / "out").document
    assert at(document, "findings", "sample", "pairs") == 0
    assert "not measurable" in (tmp_path / "out" / "audit" / "index.html").read_text()
    rows = pq.read_table(tmp_path / "out" / "audit" / "rows" / "part-00000.parquet")
    assert rows.num_rows == 2
    assert rows["face_in_original"].null_count == 2


def test_the_runs_own_settings_are_taken_from_its_plan(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    settings = ("size=128", "align.margin=0.2", "normalize.detail=0.25", "execution.deadline=7")
    executed(planned(tmp_path / "photos", tmp_path / "out", *settings, build=grey_models))
    pipeline = plan_audit(tmp_path / "out", QUICK).run.pipeline
    assert (pipeline.size, pipeline.align.margin, pipeline.normalize.detail) == (128, 0.2, 0.25)


def test_an_unfinished_run_is_refused(few, tmp_path):
    folder = copied(few, tmp_path / "out")
    (folder / "shards" / "part-00001.parquet").unlink()
    with pytest.raises(UsageError, match="not finished"):
        plan_audit(folder, QUICK)


def test_a_part_that_was_tampered_with_is_refused(few, tmp_path):
    folder = copied(few, tmp_path / "out")
    part = folder / "shards" / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    with pytest.raises(UsageError, match=r"shards/part-00001\.parquet is not the file"):
        audited(folder)


def test_an_instrument_that_differs_on_a_worker_is_refused(few, embedding):
    plan = plan_audit(few, AuditOptions(identity=(embedding,)))
    (found,) = plan.task.columns.embeddings
    assert isinstance(found, EmbeddingFile)
    found.path.write_bytes(found.path.read_bytes() + b"\0")
    with pytest.raises(Exception, match="does not see the file"):
        plan.task.prepare()
    found.path.write_bytes(found.path.read_bytes()[:-1])


def test_a_row_that_kills_its_process_is_left_out_and_keeps_its_place(few, tmp_path):
    from fixtures.runs import Here

    from normpipe.records import Reason

    folder = copied(few, tmp_path / "out")
    rows = pq.read_table(folder / "shards" / "part-00000.parquet", columns=["status"])["status"].to_pylist()
    culprit = rows.index("ok")
    audited(folder, executor=Here({culprit: Reason.POISON}))
    measured = pq.read_table(folder / "audit" / "rows" / "part-00000.parquet")["face_in_normalized"].to_pylist()
    assert len(measured) == len(rows)
    assert not measured[culprit]
    plan = plan_audit(folder, QUICK)
    plan.task.prepare()
    plan.task.probe(culprit)
    assert cv2.getNumThreads() == 1

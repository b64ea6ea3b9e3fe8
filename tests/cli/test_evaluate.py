"""`normpipe normalizer evaluate` as a shell sees it: drawn people, the real judges of expression, mean_face against itself."""

import json
import shutil
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fixtures.audited import write_embedding, write_people
from fixtures.command import normpipe

from normpipe.assets.store import STORE_VARIABLE
from normpipe.audit.document import at, figure_at, items, read_document
from normpipe.cli import cli
from normpipe.engine.plan import read_plan

STRENGTHS = ("0", "0.25", "0.5", "0.75", "1")
RUNS = [f"{side}-{strength}" for side in ("baseline", "candidate") for strength in STRENGTHS]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Six people, five photos of each, and one of another split."""
    folder = tmp_path_factory.mktemp("people")
    table = pq.read_table(write_people(folder / "photos", 7))
    splits = ["train" if subject == "p006" else "test" for subject in table["subject"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("split"), "split", pa.array(splits))
    pq.write_table(table, folder / "people.parquet")
    return folder / "people.parquet"


@pytest.fixture
def no_store(tmp_path, monkeypatch):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "dev"), "--split dev: the manifest has no row of it; it has: test, train"),
        (("--emotion", "anger", "--emotion", "neutral"), "--emotion anger: 0 people in split test, 5 are needed"),
        (("--set", "encode.quality=50"), "--set encode.quality=50: an evaluation takes keys of normalize"),
        (("--set", "normalize.detail=1"), "--set normalize.detail=1: an evaluation takes keys of normalize"),
        (("--set", "normalize.nothing=1"), "--set normalize.nothing: there is no such key"),
        (("--normalizer", "none"), "normalize.normalizer: no normalizer 'none'"),
        (("--normalizer", "norface", "--weights", "nowhere"), "weights nowhere: no such folder"),
        ((), "--identity: no face embedding was given, and the model store has none; name an ONNX file"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line_and_leaves_nothing(manifest, tmp_path, no_store, capsys, arguments, message):
    root = manifest.parent / "photos"
    given = ("evaluate", manifest, tmp_path / "out", "--root", root, "--normalizer", "mean_face", *arguments)
    code, _, errors = normpipe(capsys, "normalizer", *given)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert errors.startswith("error: ")
    assert message in errors
    assert not (tmp_path / "out").exists()


def test_a_judge_that_is_no_file_or_no_judge_is_refused(manifest, tmp_path, no_store, capsys):
    given = ("normalizer", "evaluate", manifest, tmp_path / "out", "--root", manifest.parent / "photos")
    code, _, errors = normpipe(capsys, *given, "--identity", tmp_path / "absent.onnx")
    assert code == 2
    assert "absent.onnx" in errors.splitlines()[-1]
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    code, _, errors = normpipe(capsys, *given, "--normalizer", "mean_face", "--identity", tmp_path / "noise.onnx")
    assert (code, errors) == (2, "error: --identity noise.onnx: not a readable ONNX file\n")


def test_help_has_an_example():
    assert (
        "normpipe normalizer evaluate labels.parquet eval/" in CliRunner().invoke(cli, ["normalizer", "evaluate", "-h"]).output
    )


@pytest.fixture(scope="module")
def arguments(manifest, shared, tmp_path_factory):
    """The command over the drawn people; without face_landmarker.task there is no second judge of expression."""
    pytest.importorskip("onnx")
    pytest.importorskip("mediapipe")
    bundle = shared / "models" / "face_landmarker.task"
    if not bundle.is_file():
        pytest.skip("needs ../shared/models/face_landmarker.task")
    folder = tmp_path_factory.mktemp("evaluation")
    judges = ("--identity", write_embedding(folder / "fields.onnx"), "--blendshapes", bundle)
    how = ("--root", manifest.parent / "photos", "--normalizer", "mean_face", "--repetitions", "1", *judges)
    return ("normalizer", "evaluate", manifest, folder / "out", *how)


@pytest.fixture(scope="module")
def out(arguments):
    """A finished evaluation."""
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return arguments[3]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_candidate_that_is_the_baseline_differs_by_nothing(out):
    document = json.loads((out / "evaluation.json").read_text())
    assert [at(arm, "run", "failed") for arm in items(document, "arms")] == [{}] * 10
    assert at(document, "sample", "compared") == 30
    assert at(document, "sample", "people") == 6
    assert at(document, "sample", "classes") == {"happiness": 12, "neutral": 12, "surprise": 6}
    matches = items(document, "matched")
    assert [at(match, "strength") for match in matches] == [0, 0.25, 0.5, 0.75, 1]
    for match in matches:
        assert at(match, "comparison", "reach") != "not_reached"
        for measure in ("correlation", "macro_f1", "macro_f1_with_originals"):
            gap = figure_at(match, "comparison", "measures", measure, "difference")
            assert (gap.value, gap.low, gap.high) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_arm_has_its_audits_figures(out):
    for arm, run in zip(items(json.loads((out / "evaluation.json").read_text()), "arms"), RUNS, strict=True):
        audit = read_document(out / run / "audit")
        expression = ("findings", "expression")
        cosine = next(
            each
            for each in items(audit, "findings", "identity", "attacks")
            if (at(each, "feature"), at(each, "method")) == ("fields", "cosine")
        )
        for figure, told in (
            ("auc", figure_at(cosine, "result", "auc")),
            ("rank_one", figure_at(audit, "findings", "identity", "identification", "fields", "rank_one")),
            ("correlation", figure_at(audit, *expression, "blendshapes", "mean", "correlation")),
            ("slope", figure_at(audit, *expression, "blendshapes", "mean", "slope")),
            ("macro_f1", figure_at(audit, *expression, "use", "arms", "normalized", "macro_f1")),
            ("macro_f1_with_originals", figure_at(audit, *expression, "use", "arms", "both", "macro_f1")),
        ):
            assert figure_at(arm, figure) == told, (run, figure)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_finished_evaluation_is_only_shown_again(out, arguments, capsys):
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/audit/audit.json")}
    tables = (out / "evaluation.md").read_text()
    code, printed, errors = normpipe(capsys, *arguments)
    assert code == 0
    assert printed == f"{tables}\n{out / 'evaluation.md'}\n"
    assert "audit" not in errors
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/audit/audit.json")} == written
    assert len(written) == 10
    assert not list(out.glob("*/audit/features"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_faces_are_found_once(out):
    seconds = [json.loads((out / run / "run.json").read_text())["seconds_by_stage"]["detect"] for run in RUNS]
    assert median(seconds[1:]) < seconds[0] / 5
    digests = {read_plan(out / run).fingerprint.parts["manifest"] for run in RUNS}
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_question_needs_another_folder(out, arguments, capsys):
    code, _, errors = normpipe(capsys, *arguments, "--repetitions", "2")
    assert (code, errors) == (2, "error: out: holds another evaluation (repetitions: 1 -> 2); choose another OUT\n")
    code, _, errors = normpipe(capsys, *arguments, "--set", "normalize.background=[0,0,0]")
    assert code == 2
    assert "holds another evaluation (candidate.config.normalize.background: [61, 61, 61] -> [0, 0, 0]" in errors


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_what_is_lost_is_made_again_and_all_is_as_before(out, arguments, capsys):
    before = {name: (out / name).read_bytes() for name in ("evaluation.json", "evaluation.md")}
    for name in before:
        (out / name).unlink()
    shutil.rmtree(out / "candidate-1")
    code, _, errors = normpipe(capsys, *arguments)
    assert code == 0, errors
    assert {name: (out / name).read_bytes() for name in before} == before

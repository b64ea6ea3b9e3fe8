import pytest
from fixtures.pairs import ok_row
from fixtures.released import people, released, requested, write_audit, write_run

from normpipe.errors import UsageError
from normpipe.release.build import build
from normpipe.release.document import read_release
from normpipe.release.runs import read_runs
from normpipe.shards.atomic import sha256_of


def test_a_run_without_an_audit_is_refused(tmp_path):
    out = write_run(tmp_path / "out")
    (out / "audit" / "audit.json").unlink()
    with pytest.raises(UsageError, match="out: not audited; `normpipe audit` it, or --override-audit"):
        released(out, tmp_path / "release")
    released(out, tmp_path / "labels", include="labels")  # shows nobody


@pytest.mark.parametrize(
    ("passed", "why"),
    [(False, "its audit missed max_identity_auc; see out/audit/index.html, or"), (None, "held against no gate")],
)
def test_an_audit_that_did_not_pass_is_refused_unless_overridden(tmp_path, passed, why):
    out = write_run(tmp_path / "out", passed=passed)
    with pytest.raises(UsageError, match=why):
        released(out, tmp_path / "release")
    with pytest.raises(UsageError, match=why):
        released(out, tmp_path / "release", allowed=("--override-terms", "--partial"))
    document = released(out, tmp_path / "release", allowed=("--override-audit",))
    assert document.overrides == ("--override-audit",)
    assert document.sources[0].audit.overridden
    assert "`--override-audit`" in (tmp_path / "release/README.md").read_text()


def test_an_audit_of_other_pictures_is_refused(tmp_path):
    out, other = write_run(tmp_path / "out"), write_run(tmp_path / "other", people(12))
    (out / "audit" / "audit.json").write_bytes((other / "audit" / "audit.json").read_bytes())
    with pytest.raises(UsageError, match="its audit is of other pictures"):
        released(out, tmp_path / "release")
    assert released(out, tmp_path / "release", allowed=("--override-audit",)).sources[0].audit is None


def test_unknown_terms_are_overridden_by_their_own_flag_alone(tmp_path):
    out = write_run(tmp_path / "out", [ok_row("a", dataset="affectnet"), ok_row("b", 1, dataset="drawn")])
    with pytest.raises(UsageError, match="dataset affectnet: its terms"):
        released(out, tmp_path / "release", allowed=("--override-audit", "--partial"))
    document = released(out, tmp_path / "release", allowed=("--override-terms",))
    assert document.overrides == ("--override-terms",)
    assert not (tmp_path / "release/audit/figures/pairs.png").exists(), "one source's terms allow no pictures"


def test_an_unfinished_run_is_refused_or_released_as_partial(tmp_path):
    out = write_run(tmp_path / "out", shards=2)
    with pytest.raises(UsageError, match=r"not finished \(2 of 3 shards\); .* with --partial --override-audit \("):
        released(out, tmp_path / "release")
    with pytest.raises(UsageError, match=r"finish it, or release what there is with --partial$"):
        released(out, tmp_path / "release", include="labels")
    document = released(out, tmp_path / "release", allowed=("--partial",))
    assert document.exclusions["partial:pending"] == 4
    assert not document.sources[0].run.complete
    assert document.overrides == ("--partial",)


def test_a_flag_that_was_not_needed_is_not_told_of(tmp_path):
    document = released(write_run(tmp_path / "out"), tmp_path / "release", allowed=("--override-terms", "--override-audit"))
    assert document.overrides == ()
    assert "Read this first" not in (tmp_path / "release/README.md").read_text()


def test_what_a_flag_passes_over_is_told(tmp_path):
    rows = [ok_row(str(number), number, dataset="drawn" if number else "affectnet") for number in range(3)]
    out = write_run(tmp_path / "out", rows, shard_rows=2, shards=1, passed=False)
    runs, lines = read_runs([out]), []
    flags = ("--override-terms", "--override-audit", "--partial")
    build(runs, tmp_path / "release", requested(runs, tmp_path, allowed=flags), note=lines.append)
    assert [line for line in lines if "passes over" in line] == [
        "warning: --partial passes over: out: the run is not finished (1 of 2 shards)",
        "warning: --override-terms passes over: dataset affectnet: its terms (AffectNet licence agreement (University of "
        "Denver)) allow to pass on nothing, not pairs",
        "warning: --override-audit passes over: out: its audit missed max_identity_auc",
    ]


def test_an_audit_again_makes_the_release_another(tmp_path):
    out = write_run(tmp_path / "out")
    released(out, tmp_path / "one")
    write_audit(out, False)
    released(out, tmp_path / "two", allowed=("--override-audit",))
    first, second = (read_release(tmp_path / name) for name in ("one", "two"))
    assert first.files == second.files
    assert sha256_of(tmp_path / "one/README.md") != sha256_of(tmp_path / "two/README.md")

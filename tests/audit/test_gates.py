"""Verdicts: the worse end of the interval counts, and what is not there does not pass."""

import pytest

from normpipe.audit.gates import judged, line, passed
from normpipe.config import Gates


def fig(value, low=None, high=None):
    return {"value": value, "low": value if low is None else low, "high": value if high is None else high}


AUC, KEPT = fig(0.6, 0.55, 0.65), fig(0.8, 0.75, 0.85)


def attack(method, auc):
    return {"feature": "e", "method": method, "result": {"auc": auc}}


def document(auc=AUC, correlation=KEPT, blend=None, gap=0.0, failed=0, withdrawn=0, learnt=AUC, before=KEPT):
    expression = {"displacement": {"whole": {"correlation": correlation, "slope": fig(1.0, 0.9, 1.1)}}}
    if blend is not None:
        expression["blendshapes"] = {"mean": {"correlation": blend, "slope": blend}}
    return {
        "instruments": {"identity.e": "ab"},
        "run": {"rows": 100, "withdrawn_rows": withdrawn, "failed_rows": failed},
        "findings": {
            "identity": {
                "before": [attack("cosine", before)],
                "attacks": [attack("cosine", auc), attack("probe", learnt), attack("cross_probe", learnt)],
                "identification": {"a": {"rank_one": fig(0.1, 0.05, 0.2)}},
            },
            "expression": expression,
            "losses": {
                "by_group": [
                    {"figure": "failures", "column": "split", "gap": gap},
                    {"figure": "failures", "column": "subject", "gap": 0.9},
                    {"figure": "expression kept", "column": "split", "gap": 0.9},
                ]
            },
        },
    }


@pytest.mark.parametrize(
    ("gate", "limit", "good"),
    [
        ("max_identity_auc", 0.65, True),
        ("max_identity_auc", 0.64, False),  # the interval reaches beyond it
        ("min_expression_correlation", 0.75, True),
        ("min_expression_correlation", 0.76, False),
        ("min_expression_slope", 0.9, True),
        ("max_rank_one", 0.2, True),
        ("max_rank_one", 0.19, False),
        ("max_group_failure_gap", 0.0, True),
        ("max_failed_fraction", 0.5, True),
    ],
)
def test_the_whole_interval_must_hold(gate, limit, good):
    (verdict,) = judged(document(), Gates(**{gate: limit}))
    assert verdict["passed"] is good
    assert line(verdict).startswith(f"gates.{gate}={limit:g} {'passed' if good else 'missed'}: ")


def test_no_gate_no_verdict():
    assert judged(document(), Gates()) == []
    assert passed([]) is None  # nothing was asked, so nothing has passed


def test_the_instrument_that_sees_less_decides():
    gates = Gates(min_expression_correlation=0.7)
    assert passed(judged(document(), gates))
    assert not passed(judged(document(blend=fig(0.6, 0.5, 0.7)), gates))


def test_what_cannot_be_measured_does_not_pass():
    missing = {"why": "no_subjects", "detail": "no row names its subject"}
    (verdict,) = judged(document(auc=missing, learnt=missing, before=missing), Gates(max_identity_auc=1.0))
    assert not verdict["passed"]
    assert line(verdict) == "gates.max_identity_auc=1 missed: not measurable, no row names its subject"


def test_the_attacker_that_may_be_best_decides():
    assert not passed(judged(document(learnt=fig(0.5, 0.2, 0.8)), Gates(max_identity_auc=0.65)))


def test_an_attacker_that_could_not_learn_lets_nobody_pass():
    few = {"why": "too_few_subjects", "detail": "9 people with several images"}
    for gate in ("max_identity_auc", "max_rank_one"):
        (verdict,) = judged(document(learnt=few), Gates(**{gate: 1.0}))
        assert line(verdict).endswith(
            "missed: not measurable, no attacker that learns could be tried: 9 people with several images"
        )


def test_an_embedding_that_sees_nobody_lets_nobody_pass():
    (verdict,) = judged(document(before=fig(0.5, 0.45, 0.55)), Gates(max_identity_auc=1.0))
    assert line(verdict).endswith("no face embedding that was given tells people apart on the originals")


def test_weak_attackers_alone_let_nobody_pass():
    weak = {**document(), "instruments": {"landmarks": "x"}}
    for gate in ("max_identity_auc", "max_rank_one"):
        (verdict,) = judged(weak, Gates(**{gate: 1.0}))
        assert line(verdict) == f"gates.{gate}=1 missed: not measurable, no face embedding was given: --identity"


def test_only_failures_count_for_the_failure_gap():
    assert passed(judged(document(gap=0.1), Gates(max_group_failure_gap=0.1)))
    assert not passed(judged(document(gap=0.11), Gates(max_group_failure_gap=0.1)))


def test_failed_rows_count():
    assert not passed(judged(document(failed=11), Gates(max_failed_fraction=0.1)))


def test_who_withdrew_is_no_row_that_could_have_failed():
    (verdict,) = judged(document(failed=4, withdrawn=50), Gates(max_failed_fraction=0.07))
    assert line(verdict) == "gates.max_failed_fraction=0.07 missed: 0.080"
    assert passed(judged(document(withdrawn=100), Gates(max_failed_fraction=0.0)))

"""The sentences on top of the page say what the figures say."""

import pytest

from normpipe.audit.answers import answers, jitter_sentence, label_sentence


def fig(value, low=None, high=None):
    return {"value": value, "low": value if low is None else low, "high": value if high is None else high}


def document(auc):
    attack = {"feature": "e", "method": "cosine", "result": {"auc": auc}}
    before = {**attack, "result": {"auc": fig(0.95)}}
    identity = {"worst": attack, "attacks": [attack], "before": [before]}
    return {"instruments": {"identity.e": "ab"}, "findings": {"identity": identity}}


@pytest.mark.parametrize(
    ("auc", "sentence"),
    [
        (fig(0.52, 0.5, 0.54), "Nearly guessing. That is no proof"),
        (fig(0.56, 0.53, 0.59), "Little is left, but not nothing."),
        (fig(0.52, 0.4, 0.64), "That cannot be said from so few people."),
        (fig(0.72, 0.7, 0.74), "No: people can still be told apart."),
    ],
)
def test_the_person(auc, sentence):
    first = answers(document(auc))[0]
    assert first.sentence.startswith(sentence)
    assert "on originals in 95" in first.sentence
    assert first.number == f"{auc['value']:.2f}"


def test_without_an_embedding_the_attackers_are_weak():
    first = answers({**document(fig(0.5)), "instruments": {"landmarks": "x"}})[0]
    assert first.sentence.startswith("No face embedding was given")


def test_what_makes_attackers_weaker_is_said():
    first = answers(document(fig(0.72, 0.7, 0.74)))[0]
    assert "No attacker that learns could be tried" in first.sentence
    assert "Without labels" in first.sentence
    full = document(fig(0.72, 0.7, 0.74))
    full["findings"]["sample"] = {"matched": True}
    full["findings"]["identity"]["attacks"].append({"feature": "e", "method": "probe", "result": {"auc": fig(0.7)}})
    assert answers(full)[0].sentence.endswith("on originals in 95.")


def test_groups_whose_expression_was_not_measured_are_not_said_to_keep_it():
    failures = {"figure": "failures", "column": "dataset", "losing": 0, "drift": {"groups": []}}
    last = answers({"findings": {"losses": {"by_group": [failures]}}})[3]
    assert "keeps less than" not in last.sentence
    assert "could not be measured" in last.sentence
    kept = {**failures, "figure": "expression kept"}
    assert "keeps less than" in answers({"findings": {"losses": {"by_group": [failures, kept]}}})[3].sentence


def test_what_cannot_be_measured_is_said_with_its_reason():
    missing = {"why": "no_subjects", "detail": "no row names its subject"}
    attack = {"feature": "e", "method": "cosine", "result": missing}
    found = {
        "findings": {"identity": {"worst": None, "attacks": [attack], "before": []}, "expression": {"displacement": missing}}
    }
    for each in answers(found):
        assert each.number == "not measurable"
    assert answers(found)[0].sentence == "no row names its subject."
    assert answers(found)[1].sentence == "no row names its subject."


def test_a_code_of_the_label_is_a_warning():
    found = {"findings": {"expression": {"label_code": {"verdict": "label_only_code"}, "label_surplus": {"suspected": True}}}}
    assert label_sentence(found).count("Warning") == 2


def test_tremble():
    found = {"findings": {"expression": {"jitter": {"ratio": fig(1.3, 1.2, 1.4)}}}}
    assert "1.30 times as unsteadily" in jitter_sentence(found)
    assert "not measurable" in jitter_sentence({"findings": {"expression": {"jitter": {"why": "no_clips", "detail": "none"}}}})

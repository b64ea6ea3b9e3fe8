from xml.etree import ElementTree

import pytest

from normpipe.release.figures import audit_figures


def figure(value):
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def attack(feature, method, value):
    return {"feature": feature, "method": method, "result": {"auc": figure(value)}}


@pytest.fixture(scope="module")
def texts():
    """What each figure of an audit of run 2 says."""
    attacks = [attack("HOG", "cosine", 0.7), attack("HOG", "probe", 0.9)]
    rank = {"chance": 0.05, "rank_one": figure(0.3)}
    identity = {
        "attacks": attacks,
        "before": [attack("HOG", "cosine", 0.95)],
        "worst": attacks[1],
        "identification": {"HOG": rank},
        "identification_before": {"HOG": rank},
    }
    whole = {"correlation": figure(0.5), "slope": figure(0.4)}
    contrast = {"arm": "both", "minus": "original_twice", "scores": {"macro_f1": figure(-0.123)}}
    use = {"arms": {name: {"macro_f1": figure(0.4)} for name in ("original", "both")}, "contrasts": [contrast]}
    expression = {"displacement": {"whole": whole}, "displacement_repeated": {"whole": whole}, "use": use}
    drawn = audit_figures({"findings": {"identity": identity, "expression": expression}}, 2)
    return {
        name: [each.text for each in ElementTree.fromstring(svg).iter() if (each.text or "").strip()]
        for name, svg in drawn.items()
    }


def test_a_title_names_the_run_and_an_axis_what_it_measures(texts):
    for name, axis in {
        "identity": "AUC",
        "ranks": "rank 1",
        "expression": "correlation",
        "strength": "slope",
        "use": "macro-F1",
    }.items():
        assert texts[name][0].startswith("Run 2: ")
        assert axis in texts[name]


def test_nothing_of_a_line_is_cut_off(texts):
    assert "has learnt from other people's normalized images" in texts["identity"]
    assert "-12.3 points to originals twice (-14.3 to -10.3)" in texts["use"]
    assert not [text for each in texts.values() for text in each if "…" in text]


def test_the_legend_names_the_dots_that_are_there(texts):
    assert {"originals", "normalized images", "the best attacker"} <= set(texts["identity"])
    assert "the original measured twice" in texts["expression"]
    assert "the best attacker" not in texts["ranks"]
    assert texts["use"].count("originals") == 1, "the name of a line, not of a kind of dots"
    assert texts["use"].count("normalized images") == 1


def test_words_of_the_trade_are_explained_and_guessing_is_marked(texts):
    assert "histograms of gradients" in " ".join(texts["identity"])
    assert texts["identity"].count("guessing") == texts["ranks"].count("guessing") == 1


def test_what_was_not_measured_has_no_figure():
    assert audit_figures({"findings": {}}, 1) == {}

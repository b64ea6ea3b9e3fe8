"""The tables of an evaluation say what flatters a candidate."""

import pytest

from normpipe.audit.evaluation_page import tables
from normpipe.audit.figures import Json

WARNING = "depend on labels"


def asked(own_neutral: str, neutral_labels: str) -> str:
    options: dict[str, Json] = {
        "split": "test",
        "candidate.config.normalize.own_neutral": own_neutral,
        "candidate.config.normalize.neutral_labels": neutral_labels,
    }
    arms: list[Json] = [{"side": "baseline", "normalizer": "mean_face"}, {"side": "candidate", "normalizer": "norface"}]
    return tables({"options": options, "arms": arms})


def test_labels_that_decide_about_pictures_are_told() -> None:
    assert WARNING in asked("true", "true")


@pytest.mark.parametrize("options", [("false", "true"), ("true", "false"), ("false", "false")])
def test_labels_that_decide_about_nothing_are_not(options: tuple[str, str]) -> None:
    assert WARNING not in asked(*options)

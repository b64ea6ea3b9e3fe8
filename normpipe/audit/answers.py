"""The audit's answers in a sentence each, from audit.json."""

from dataclasses import dataclass

from normpipe.audit.document import Document, at, embedding_names, figure_at, items
from normpipe.audit.figures import Figure, NotMeasurable
from normpipe.audit.groups import NUMBERED

_VERDICTS = {
    "expression_kept": "Within a class, pictures differ as their sources do: expression, not a code of the label.",
    "label_only_code": "Warning: nothing of the source is followed within a class, yet the classes differ. The normalized "
    "images are a code of their label; a classifier trained on them learns nothing.",
    "expression_lost": "Within a class, nothing of the source is followed.",
    "undecided": "Whether pictures differ within a class as their sources do cannot be decided from these rows.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A question's answer.

    Attributes:
        question: In plain words.
        number: The figure, or "not measurable".
        sentence: What it means.
    """

    question: str
    number: str
    sentence: str


def answers(document: Document) -> list[Answer]:
    """The four questions, in order."""
    return [_person(document), _expression(document), _setting(document), _losers(document)]


def label_sentence(document: Document) -> str:
    """Whether the images are a code of their label."""
    found = at(document, "findings", "expression", "label_code")
    verdict = at(found, "verdict")
    text = _VERDICTS[str(verdict)] if verdict is not None else f"Whether it is a code of the label: {at(found, 'detail')}."
    if at(document, "findings", "expression", "label_surplus", "suspected") is True:
        text += " Warning: the normalized images know more of the label than their sources show."
    return text


def jitter_sentence(document: Document) -> str:
    """How clips tremble."""
    ratio = figure_at(document, "findings", "expression", "jitter", "ratio")
    if isinstance(ratio, NotMeasurable):
        return f"Tremble of clips: not measurable, {ratio.detail}."
    return (
        f"Tremble of clips: landmarks of the normalized images move {ratio.value:.2f} times as unsteadily as those of the "
        f"originals ({ratio.low:.2f} to {ratio.high:.2f}; 1 is as smooth)."
    )


def _person(document: Document) -> Answer:
    question = "Is the person gone?"
    found = at(document, "findings", "identity")
    worst = figure_at(found, "worst", "result", "auc")
    if isinstance(worst, NotMeasurable):
        reasons = [each for each in items(found, "attacks") if isinstance(figure_at(each, "result", "auc"), NotMeasurable)]
        first = figure_at(reasons[0], "result", "auc") if reasons else worst
        return Answer(question, "not measurable", f"{first.detail}." if isinstance(first, NotMeasurable) else "")
    befores = [figure_at(each, "result", "auc") for each in items(found, "before")]
    before = max((each.value for each in befores if isinstance(each, Figure)), default=float("nan"))
    right = (
        f"The best attacker is right in {100 * worst.value:.0f} of 100 comparisons ({100 * worst.low:.0f} to "
        f"{100 * worst.high:.0f}); on originals in {100 * before:.0f}."
    )
    return Answer(question, f"{worst.value:.2f}", f"{_verdict(document, worst)} {right}{_reservations(document)}")


def _verdict(document: Document, worst: Figure) -> str:
    """By the interval: few people must not look like few traces."""
    if not embedding_names(document):
        return "No face embedding was given (--identity): these attackers are weak ones."
    if worst.high <= 0.55:
        return "Nearly guessing. That is no proof that no better attacker exists."
    if worst.high <= 0.6:
        return "Little is left, but not nothing."
    if worst.low > 0.55:
        return "No: people can still be told apart."
    return "That cannot be said from so few people."


def _reservations(document: Document) -> str:
    """What makes the attackers weaker than they could be."""
    found = []
    attacks = items(document, "findings", "identity", "attacks")
    learnt = [figure_at(each, "result", "auc") for each in attacks if at(each, "method") in {"probe", "cross_probe"}]
    if not any(isinstance(each, Figure) for each in learnt):
        found.append("No attacker that learns could be tried: there are too few people.")
    if at(document, "findings", "sample", "matched") is not True:
        found.append("Without labels, expression throws attackers off: with labels the figure would be higher.")
    return "".join(f" {each}" for each in found)


def _expression(document: Document) -> Answer:
    question = "Is the expression still there?"
    found = at(document, "findings", "expression")
    kept = figure_at(found, "displacement", "whole", "correlation")
    blend = figure_at(found, "blendshapes", "mean", "correlation")
    if isinstance(kept, NotMeasurable) and isinstance(blend, NotMeasurable):
        return Answer(question, "not measurable", f"{kept.detail}.")
    slope = figure_at(found, "displacement", "whole", "slope")
    best = figure_at(found, "displacement_repeated", "whole", "correlation")
    if isinstance(kept, NotMeasurable):
        assert isinstance(blend, Figure)
        reach = f"({blend.low:.2f} to {blend.high:.2f})"
        return Answer(question, f"{blend.value:.2f}", f"Correlation of the blendshapes {reach}; 1 follows perfectly.")
    text = f"Correlation of the landmarks' movement ({kept.low:.2f} to {kept.high:.2f})"
    text += f"; the original measured twice reaches {best.value:.2f}." if isinstance(best, Figure) else "."
    text += f" Its strength is {slope.value:.2f} of the original's." if isinstance(slope, Figure) else ""
    text += f" Blendshapes: {blend.value:.2f}." if isinstance(blend, Figure) else ""
    return Answer(question, f"{kept.value:.2f}", text)


def _setting(document: Document) -> Answer:
    question = "Pose and background?"
    angles = at(document, "findings", "surroundings", "angles")
    yaw = at(angles, "yaw")
    if yaw is None:
        return Answer(question, "not measurable", f"{at(angles, 'detail')}.")
    before, after = (items(yaw, side)[-1] for side in ("before", "after"))
    background = figure_at(document, "findings", "surroundings", "shows", "background", "normalized", "by_nuisance")
    text = f"Yaw that 95 of 100 normalized images stay below; {before:.0f}° before."
    if isinstance(background, Figure):
        text += f" The background explains {100 * max(background.value, 0):.1f} % of the pictures' differences."
    else:
        text += f" Background: not measurable, {background.detail}."
    return Answer(question, f"{after:.1f}°", text)


def _losers(document: Document) -> Answer:
    question = "Who loses?"
    found = items(document, "findings", "losses", "by_group")
    if not found:
        return Answer(question, "not measurable", "the manifest names no groups.")
    named = [
        (f"{at(group, 'name')} ({at(each, 'column')})", str(at(each, "figure")))
        for each in found
        for group in items(each, "drift", "groups")
        if at(group, "loses") is True and at(each, "column") not in NUMBERED
    ]
    losing = sum(count for each in found if isinstance(count := at(each, "losing"), int))
    kept = any(at(each, "figure") == "expression kept" for each in found)
    if not losing:
        text = "No group fails more or keeps less" if kept else "No group fails more"
        rest = "" if kept else " Whether any keeps less expression could not be measured."
        return Answer(question, "0", f"{text} than all rows by more than chance; small groups may hide it.{rest}")
    shown = "; ".join(f"{name}: {figure}" for name, figure in named[:3])
    return Answer(question, f"{losing}", f"groups are worse off by more than chance{f' ({shown})' if shown else ''}.")

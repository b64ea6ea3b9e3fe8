"""The tables of an evaluation as Markdown, from evaluation.json: what the terminal shows and evaluation.md holds."""

from collections.abc import Iterator

from normpipe.audit.document import Document, at, entries, figure_at, items
from normpipe.audit.evaluation_figures import BASELINE, CANDIDATE, MEASURES
from normpipe.audit.figures import Figure, Json
from normpipe.audit.frontier import Reach

_HEADS = (
    "images", "detail", "AUC", "best attacker", "rank 1", "blendshapes: correlation", "slope", "macro-F1 alone",
    "with originals", "rows without picture", "without face",
)  # fmt: skip
_MEASURE_WORDS = dict(zip(MEASURES, ("blendshapes: correlation", "macro-F1 alone", "macro-F1 with originals"), strict=True))
_NOTES = """\
95 % intervals over people, all on the same draws of them; only a difference whose interval does not contain 0 says anything.
AUC is that of the plain comparison of embeddings at the same emotion, 0.5 is guessing. The candidate is turned up as far as it
shows no more of the person; between its strengths it is read off along straight lines.
*Less identity*: even its highest strength shows less of the person than the baseline does, and stands for it.
A difference above 0 is then the candidate's merit; one below 0 decides nothing, since it shows less of the person too.
*Not reached*: all its strengths show more of the person."""

_FLATTERED = "The candidate's pictures depend on labels (normalize.neutral_labels): its macro-F1 is flattered."


def tables(evaluation: Document) -> str:
    """Every arm's figures, then the candidate at each of the baseline's AUCs."""
    names = {str(at(arm, "side")): str(at(arm, "normalizer")) for arm in items(evaluation, "arms")}
    sample = at(evaluation, "sample")
    classes = ", ".join(f"{name} {count}" for name, count in entries(sample, "classes"))
    left_out = ", ".join(f"{name} {count}" for name, count in entries(sample, "left_out"))
    lines = [
        f"# Candidate {names[CANDIDATE]} against baseline {names[BASELINE]}",
        "",
        f"Split {at(evaluation, 'options', 'split')}: {at(sample, 'compared')} of {at(sample, 'rows')} rows, of "
        f"{at(sample, 'people')} people, have a picture in every run. By class: {classes}.",
        *([f"Too rare for the classifier: {left_out}."] if left_out else []),
        "",
        "## Each strength",
        "",
        *_label_warning(evaluation),
        _line(_HEADS),
        _line(["---"] * len(_HEADS)),
        _line(_originals(evaluation)),
        *(_line(_arm(arm)) for arm in items(evaluation, "arms")),
        "",
        "## The candidate at the baseline's AUC",
        "",
        *_matched(evaluation),
        "",
        _NOTES,
    ]
    return "\n".join(lines) + "\n"


def _label_warning(evaluation: Document) -> list[str]:
    """Said where the candidate's pictures know the labels that they are judged by."""
    section = f"{CANDIDATE}.config.normalize"
    told = all(at(evaluation, "options", f"{section}.{key}") == "true" for key in ("own_neutral", "neutral_labels"))
    return (
        ["The candidate's pictures depend on labels (normalize.neutral_labels): its macro-F1 is flattered.", ""] if told else []
    )


def _originals(evaluation: Document) -> list[str]:
    found = at(evaluation, "originals")
    auc, best, rank, alone, twice = (
        _number(figure_at(found, name)) for name in ("auc", "best_attacker", "rank_one", "macro_f1", "macro_f1_twice")
    )
    return ["originals", "", auc, best, rank, "", "", alone, f"{twice} twice", "", ""]


def _arm(arm: Json) -> list[str]:
    names = ("auc", "best_attacker", "rank_one", "correlation", "slope", "macro_f1", "macro_f1_with_originals")
    return [
        f"{at(arm, 'side')} {at(arm, 'normalizer')}",
        f"{at(arm, 'strength')}",
        *(_number(figure_at(arm, name)) for name in names),
        *(f"{at(arm, name)}" for name in ("rows_without_picture", "rows_without_face")),
    ]


def _matched(evaluation: Document) -> Iterator[str]:
    heads = ("baseline's detail", "AUC", "measure", "baseline", "candidate", "difference")
    yield _line(heads)
    yield _line(["---"] * len(heads))
    for row in items(evaluation, "matched"):
        match = at(row, "comparison")
        for measure, words in _MEASURE_WORDS.items():
            one, two, gap = (figure_at(match, "measures", measure, name) for name in ("baseline", "candidate", "difference"))
            yield _line(
                [
                    f"{at(row, 'strength')}",
                    _number(figure_at(match, "auc")),
                    words,
                    _number(one),
                    f"{_number(two)}{_reservation(match)}",
                    _number(gap, sign="+"),
                ]
            )


def _reservation(match: Json) -> str:
    """What the candidate's figure is, where it is not simply read off."""
    reach, share = at(match, "reach"), at(match, "reached")
    if reach == Reach.NOT_REACHED:
        return "not reached"
    found = ", less identity" if reach == Reach.LESS_IDENTITY else ""
    return found if share == 1 else f"{found}, reached in {100 * float(str(share)):.0f} % of draws"


def _number(found: object, sign: str = "") -> str:
    if not isinstance(found, Figure):
        return ""
    return f"{found.value:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f})"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"

"""The tables of an ablation as Markdown, from ablation.json: what the terminal shows and ablation.md holds."""

from collections.abc import Iterator

from normpipe.audit.document import Document, at, entries, items
from normpipe.audit.figures import Json
from normpipe.classify.labels import Task
from normpipe.classify.metrics import METRICS

_WORDS = {
    "f1": "F1", "balanced_f1": "F1 (balanced)", "auc": "AUC", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy",
    "icc": "ICC(3,1)", "pcc": "PCC", "ccc": "CCC", "mse": "MSE", "mae": "MAE",
}  # fmt: skip
_NOTES = """\
Test rows, each fold judged for itself; networks of the epoch that was best on the validation rows. Figures are means over the
seeds, intervals 95 % over people. Differences are paired: on the same draws of people. p is how often exchanging the two for
random people makes a difference as large; p (Holm) is corrected for the number of comparisons here. *twice* sees the original
two times and has the capacity of *both*. *floor* is logistic or ridge regression on histograms of oriented gradients."""


def tables(ablation: Document) -> str:
    """What every variant is worth, what it has over others, each label, and how experts were used."""
    metric = str(at(ablation, "metric"))
    seeds = ", ".join(str(seed) for seed in items(ablation, "seeds"))
    folds = ", ".join(f"{name} {at(sizes, 'train')} + {at(sizes, 'test')}" for name, sizes in entries(ablation, "folds"))
    left_out = "; ".join(f"{count} {reason}" for reason, count in entries(ablation, "left_out"))
    lines = [
        f"# Ablation: {at(ablation, 'protocol')}",
        "",
        f"{at(ablation, 'rows')} test rows of {at(ablation, 'people')} people; seeds {seeds}; rows to train on and to test: "
        f"{folds}." + (f" Left out: {left_out}." if left_out else ""),
        "",
        *_scores(ablation, metric),
        "",
        "## Differences",
        "",
        *_differences(ablation, metric),
        "",
        f"## {_WORDS[metric]} of each label",
        "",
        *_labels(ablation, metric),
        "",
        *_experts(ablation),
        _NOTES,
    ]
    return "\n".join(lines) + "\n"


def number(score: Json, sign: str = "") -> str:
    """A figure with its interval; with the sign "+" always one before it."""
    value, low, high = (at(score, key) for key in ("value", "low", "high"))
    if not isinstance(value, int | float):
        return "-"
    extent = f" [{low:{sign}.3f}, {high:{sign}.3f}]" if isinstance(low, float) and isinstance(high, float) else ""
    return f"{value:{sign}.3f}{extent}"


def word(metric: str) -> str:
    """A metric as people call it."""
    return _WORDS[metric]


def compared_things(ablation: Document) -> Iterator[tuple[str, Json]]:
    """Names and figures of variants, then of floors."""
    both = dict(entries(ablation, "variants")) | dict(entries(ablation, "floors"))
    yield from ((str(name), both[str(name)]) for name in items(ablation, "order"))


def _scores(ablation: Document, metric: str) -> Iterator[str]:
    others = [name.value for name in METRICS[Task(str(at(ablation, "task")))] if name.value != metric]
    heads = ["variant", "parameters", "epochs, best", _WORDS[metric], "by seed", *(_WORDS[name] for name in others)]
    yield _line(heads)
    yield _line(["---"] * len(heads))
    for name, found in compared_things(ablation):
        scores = at(found, "evaluation", "scores")
        best = [epoch for epoch in items(found, "best_epochs") if isinstance(epoch, int)]
        parameters = at(found, "parameters")
        yield _line(
            [
                name,
                f"{parameters:,}" if isinstance(parameters, int) else "",
                f"{at(found, 'epochs')}, {min(best)} to {max(best)}" if best else "",
                number(at(scores, metric, "overall")),
                " ".join(f"{value:.3f}" for value in items(found, "by_seed") if isinstance(value, float)),
                *(number(at(scores, other, "overall")).split(" ")[0] for other in others),
            ]
        )


def _differences(ablation: Document, metric: str) -> Iterator[str]:
    yield _line(["variant", "minus", _WORDS[metric], "p", "p (Holm)"])
    yield _line(["---"] * 5)
    for contrast in items(ablation, "contrasts"):
        chances = [at(contrast, "p", metric), at(contrast, "holm")]
        shown = [f"{chance:.3f}" if isinstance(chance, float) else "-" for chance in chances]
        names = [str(at(contrast, key)) for key in ("variant", "minus")]
        yield _line([*names, number(at(contrast, "scores", metric, "overall"), sign="+"), *shown])


def _labels(ablation: Document, metric: str) -> Iterator[str]:
    first = next(compared_things(ablation))[1]
    counts = at(first, "evaluation", "positive") or at(first, "evaluation", "known")
    labels = [str(label) for label in items(ablation, "labels")]
    yield _line(["variant", *(f"{label} ({at(counts, label)})" for label in labels)])
    yield _line(["---"] * (len(labels) + 1))
    for name, found in compared_things(ablation):
        own = at(found, "evaluation", "scores", metric, "by_label")
        yield _line([name, *(number(at(own, label)).split(" ")[0] for label in labels)])


def _experts(ablation: Document) -> Iterator[str]:
    """Mean share of every expert; nothing where no variant has any."""
    used = [
        (name, mixture, [share for share in shares if isinstance(share, float)])
        for name, found in compared_things(ablation)
        for mixture, shares in entries(found, "experts")
        if isinstance(shares, list)
    ]
    if not used:
        return
    yield from ("## Use of experts", "")
    yield _line(["variant", "mixture", "share of each expert, mean over trainings"])
    yield _line(["---"] * 3)
    for name, mixture, shares in used:
        yield _line([name, mixture, " ".join(f"{share:.2f}" for share in shares)])
    yield ""


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"

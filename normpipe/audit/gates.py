"""When is an audit good enough? Limits of the pipeline file against figures of audit.json.

The worse end of a figure's interval is held against the limit: few people give wide intervals, and those must not pass by
chance. What cannot be measured does not pass: a release must not rest on a figure that is not there. For the same reason
identity is judged only where a face embedding that knows people on the originals was among the attackers, and could learn: weak
attackers alone would let everything pass.
"""

from collections.abc import Iterator, Mapping

from normpipe.audit.document import Document, at, embedding_names, figure, figure_at, items
from normpipe.audit.figures import Figure, Json, NotMeasurable, Why
from normpipe.audit.groups import NUMBERED
from normpipe.config import Gates

_NO_EMBEDDING = NotMeasurable(Why.NO_ROWS, "no face embedding was given: --identity")
_BLIND = NotMeasurable(Why.NO_VARIATION, "no face embedding that was given tells people apart on the originals")
_LEARNING = ("probe", "cross_probe")
_GUESSING = 0.5
_UNKNOWN = NotMeasurable(Why.NO_ROWS, "not measured")


def judged(document: Document, gates: Gates) -> list[Json]:
    """A verdict for every gate that is set, in the order of the configuration."""
    findings = at(document, "findings")
    weak = _weakness(document)
    asked: dict[str, tuple[float | None, list[Figure | NotMeasurable]]] = {
        "max_failed_fraction": (gates.max_failed_fraction if gates.max_failed_fraction < 1 else None, _failed(document)),
        "max_identity_auc": (gates.max_identity_auc, list(_aucs(findings)) if weak is None else [weak]),
        "max_rank_one": (gates.max_rank_one, list(_rank_ones(findings)) if weak is None else [weak]),
        "min_expression_correlation": (gates.min_expression_correlation, list(_kept(findings, "correlation"))),
        "min_expression_slope": (gates.min_expression_slope, list(_kept(findings, "slope"))),
        "max_group_failure_gap": (gates.max_group_failure_gap, [_failure_gap(findings)]),
    }
    return [_verdict(name, limit, figures) for name, (limit, figures) in asked.items() if limit is not None]


def passed(verdicts: list[Json]) -> bool | None:
    """Whether all gates passed; None where none was set."""
    if not verdicts:
        return None
    return all(isinstance(verdict, Mapping) and verdict["passed"] is True for verdict in verdicts)


def line(verdict: Json) -> str:
    """A verdict in words: "gates.max_identity_auc=0.55 missed: 0.680 (0.650 to 0.710)"."""
    assert isinstance(verdict, dict)
    found = figure(verdict["figure"])
    if isinstance(found, NotMeasurable):
        shown = f"not measurable, {found.detail}"
    else:
        shown = f"{found.value:.3f}" + (f" ({found.low:.3f} to {found.high:.3f})" if found.low < found.high else "")
    return f"gates.{verdict['name']}={verdict['limit']:g} {'passed' if verdict['passed'] else 'missed'}: {shown}"


def _verdict(name: str, limit: float, figures: list[Figure | NotMeasurable]) -> Json:
    """Judge the worst of the figures."""
    missing = next((each for each in figures if isinstance(each, NotMeasurable)), None)
    found = [each for each in figures if isinstance(each, Figure)]
    if missing is not None or not found:
        reason = missing or _UNKNOWN
        shown: Json = {"why": reason.why.value, "detail": reason.detail}
        return {"name": name, "limit": limit, "figure": shown, "passed": False}
    highest = name.startswith("max_")
    worst = max(found, key=lambda each: each.high) if highest else min(found, key=lambda each: each.low)
    good = worst.high <= limit if highest else worst.low >= limit
    shown = {"value": worst.value, "low": worst.low, "high": worst.high}
    return {"name": name, "limit": limit, "figure": shown, "passed": good}


def _failed(document: Document) -> list[Figure | NotMeasurable]:
    """Of the rows whose people have not withdrawn, as for the run's own gate."""
    rows, withdrawn, failed = (at(document, "run", name) for name in ("rows", "withdrawn_rows", "failed_rows"))
    if not isinstance(rows, int) or not isinstance(withdrawn, int) or not isinstance(failed, int):
        return [_UNKNOWN]
    share = failed / (rows - withdrawn) if rows > withdrawn else 0.0
    return [Figure(share, share, share)]


def _weakness(document: Document) -> NotMeasurable | None:
    """Why the attackers are too weak to judge by; None if an embedding was given that sees, and was tried with learning."""
    names = embedding_names(document)
    if not names:
        return _NO_EMBEDDING
    originals = [_attack(document, "before", name, "cosine") for name in names]
    missing = next((each for each in originals if isinstance(each, NotMeasurable)), None)
    seeing = [name for name, each in zip(names, originals, strict=True) if isinstance(each, Figure) and each.low > _GUESSING]
    if not seeing:
        return missing or _BLIND
    learnt = [[_attack(document, "attacks", name, method) for method in _LEARNING] for name in seeing]
    if any(all(isinstance(each, Figure) for each in tried) for tried in learnt):
        return None
    why = next(each for tried in learnt for each in tried if isinstance(each, NotMeasurable))
    return NotMeasurable(why.why, f"no attacker that learns could be tried: {why.detail}")


def _attack(document: Document, side: str, feature: str, method: str) -> Figure | NotMeasurable:
    for each in items(document, "findings", "identity", side):
        if at(each, "feature") == feature and at(each, "method") == method:
            return figure_at(each, "result", "auc")
    return _UNKNOWN


def _aucs(findings: Json) -> Iterator[Figure | NotMeasurable]:
    """Of all attackers that could be measured."""
    for each in items(findings, "identity", "attacks"):
        found = figure_at(each, "result", "auc")
        if isinstance(found, Figure):
            yield found


def _rank_ones(findings: Json) -> Iterator[Figure | NotMeasurable]:
    found = at(findings, "identity", "identification")
    for name in found if isinstance(found, dict) else ():
        yield figure_at(found, name, "rank_one")


def _kept(findings: Json, figure_name: str) -> Iterator[Figure | NotMeasurable]:
    """Of the landmarks and, where they were measured, the blendshapes."""
    yield figure_at(findings, "expression", "displacement", "whole", figure_name)
    if at(findings, "expression", "blendshapes", "mean") is not None:
        yield figure_at(findings, "expression", "blendshapes", "mean", figure_name)


def _failure_gap(findings: Json) -> Figure | NotMeasurable:
    """Of the group that fails most beyond all rows, by its value: a rare label's interval would let nothing pass.

    Single people and clips are no groups here.
    """
    gaps = [
        at(each, "gap")
        for each in items(findings, "losses", "by_group")
        if at(each, "figure") == "failures" and at(each, "column") not in NUMBERED
    ]
    numbers = [float(gap) for gap in gaps if isinstance(gap, int | float)]
    if not numbers:
        return NotMeasurable(Why.NO_ROWS, "no column of the manifest divides the rows into groups")
    return Figure(max(numbers), max(numbers), max(numbers))

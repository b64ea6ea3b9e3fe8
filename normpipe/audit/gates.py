"""When is an audit good enough? Limits of the pipeline file against figures of audit.json.

The worse end of a figure's interval is held against the limit: few people give wide intervals, and those must not pass by
chance. What cannot be measured does not pass: a release must not rest on a figure that is not there. For the same reason
identity is judged only where a face embedding was among the attackers: weak ones alone would let everything pass.
"""

from collections.abc import Iterator, Mapping

from normpipe.audit.document import Document, at, figure, figure_at, has_embedding, items
from normpipe.audit.figures import Figure, Json, NotMeasurable, Why
from normpipe.config import Gates

_NO_EMBEDDING = NotMeasurable(Why.NO_ROWS, "no face embedding was given: --identity")
_UNKNOWN = NotMeasurable(Why.NO_ROWS, "not measured")


def judged(document: Document, gates: Gates) -> list[Json]:
    """A verdict for every gate that is set, in the order of the configuration."""
    findings = at(document, "findings")
    strong = has_embedding(document)
    asked: dict[str, tuple[float | None, list[Figure | NotMeasurable]]] = {
        "max_failed_fraction": (gates.max_failed_fraction if gates.max_failed_fraction < 1 else None, _failed(document)),
        "max_identity_auc": (gates.max_identity_auc, [_auc(findings) if strong else _NO_EMBEDDING]),
        "max_rank_one": (gates.max_rank_one, list(_rank_ones(findings)) if strong else [_NO_EMBEDDING]),
        "min_expression_correlation": (gates.min_expression_correlation, list(_kept(findings, "correlation"))),
        "min_expression_slope": (gates.min_expression_slope, list(_kept(findings, "slope"))),
        "max_group_failure_gap": (gates.max_group_failure_gap, [_failure_gap(findings)]),
    }
    return [_verdict(name, limit, figures) for name, (limit, figures) in asked.items() if limit is not None]


def passed(verdicts: list[Json]) -> bool:
    """Whether all gates passed."""
    return all(isinstance(verdict, Mapping) and verdict["passed"] is True for verdict in verdicts)


def line(verdict: Json) -> str:
    """A verdict in words: "gates.max_identity_auc=0.55 missed: 0.68 [0.65, 0.71]"."""
    assert isinstance(verdict, dict)
    found = figure(verdict["figure"])
    shown = str(found) if isinstance(found, Figure) else f"not measurable, {found.detail}"
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
    rows, failed = at(document, "run", "rows"), at(document, "run", "failed_rows")
    if not isinstance(rows, int) or not isinstance(failed, int):
        return [_UNKNOWN]
    share = failed / rows if rows else 0.0
    return [Figure(share, share, share)]


def _auc(findings: Json) -> Figure | NotMeasurable:
    """Of the best attacker; where none could be measured, the reason of the first."""
    attacks = items(findings, "identity", "attacks")
    if at(findings, "identity", "worst") is None and attacks:
        return figure_at(attacks[0], "result", "auc")
    return figure_at(findings, "identity", "worst", "result", "auc")


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
    """Of the group that fails most beyond all rows, among those that do so by more than chance."""
    gaps = [at(each, "gap") for each in items(findings, "losses", "by_group") if at(each, "figure") == "failures"]
    numbers = [float(gap) for gap in gaps if isinstance(gap, int | float)]
    if not numbers:
        return NotMeasurable(Why.NO_ROWS, "no column of the manifest divides the rows into groups")
    return Figure(max(numbers), max(numbers), max(numbers))

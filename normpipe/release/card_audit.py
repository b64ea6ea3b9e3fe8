"""The card's account of a run's audit: verdicts, answers, and what was not measured or held against no gate, as plainly."""

from collections.abc import Iterator

from normpipe.audit.answers import answers
from normpipe.audit.document import Document, at, figure_at, items
from normpipe.audit.figures import Figure
from normpipe.audit.gates import line
from normpipe.release.audits import audit_path, figure_path
from normpipe.release.figures import audit_figures

_GATES = {
    "identity": {"max_identity_auc", "max_rank_one"},
    "expression": {"min_expression_correlation", "min_expression_slope"},
}
"""What the audit's first two answers are about, and the gates that hold it against a limit."""


def audit_lines(number: int, audit: Document) -> Iterator[str]:
    """What a run's audit found, and what it did not look at."""
    gates = items(audit, "gates")
    passed = f"passed {'its only gate' if len(gates) == 1 else f'all its {len(gates)} gates'}"
    state = "**was held against no gate**" if not gates else passed if at(audit, "passed") is True else "**missed a gate**"
    yield f"Run {number} {state}; all figures are in [{audit_path(number)}]({audit_path(number)})."
    yield ""
    yield from (f"- {line(verdict)}" for verdict in gates)
    held = {at(verdict, "name") for verdict in gates}
    for answer, (what, names) in zip(answers(audit), _GATES.items(), strict=False):
        if answer.number == "not measurable":
            yield f"- **{what.capitalize()} was not measured**: {answer.sentence}"
        else:
            start = f"{what.capitalize()}: " if held & names else f"**No gate on {what} was set**; "
            sentence = answer.sentence[0].lower() + answer.sentence[1:]
            yield f"- {start}{_best(audit) + '. ' + answer.sentence if what == 'identity' else f'{answer.number}: {sentence}'}"
    yield ""
    for name in audit_figures(audit, number):
        yield f"![Run {number}, {name}]({figure_path(number, name)})"
        yield ""


def _best(audit: Document) -> str:
    found = figure_at(audit, "findings", "identity", "worst", "result", "auc")
    assert isinstance(found, Figure)
    return f"best attacker AUC {found.value:.2f} ({found.low:.2f} to {found.high:.2f})"

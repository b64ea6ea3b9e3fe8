"""What stands between a run and its release: it is finished, and its audit measured these pictures and found them good enough.

Each gate is opened by its own flag alone, and the release says which were. A release of labels shows nobody, so that it needs
no audit.
"""

from collections.abc import Callable, Mapping, Sequence

from normpipe.audit.document import at, items
from normpipe.audit.figures import Json
from normpipe.errors import UsageError
from normpipe.release.runs import SourceRun
from normpipe.release.terms import Include, Terms, check_terms

OVERRIDE_TERMS = "--override-terms"
OVERRIDE_AUDIT = "--override-audit"
PARTIAL = "--partial"


def opened_gates(
    runs: Sequence[SourceRun], terms: Mapping[str | None, Terms | None], include: Include, allowed: Sequence[str]
) -> list[str]:
    """Hold the runs against all gates.

    Args:
        runs: What is to be released.
        terms: Of each dataset.
        include: What of it.
        allowed: The flags that were given.

    Returns:
        Those flags that were needed, in a fixed order.

    Raises:
        UsageError: a gate is closed and its flag was not given.
    """
    needed = []
    gates: dict[str, Callable[[], None]] = {
        PARTIAL: lambda: _check_finished(runs),
        OVERRIDE_TERMS: lambda: check_terms(terms, include),
        OVERRIDE_AUDIT: lambda: _check_audits(runs, include),
    }
    for flag, check in gates.items():
        try:
            check()
        except UsageError:
            if flag not in allowed:
                raise
            needed.append(flag)
    return needed


def verdicts(run: SourceRun) -> list[Json]:
    """The audit's verdicts on a run."""
    return [] if run.audit is None else items(run.audit, "gates")


def _check_finished(runs: Sequence[SourceRun]) -> None:
    for run in runs:
        if not run.complete:
            raise UsageError(
                f"{run.out.name}: the run is not finished ({len(run.records)} of {len(run.plan.shards)} shards); finish it, or "
                f"release what there is with {PARTIAL}"
            )


def _check_audits(runs: Sequence[SourceRun], include: Include) -> None:
    if include is Include.LABELS:
        return
    for run in runs:
        if run.audit is None:
            raise UsageError(f"{run.out.name}: not audited; `normpipe audit` it, or {OVERRIDE_AUDIT}")
        if not run.audited:
            raise UsageError(
                f"{run.out.name}: its audit is of other pictures than those that are there; audit again, or {OVERRIDE_AUDIT}"
            )
        passed = at(run.audit, "passed")
        if passed is None:
            raise UsageError(
                f"{run.out.name}: its audit was held against no gate; audit again with gates (--set "
                f"gates.max_identity_auc=0.6), or {OVERRIDE_AUDIT}"
            )
        if passed is not True:
            missed = ", ".join(str(at(each, "name")) for each in verdicts(run) if at(each, "passed") is not True)
            raise UsageError(f"{run.out.name}: its audit missed {missed}; see audit/index.html, or {OVERRIDE_AUDIT}")

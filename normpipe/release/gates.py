"""What stands between a run and its release: it is finished, its terms allow it, its audit measured these pictures and passed.

Each gate is opened by its own flag alone, and the release says which were. A release of labels shows nobody, so that it needs
no audit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from normpipe.audit.document import at, items
from normpipe.audit.figures import Json
from normpipe.errors import UsageError
from normpipe.release.runs import SourceRun
from normpipe.release.terms import Include, Terms

OVERRIDE_TERMS = "--override-terms"
OVERRIDE_AUDIT = "--override-audit"
PARTIAL = "--partial"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a gate is closed, and what opens it."""

    what: str
    remedy: str


def opened_gates(
    runs: Sequence[SourceRun], terms: Mapping[str | None, Terms | None], include: Include, allowed: Sequence[str]
) -> dict[str, str]:
    """Hold the runs against all gates.

    Args:
        runs: What is to be released.
        terms: Of each dataset.
        include: What of it.
        allowed: The flags that were given.

    Returns:
        Those flags that were needed, in a fixed order, each with what it passed over.

    Raises:
        UsageError: a gate is closed and its flag was not given.
    """
    gates = {
        PARTIAL: list(_unfinished(runs, include)),
        OVERRIDE_TERMS: list(refused(terms, include)),
        OVERRIDE_AUDIT: list(_unaudited(runs, include)),
    }
    for flag, obstacles in gates.items():
        if obstacles and flag not in allowed:
            raise UsageError(f"{obstacles[0].what}; {obstacles[0].remedy}")
    return {flag: "; ".join(each.what for each in obstacles) for flag, obstacles in gates.items() if obstacles}


def refused(terms: Mapping[str | None, Terms | None], include: Include) -> Iterator[Obstacle]:
    """The datasets whose terms are unknown or do not allow to pass that on."""
    for name, found in sorted(terms.items(), key=lambda item: item[0] or ""):
        if found is None:
            called = "rows without a dataset's name" if name is None else f"dataset {name}"
            yield Obstacle(
                f"{called}: terms of use unknown",
                f"declare them in a file (docs/release.md) and give it with --terms, or {OVERRIDE_TERMS}",
            )
        elif not found.allows(include):
            allowed = ", ".join(found.pass_on) or "nothing"
            yield Obstacle(
                f"dataset {found.dataset}: its terms ({found.licence}) allow to pass on {allowed}, not {include.value}",
                f"if yours are other ones, declare them with --terms FILE, or {OVERRIDE_TERMS}",
            )


def verdicts(run: SourceRun) -> list[Json]:
    """The audit's verdicts on a run."""
    return [] if run.audit is None else items(run.audit, "gates")


def _unfinished(runs: Sequence[SourceRun], include: Include) -> Iterator[Obstacle]:
    flags = PARTIAL if include is Include.LABELS else f"{PARTIAL} {OVERRIDE_AUDIT} (only a finished run can be audited)"
    for run in runs:
        if not run.complete:
            yield Obstacle(
                f"{run.out.name}: the run is not finished ({len(run.records)} of {len(run.plan.shards)} shards)",
                f"finish it, or release what there is with {flags}",
            )


def _unaudited(runs: Sequence[SourceRun], include: Include) -> Iterator[Obstacle]:
    for run in runs if include is not Include.LABELS else ():
        again = f"audit again, or {OVERRIDE_AUDIT}"
        if run.audit is None:
            first = "" if run.complete else "finish the run, then "
            yield Obstacle(f"{run.out.name}: not audited", f"{first}`normpipe audit` it, or {OVERRIDE_AUDIT}")
        elif not run.audited:
            yield Obstacle(f"{run.out.name}: its audit is of other pictures than those that are there", again)
        elif (passed := at(run.audit, "passed")) is None:
            yield Obstacle(
                f"{run.out.name}: its audit was held against no gate",
                f"audit again with gates (--set gates.max_identity_auc=0.6), or {OVERRIDE_AUDIT}",
            )
        elif passed is not True:
            missed = ", ".join(str(at(each, "name")) for each in verdicts(run) if at(each, "passed") is not True)
            yield Obstacle(
                f"{run.out.name}: its audit missed {missed}", f"see {run.out.name}/audit/index.html, or {OVERRIDE_AUDIT}"
            )

"""What is to be built, and release.json that tells what was."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from normpipe import __version__
from normpipe.release.audits import audit_path, passed_on
from normpipe.release.digests import split_digest
from normpipe.release.document import (
    Options,
    ReleasedAudit,
    ReleaseDocument,
    ReleasedRun,
    ReleasedSource,
    ReleasedSplit,
    Withdrawn,
    parse_release,
    release_bytes,
)
from normpipe.release.files import DATA_FOLDER, WrittenFile, split_rows
from normpipe.release.gates import OVERRIDE_AUDIT
from normpipe.release.keys import Names
from normpipe.release.reader import ReleaseFolder
from normpipe.release.runs import SourceRun
from normpipe.release.schema import release_schema
from normpipe.release.selection import PURGED, Selection, Withdrawals
from normpipe.release.terms import Terms, own_terms
from normpipe.release.withdrawals import Withdrawal


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be built.

    Attributes:
        name: Of the release.
        version: Three numbers.
        date: YYYY-MM-DD.
        options: All else that decides about bytes.
        names: Pseudonyms.
        terms: Of each dataset of the runs.
        withdrawals: Who and what stays out.
        previous: The release before, for the change log and the version rule.
        listed: The lines that asked for the withdrawals; none for a release that is built again.
    """

    name: str
    version: str
    date: str
    options: Options
    names: Names
    terms: Mapping[str | None, Terms | None]
    withdrawals: Withdrawals
    previous: ReleaseFolder | None = None
    listed: Sequence[Withdrawal] = ()


def described(
    runs: Sequence[SourceRun],
    selection: Selection,
    request: Request,
    overrides: Sequence[str],
    written: Sequence[WrittenFile],
) -> ReleaseDocument:
    """What release.json says of a release, as others will read it."""
    options = request.options
    labels: dict[str, Counter[str]] = {}
    for file in written:
        for name, counts in file.labels.items():
            labels.setdefault(name, Counter()).update(counts)
    by_split = {
        split: [file for file in written if file.entry.path.startswith(f"{DATA_FOLDER}/{split}-")] for split in selection.splits
    }
    made = ReleaseDocument(
        name=request.name,
        version=request.version,
        date=request.date,
        producer=f"normpipe {__version__}",
        include=options.include,
        key_check=request.names.check,
        sources=tuple(
            ReleasedSource(name=name, terms=request.terms.get(name), run=_run(run), audit=_audit(run, overrides))
            for run, datasets in zip(runs, selection.datasets, strict=True)
            for name in datasets
        ),
        command=_command(runs, request, selection),
        options=options,
        columns=tuple(release_schema(options.include, options.ids == "plain").names),
        labels={name: dict(sorted(counts.items())) for name, counts in sorted(labels.items())},
        splits={
            split: ReleasedSplit(
                rows=sum(file.entry.rows for file in files),
                subjects=len(selection.subjects[split]),
                files=tuple(file.entry for file in files),
            )
            for split, files in by_split.items()
        },
        subjects_in_several_splits=selection.shared_subjects,
        exclusions=selection.exclusions,
        content={
            split: split_digest(row for file in files for row in split_rows(file.digests)) for split, files in by_split.items()
        },
        overrides=tuple(overrides),
        withdrawn=Withdrawn(
            rows=selection.withdrawn.total() + selection.exclusions.get(PURGED, 0),
            subjects=tuple(sorted(request.withdrawals.subjects)),
            samples=tuple(sorted(request.withdrawals.samples)),
        ),
    )
    return parse_release(release_bytes(made), request.name)  # what others will read of it: keys sorted, numbers rounded


def _run(run: SourceRun) -> ReleasedRun:
    return ReleasedRun(
        number=run.number,
        producer=run.plan.producer,
        fingerprint=run.plan.fingerprint.digest,
        fingerprint_parts=dict(sorted(run.plan.fingerprint.parts.items())),
        rows=run.rows,
        ok=run.ok,
        failed=run.failed,
        complete=run.complete,
    )


def _audit(run: SourceRun, overrides: Sequence[str]) -> ReleasedAudit | None:
    """What is known of a run's audit; one of other pictures says nothing of these."""
    if run.audit is None or not run.audited:
        return None
    passed = run.audit["passed"]
    gates = passed_on(run.audit)["gates"]
    return ReleasedAudit(
        path=audit_path(run.number),
        passed=passed if isinstance(passed, bool) else None,
        gates=tuple(dict(each) for each in gates if isinstance(each, dict)) if isinstance(gates, list) else (),
        overridden=OVERRIDE_AUDIT in overrides,
    )


def _command(runs: Sequence[SourceRun], request: Request, selection: Selection) -> str:
    """The command that was given, with words in the place of paths."""
    options = request.options
    words = ["normpipe release build", *(f"RUN-{run.number}" for run in runs), "-o RELEASE"]
    words += [f"--name {request.name}", f"--version {request.version}", f"--include {options.include.value}"]
    words.append("--plain-ids" if options.ids == "plain" else "--key-file FILE")
    released = {name for datasets in selection.datasets for name in datasets}
    words += ["--terms FILE"] * len(own_terms(request.terms.get(name) for name in released))
    words += [f"--min {name}={limit:g}" for name, limit in options.minimum.items()]
    words += [f"--max {name}={limit:g}" for name, limit in options.maximum.items()]
    if request.withdrawals.subjects or request.withdrawals.samples:
        words.append("--exclude FILE")
    words += [f"--date {request.date}", *options.allowed]
    return " ".join(words)

"""evaluation.json's figures, from audited runs of the same rows: every arm's, and those of the candidate at the baseline's AUC.

What an audit has said already (rank 1, the best attacker) is taken from it, and is of all rows that this one run has pictures
of; all else is computed anew on the rows that all arms have, on common draws of people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from normpipe.audit.arms import FIGURES, ORIGINAL_FIGURES, ArmLimits, drawn_arms
from normpipe.audit.document import Document, figure_at, items
from normpipe.audit.embeddings import EmbeddingFile
from normpipe.audit.features import FeatureStore, embedding_column
from normpipe.audit.figures import Figure, Measured, NotMeasurable
from normpipe.audit.frontier import matched
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Indices
from normpipe.audit.intervals import Bootstrap, interval
from normpipe.audit.pairs import Rows
from normpipe.audit.plan import AuditedRun, AuditPlan, part_files
from normpipe.audit.run import stored_features
from normpipe.audit.sample import sampled_people
from normpipe.audit.table import read_table
from normpipe.errors import UsageError

BASELINE, CANDIDATE = "baseline", "candidate"
MEASURES = ("correlation", "macro_f1", "macro_f1_with_originals")
"""Compared at equal AUC."""


@dataclass(frozen=True, slots=True)
class AuditedArm:
    """One normalizer at one strength.

    Attributes:
        side: BASELINE or CANDIDATE.
        strength: Value of normalize.detail.
        plan: Of its audit, whose features are there.
        audit: audit.json.
    """

    side: str
    strength: float
    plan: AuditPlan
    audit: Document


def compared(
    arms: Sequence[AuditedArm], embedding: EmbeddingFile, number: int, announce: Callable[[str], None]
) -> dict[str, object]:
    """The figures of all arms, and of the candidate at the AUC of each of the baseline's strengths.

    Args:
        arms: All of the same rows and instruments, audited with the same options.
        embedding: Whose AUC counts.
        number: Its place among the embeddings of the audits.
        announce: Told what is being done.

    Raises:
        UsageError: the rows that all arms have a picture of are too few to compare.
    """
    audit = arms[0].plan.options
    runs = [read_table(arm.plan.run.out, part_files(arm.plan.run), ()) for arm in arms]
    table = runs[0]
    paired = np.logical_and.reduce([each.ok for each in runs])
    usable = np.flatnonzero(paired & (table.subjects != UNKNOWN) & (table.labels != UNKNOWN))
    use = usable[sampled_people(Groups.of(table.subjects[usable]), audit.rows, audit.seed)]
    clips = table.clips[use]
    drawn = drawn_arms(
        Rows(table.subjects[use], table.labels[use], clips if (clips != UNKNOWN).any() else None),
        [partial(_load, stored_features(arm.plan), run.number[use]) for arm, run in zip(arms, runs, strict=True)],
        embedding_column(number),
        Bootstrap(draws=audit.draws, seed=audit.seed),
        ArmLimits(pairs=audit.pairs, repetitions=audit.repetitions),
        announce,
    )
    if isinstance(drawn, NotMeasurable):
        raise UsageError(f"these rows cannot be compared: {drawn.detail}")
    baseline, candidate = ([place for place, arm in enumerate(arms) if arm.side == side] for side in (BASELINE, CANDIDATE))
    columns = [0, *(FIGURES.index(measure) for measure in MEASURES)]
    curves = drawn.arms[..., columns]
    matches = matched(curves[:, baseline], curves[:, candidate], MEASURES)
    rank_one = (embedding.name, "rank_one")
    return {
        "embedding": embedding.name,
        "draws": audit.draws,
        "seed": audit.seed,
        "sample": {
            "rows": len(table),
            "compared": len(use),
            "people": drawn.people,
            "classes": drawn.classes,
            "left_out": drawn.left_out,
        },
        "originals": {
            **_intervals(drawn.originals, ORIGINAL_FIGURES),
            "rank_one": figure_at(arms[0].audit, "findings", "identity", "identification_before", *rank_one),
            "best_attacker": _best_before(arms[0].audit),
        },
        "arms": [
            {
                "side": arm.side,
                "normalizer": arm.plan.run.pipeline.normalize.normalizer,
                "strength": arm.strength,
                **_intervals(drawn.arms[:, place], FIGURES),
                "rank_one": figure_at(arm.audit, "findings", "identity", "identification", *rank_one),
                "best_attacker": figure_at(arm.audit, "findings", "identity", "worst", "result", "auc"),
                "rows_without_picture": int((~runs[place].ok).sum()),
                "rows_without_face": drawn.without_face[place],
                "run": _run(arm.plan.run),
            }
            for place, arm in enumerate(arms)
        ],
        "matched": [
            {"strength": arms[place].strength, "comparison": match} for place, match in zip(baseline, matches, strict=True)
        ],
    }


def _load(store: FeatureStore, rows: Indices, name: str) -> Floats:
    return store.load(name, rows)


def _intervals(drawn: Doubles, names: Sequence[str]) -> dict[str, Measured]:
    """Figures by name, of (1 + draws, k) values."""
    return {name: interval(values) for name, values in zip(names, drawn.T, strict=True)}


def _best_before(audit: Document) -> Measured:
    """The best attacker of the originals."""
    aucs = [figure_at(each, "result", "auc") for each in items(audit, "findings", "identity", "before")]
    return max((each for each in aucs if isinstance(each, Figure)), key=lambda figure: figure.value, default=aucs[0])


def _run(run: AuditedRun) -> dict[str, object]:
    """Which run it was, and why rows failed."""
    failed = {reason.value: count for reason, count in run.failed.items()}
    return {"fingerprint": run.plan.fingerprint.digest, "content": run.content, "failed": failed}

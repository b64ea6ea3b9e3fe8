"""ablation.json: what every variant of an ablation is worth, what it has over others, and how its trainings went.

    protocol, task, labels, metric, left_out, seeds, draws, rows, people, folds
    order      names of the variants, then of the floors: keys of a JSON file are sorted
    variants   by name: changes, parameters, trainings, evaluation (over all seeds), by_seed, curve, experts, regions
    floors     by name: sees (the variant whose pictures), evaluation
    contrasts  variant, minus, scores (differences), p, and holm (of the protocol's metric, over all contrasts)

Everything is of the test rows and of the networks that were best on the validation rows, judged fold by fold. Intervals and p
values are over people, with the seeds' mean as the figure; `by_seed` shows what the seed alone decides.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from normpipe.audit.document import Document, at, items, rounded
from normpipe.audit.figures import Json, document
from normpipe.audit.groups import Floats
from normpipe.audit.intervals import Bootstrap
from normpipe.classify.ablation import Ablation, Variant, cell_name
from normpipe.classify.material import Material
from normpipe.classify.predictions import PREDICTIONS_FILE, read_scores
from normpipe.classify.results import BEST, SCORES_FILE, TEST, VALIDATION
from normpipe.classify.saved import parameter_count
from normpipe.classify.scores import Judged, differences, evaluate, exchange_test, holm, score_json
from normpipe.classify.training import EPOCH
from normpipe.errors import UsageError
from normpipe.training.curve import CURVE_FILE, curve_lines

FORMAT_VERSION = 1


def ablation_document(ablation: Ablation, material: Material, out: Path) -> Document:
    """Figures of an ablation whose cells are all done.

    Args:
        ablation: What is compared.
        material: Rows, labels and folds of all variants.
        out: Folder of the ablation.

    Raises:
        UsageError: a file in OUT is damaged or gone.
    """
    folds = list(material.folds.values())
    rows = np.concatenate([fold.test for fold in folds])
    names = np.repeat([fold.name for fold in folds], [len(fold.test) for fold in folds])
    judged = Judged(material.truth.taken(rows), material.units[rows], folds=names)
    variant = next(iter(ablation.variants.values()))
    first = variant.training
    bootstrap = Bootstrap(draws=first.draws, seed=first.seed) if first.draws else None
    said = {
        name: [_said(out / cell_name(name, seed), material) for seed in variant.trainings]
        for name, variant in ablation.variants.items()
    }
    said |= {name: [_said(out / name, material)] for name in ablation.floors}
    evaluations = {name: _evaluation(material, each, judged, bootstrap) for name, each in said.items()}
    whole = next(iter(evaluations.values()))
    return {
        "format_version": FORMAT_VERSION,
        "protocol": material.protocol.name,
        "task": material.protocol.task.value,
        "labels": list(material.protocol.space.names),
        "metric": material.protocol.metric.value,
        "left_out": {reason.value: count for reason, count in material.shards.left_out.items()},
        "seeds": list(variant.trainings),
        "draws": first.draws,
        "rows": at(whole, "rows"),
        "people": at(whole, "people"),
        "folds": {fold.name: {"train": len(fold.train), "test": len(fold.test)} for fold in folds},
        "order": [*ablation.variants, *ablation.floors],
        "variants": {
            name: {"evaluation": evaluations[name], **_training(variant, said[name], material, judged, out)}
            for name, variant in ablation.variants.items()
        },
        "floors": {name: {"evaluation": evaluations[name], "sees": variant.name} for name, variant in ablation.floors.items()},
        "contrasts": _contrasts(ablation, said, material, judged, bootstrap),
    }


def _said(folder: Path, material: Material) -> Floats:
    """(n, C) of all folds' test rows."""
    return np.concatenate([read_scores(folder / fold / PREDICTIONS_FILE, TEST, BEST) for fold in material.folds])


def _evaluation(material: Material, said: Sequence[Floats], judged: Judged, bootstrap: Bootstrap | None) -> Json:
    protocol = material.protocol
    return score_json(evaluate(protocol.space, said, judged, threshold=protocol.threshold, bootstrap=bootstrap))


def _training(variant: Variant, said: Sequence[Floats], material: Material, judged: Judged, out: Path) -> dict[str, Json]:
    """How the trainings of a variant went, and what each is worth."""
    training, metric = variant.training, material.protocol.metric.value
    by_seed = [at(_evaluation(material, [each], judged, None), "scores", metric, "overall", "value") for each in said]
    places = [out / cell_name(variant.name, seed) / fold for seed in variant.trainings for fold in material.folds]
    stories = [_document(place / SCORES_FILE) for place in places]
    return {
        "changes": dict(variant.changes),
        "parameters": parameter_count(places[0] / BEST),
        "epochs": training.epochs,
        "best_epochs": [at(story, "epochs", BEST) for story in stories],
        "by_seed": by_seed,
        "curve": _curve(places, training.epochs),
        "experts": _mean_usage([at(story, "experts", BEST) for story in stories]),
        "regions": rounded(document(_mean([items(story, "regions", BEST) for story in stories]))),
    }


def _contrasts(
    ablation: Ablation,
    said: Mapping[str, Sequence[Floats]],
    material: Material,
    judged: Judged,
    bootstrap: Bootstrap | None,
) -> list[Json]:
    protocol, found = material.protocol, []
    for name, minus in ablation.contrasts:
        sides = material.protocol.space, said[name], said[minus], judged
        scores = score_json(differences(*sides, threshold=protocol.threshold, bootstrap=bootstrap))
        chances = exchange_test(*sides, threshold=protocol.threshold, bootstrap=bootstrap) if bootstrap else {}
        found.append({"variant": name, "minus": minus, "scores": scores, "p": rounded(document(chances))})
    measured = [(each, at(each, "p", protocol.metric.value)) for each in found]
    own = [(each, chance) for each, chance in measured if isinstance(chance, float)]
    for (each, _), corrected in zip(own, holm([chance for _, chance in own]), strict=True):
        each["holm"] = rounded(corrected)
    return [dict(each) for each in found]


def _curve(places: Sequence[Path], epochs: int) -> list[Json]:
    """Mean over trainings of the validation metric after each epoch; null where none was measured."""
    values = np.full((len(places), epochs), np.nan)
    for row, place in enumerate(places):
        for line in curve_lines(place / CURVE_FILE):
            value, epoch = line.get(VALIDATION), line.get(EPOCH)
            if value is not None and epoch is not None:
                values[row, int(epoch) - 1] = value
    if np.isnan(values).any():
        return []
    return [round(float(value), 6) for value in values.mean(axis=0)]


def _mean_usage(usages: Sequence[Json]) -> Json:
    """Mean share of each expert, by mixture."""
    names = list(usages[0]) if usages and isinstance(usages[0], dict) else []
    return {name: rounded(document(_mean([items(usage, name) for usage in usages]))) for name in names}


def _mean(values: Sequence[Sequence[Json]]) -> list[float] | list[list[float]]:
    found: list[float] | list[list[float]] = np.mean(np.array(values, np.float64), axis=0).tolist()
    return found


def _document(file: Path) -> dict[str, Json]:
    try:
        found: dict[str, Json] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        cell = f"{file.parent.parent.parent.name}/{file.parent.parent.name}"
        trouble = f"{cell}/{file.parent.name}/{file.name}: damaged or gone"
        raise UsageError(f"{trouble}; delete the folder {cell} and train it again") from error
    return found

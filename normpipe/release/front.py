"""The card's front matter: what the hub shows, filters by and loads a release with, no matter what its prose says.

Its keys are those of the hub's dataset cards, https://github.com/huggingface/hub-docs/blob/main/datasetcard.md.
"""

import re
from collections.abc import Iterator, Mapping

import yaml

from normpipe.release.document import ReleaseDocument
from normpipe.release.licence import LICENCE_FILE, distinct_terms
from normpipe.release.schema import CLASSES, pictures, release_schema
from normpipe.shards.writer import hub_features

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
_LARGEST = "10M<n<100M"
_SPDX = {
    "apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0",
    "cc0-1.0", "cc-by-3.0", "cc-by-sa-3.0", "odbl", "pddl", "odc-by", "unlicense",
}  # fmt: skip
"""Licences that the hub knows by these words."""
_UNFIT = re.compile(r"[^a-z0-9.]+")


def front_matter(document: ReleaseDocument) -> Iterator[str]:
    """The lines of the card's front matter, an empty one last."""
    schema = release_schema(document.include, document.plain_ids)
    sizes = {name: sum(file.size for file in split.files) for name, split in document.ordered_splits}
    front: dict[str, object] = {
        "pretty_name": document.name,
        "version": document.version,
        **_licence(document),
        "task_categories": ["image-classification"],
        "tags": ["facial-expression", "faces", "normpipe", "croissant"],
        "size_categories": [next((word for limit, word in _SIZES if document.rows < limit), _LARGEST)],
        "source_datasets": ["original"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": name, "path": f"data/{name}-*.parquet"} for name, _ in document.ordered_splits],
            }
        ],
        "dataset_info": {
            "features": _features(hub_features(schema, CLASSES)),
            "splits": [
                {"name": name, "num_bytes": sizes[name], "num_examples": split.rows} for name, split in document.ordered_splits
            ],
            "download_size": sum(sizes.values()),
            "dataset_size": sum(sizes.values()),
        },
    }
    if pictures(document.include):
        front["extra_gated_prompt"] = (
            "These are pictures of people's faces, or made from them. You agree not to try to find out who is shown, and to "
            "keep to the terms of every source."
        )
    yield "---"
    yield from yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120).rstrip("\n").split("\n")
    yield "---"
    yield ""


def _features(features: Mapping[str, object]) -> list[dict[str, object]]:
    """Types of the columns as front matter writes them."""
    return [{"name": name, **_feature(kind)} for name, kind in features.items()]


def _feature(kind: object) -> dict[str, object]:
    assert isinstance(kind, dict)
    if kind["_type"] == "Image":
        return {"dtype": "image"}
    if kind["_type"] == "ClassLabel":
        return {"dtype": {"class_label": {"names": {str(number): name for number, name in enumerate(kind["names"])}}}}
    if kind["_type"] == "List":
        inner = kind["feature"]["dtype"]
        return {"list": inner, "length": kind["length"]} if "length" in kind else {"list": inner}
    return {"dtype": kind["dtype"]}


def _licence(document: ReleaseDocument) -> dict[str, object]:
    terms = [each for _, each in distinct_terms(document.sources)]
    only = terms[0] if len(terms) == 1 else None
    if only is not None and only.licence.lower() in _SPDX:
        return {"license": only.licence.lower()}
    name = only.licence if only is not None else "terms of each source"
    return {
        "license": "other",
        "license_name": _UNFIT.sub("-", name.lower()).strip("-") or "other",
        "license_link": LICENCE_FILE,
    }

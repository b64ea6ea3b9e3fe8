"""What the card says, of releases that are told of in full here, so that its words depend on nothing else."""

import hashlib

import pytest
import yaml

from normpipe.records import EMOTIONS
from normpipe.release.card import card_lines, card_text
from normpipe.release.croissant import croissant_bytes
from normpipe.release.document import TEXTS, ReleaseDocument
from normpipe.release.licence import licence_text
from normpipe.release.schema import release_schema
from normpipe.release.terms import Include

DIGEST = "9aefd45f6e70e993e3faaa8416777d4c8f747fa8b193e31c840c44e00932f6e0"

TERMS = {"dataset": "drawn", "licence": "Public domain", "pass_on": ["pairs", "pictures"], "contact": "privacy@example.org"}
PARTS = {
    "normalizer": '{"identity_sha256": null, "background": [61, 61, 61]}',
    "detector": "embedded/1",
    "config.detect.detector": '"embedded"',
    "config.detect.insightface_pack": '"buffalo_l"',
    "config.limit": "null",
    "config.quality.remeasure": "true",
    "environment.numpy": "2.10",
}
ALONE = {"why": "one_image_per_subject", "detail": "170 people, one image of each"}
AUC = {"feature": "HOG", "method": "probe", "result": {"auc": {"value": 0.996, "low": 0.99, "high": 1.0}}}
KEPT = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("correlation", "slope")}

UNMEASURED = {
    "findings": {"identity": {"attacks": [{**AUC, "result": ALONE}], "worst": None}, "expression": {"displacement": ALONE}},
    "gates": [
        {"name": "max_failed_fraction", "limit": 0.05, "figure": {"value": 0.01, "low": 0.01, "high": 0.01}, "passed": True}
    ],
    "passed": True,
}
MEASURED = {
    "findings": {"identity": {"attacks": [AUC], "worst": AUC}, "expression": {"displacement": {"whole": KEPT}}},
    "gates": [
        {"name": "max_identity_auc", "limit": 0.6, "figure": {"value": 0.996, "low": 0.99, "high": 1.0}, "passed": False}
    ],
    "passed": False,
}
UNJUDGED = {**MEASURED, "gates": [], "passed": None}


def told(include="pairs", ids="keyed", runs=1, audited=True, labels=None, texts=TEXTS, **more):
    """The release.json of a small release."""
    sources = [
        {
            "name": "drawn" if number < 3 else "other",
            "terms": TERMS if number < 3 else None,
            "run": {
                "number": number,
                "producer": "normpipe 0",
                "fingerprint": "f" * 64,
                "fingerprint_parts": PARTS,
                "rows": 4,
                "ok": 3,
                "failed": {"no_face": 1},
                "complete": True,
            },
            "audit": {"path": f"audit/run-{number}.json", "passed": True, "gates": [], "overridden": False}
            if audited
            else None,
        }
        for number in range(1, runs + 1)
    ]
    file = {"path": "data/train-00000-of-00001.parquet", "sha256": "a" * 64, "size": 2302259, "rows": 1}
    return ReleaseDocument.model_validate(
        {
            "texts": texts,
            "name": "drawn",
            "version": "1.0.0",
            "date": "2026-11-23",
            "producer": "normpipe 0",
            "include": include,
            "key_check": "b" * 64 if ids == "keyed" else None,
            "sources": sources,
            "command": "normpipe release build RUN-1 -o RELEASE --name drawn",
            "options": {
                "include": include,
                "ids": ids,
                "minimum": {},
                "maximum": {},
                "allowed": (),
                "file_bytes": 1,
                "changes": None,
            },
            "columns": release_schema(Include(include), ids == "plain").names,
            "labels": labels or {},
            "splits": {"train": {"rows": 1, "subjects": 1, "files": [file]}},
            "subjects_in_several_splits": 0,
            "exclusions": {"failed:no_face": 1},
            "content": {"train": "c" * 64},
            "overrides": (),
            "withdrawn": {"rows": 0, "subjects": (), "samples": ()},
            **more,
        }
    )


LABELS = {"emotion": {"fear": 1}, "au_occurrence_12": {"1": 1}}
FLAGS = ("--partial", "--override-terms", "--override-audit")

VARIED = [
    (told(runs=4, labels=LABELS, overrides=FLAGS, subjects_in_several_splits=1), {1: UNMEASURED, 2: MEASURED, 3: UNJUDGED}),
    (told("normalized", "plain"), {1: UNJUDGED}),
    (told("labels", exclusions={}), {1: UNMEASURED}),
    (told("labels", audited=False), {}),
]


def test_texts_are_worded_as_their_number_says():
    """Where this fails, raise TEXTS in normpipe/release/document.py, then write the new digest here: else `verify` finds fault
    with every release that has the old words."""
    texts = [
        each
        for document, audits in VARIED
        for each in (
            card_text(document, audits).encode(),
            croissant_bytes(document),
            licence_text(document.name, document.sources).encode(),
        )
    ]
    assert (TEXTS, hashlib.sha256(b"\0".join(texts)).hexdigest()) == (1, DIGEST)


@pytest.mark.parametrize(("document", "audits"), VARIED)
def test_every_figure_stands_on_a_line_of_its_own_words(document, audits):
    lines = card_text(document, audits).splitlines()
    assert [name for name, line in card_lines(document).items() if line not in lines] == []


def test_what_was_not_measured_is_said_boldly_and_why():
    text = card_text(told(), {1: UNMEASURED})
    assert "Run 1 passed its only gate" in text
    assert "- **Identity was not measured**: 170 people, one image of each." in text
    assert "- **Expression was not measured**: 170 people, one image of each." in text


def test_what_no_gate_held_is_said_with_the_best_attacker():
    unjudged = card_text(told(), {1: UNJUDGED})
    assert "**was held against no gate**" in unjudged
    assert "- **No gate on identity was set**; best attacker AUC 1.00 (0.99 to 1.00). No face embedding was given" in unjudged
    assert "- **No gate on expression was set**; 0.50: correlation of the landmarks' movement (0.40 to 0.60)." in unjudged
    held = card_text(told(), {1: MEASURED})
    assert "Run 1 **missed a gate**" in held
    assert "- Identity: best attacker AUC 1.00" in held
    assert "No gate on identity" not in held


def test_a_run_that_was_not_audited_stands_above_what_audits_ask():
    text = card_text(told(runs=2), {2: MEASURED})
    assert text.index("**Run 1 was not audited**: how much") < text.index("An audit asks") < text.index("Run 2 **missed")
    assert "An audit asks" not in card_text(told(audited=False), {})


def test_a_release_without_pictures_does_not_speak_of_these():
    text = card_text(told("labels"), {1: MEASURED})
    assert "measured on the pictures (not in this release)" in text
    assert "these pictures" not in text
    assert "normalized face.\n" not in text.partition("## What may go wrong")[2]
    assert "**Run 1 was not audited**.\n" in card_text(told("labels", audited=False), {})


@pytest.mark.parametrize("include", Include)
@pytest.mark.parametrize("ids", ["keyed", "plain"])
def test_every_column_is_explained_and_no_other(include, ids):
    document = told(include, ids)
    table = card_text(document, {}).partition("| columns |")[2].partition("\n\n")[0].splitlines()[2:]
    named = {name.strip("` ") for line in table for name in line.split("|")[1].split(",")}
    wanted = {name[:-2] + "NN" if name.startswith("au_") else name for name in document.columns}
    assert named == wanted


def test_labels_that_are_missing_are_named():
    text = card_text(told(labels=LABELS), {})
    empty = "`emotion_votes`, `valence`, `arousal`, `weight`, `au_occurrence_NN` (but 12), `au_intensity_NN`"
    assert f"Label columns that are empty: {empty}." in text
    assert ", ".join(f"{number} {name}" for number, name in enumerate(EMOTIONS)) in text
    assert "Labels are the source's" in text


def test_a_release_without_labels_says_so():
    text = card_text(told(), {})
    assert "**No row has a label**" in text
    assert "Labels are the source's" not in text


def test_counts_have_their_plural_and_sizes_their_unit():
    document = told(subjects_in_several_splits=1)
    text = card_text(document, {})
    assert "1 row, made 2026-11-23" in text
    assert "| train | 1 | 1 | 1 | 2.3 MB |" in text
    files = document.splits["train"].model_copy(update={"rows": 2})
    two = document.model_copy(update={"splits": {"train": files, "test": files}})
    assert "4 rows, made" in card_text(two, {})
    assert "**1 subject in several of them**" in card_text(two, {})


def test_a_licence_is_a_word_that_the_hub_takes():
    def front(document):
        return yaml.safe_load(card_text(document, {}).split("---\n")[1])

    assert front(told())["license_name"] == "public-domain"
    assert front(told(runs=3))["license_name"] == "terms-of-each-source"


def test_the_configuration_is_in_plain_words_without_what_was_not_used():
    text = card_text(told(), {})
    assert "| config.detect.detector | embedded |" in text
    assert "| config.quality.remeasure | yes |" in text
    assert "| normalizer.background | 61, 61, 61 |" in text
    assert "| environment.numpy | 2.10 |" in text
    for idle in ("insightface_pack", "config.limit", "identity_sha256", "None", "null |"):
        assert idle not in text.partition("<details>")[2].partition("</details>")[0]


def test_flags_that_opened_a_gate_stand_above_all():
    text = card_text(told(overrides=FLAGS), {})
    assert text.index("Read this first") < text.index("## What a row is")
    assert "This release passes on what its sources' terms do not allow" in text


def test_words_of_terms_stay_in_their_line():
    injected = "\n\n# Injected\n| rows | 99999 |\n"
    names = ("dataset", "licence", "link", "attribution", "consent", "contact", "source", "note")
    source = told(audited=False).sources[0]
    assert source.terms is not None
    terms = source.terms.model_copy(update=dict.fromkeys(names, f"x{injected}y"))
    document = told(audited=False).model_copy(
        update={"sources": (source.model_copy(update={"name": f"drawn{injected}", "terms": terms}),)}
    )
    card, licence = card_text(document, {}), licence_text(document.name, document.sources)
    for text in (card, licence):
        assert not [line for line in text.splitlines() if line.startswith(("# Injected", "| rows | 99999"))]
    assert "asks: x # Injected \\| rows \\| 99999 \\| y." in card

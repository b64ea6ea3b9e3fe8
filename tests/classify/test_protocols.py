"""Protocol files: those that ship are whole and name their sources, and what is wrong in one is named by file, line, key."""

import tomllib
from pathlib import Path

import pytest

from normpipe.classify import protocols
from normpipe.classify.labels import Task
from normpipe.classify.metrics import Metric
from normpipe.classify.protocols import load_protocol, protocol_names
from normpipe.errors import UsageError

ROOT = Path(__file__).parents[2]
PLAIN = "name: own\ntask: au\nlabels: [AU01, AU12]\nmetric: f1\n"


def listed(name: str) -> dict[str, tuple[str, ...]]:
    parts = load_protocol(name).parts
    assert parts is not None
    return dict(parts)


@pytest.mark.parametrize("name", protocol_names())
def test_a_protocol_that_ships_is_valid_and_bears_the_name_of_its_file(name):
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.threshold == 0.5
    assert f"`{name}`" in (ROOT / "manifests" / "README.md").read_text()
    if protocol.parts is not None:
        assert protocol.sources


def test_bp4d_has_its_41_people_once():
    parts = listed("bp4d-au")
    everyone = [subject for part in parts.values() for subject in part]
    assert [len(part) for part in parts.values()] == [14, 14, 13]
    assert sorted(everyone) == [f"F{n:03d}" for n in range(1, 24)] + [f"M{n:03d}" for n in range(1, 19)]
    assert load_protocol("bp4d-au").folds == {"fold1": "P3", "fold2": "P2", "fold3": "P1"}
    assert load_protocol("bp4d-au").labels == tuple(f"AU{n:02d}" for n in (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24))


def test_fera_2015_divides_the_same_people_by_odd_and_even_numbers():
    parts = listed("bp4d-intensity")
    assert {len(part) for part in parts.values()} == {20, 21}
    assert all(int(subject[1:]) % 2 for subject in parts["odd"])
    assert not any(int(subject[1:]) % 2 for subject in parts["even"])
    everyone = {subject for part in listed("bp4d-au").values() for subject in part}
    assert {*parts["odd"], *parts["even"]} == everyone
    assert load_protocol("bp4d-intensity").folds == {"fera2015": "even"}


def test_bp4d_plus_has_its_140_people_once():
    parts = listed("bp4d-plus-au")
    everyone = [subject for part in parts.values() for subject in part]
    assert [len(part) for part in parts.values()] == [35, 35, 35, 35]
    assert sorted(everyone) == [f"F{n:03d}" for n in range(1, 83)] + [f"M{n:03d}" for n in range(1, 59)]
    assert load_protocol("bp4d-plus-au").folds == {"fold1": "P1", "fold2": "P2", "fold3": "P3", "fold4": "P4"}
    assert load_protocol("bp4d-plus-au").labels == load_protocol("bp4d-au").labels


def test_disfa_has_27_people_in_the_same_three_parts_for_both_tasks():
    parts = listed("disfa-au")
    assert [len(part) for part in parts.values()] == [9, 9, 9]
    assert len({subject for part in parts.values() for subject in part}) == 27
    assert listed("disfa-intensity") == parts
    assert load_protocol("disfa-intensity").folds == load_protocol("disfa-au").folds
    assert len(load_protocol("disfa-intensity").labels) == 12
    assert load_protocol("disfa-au").datasets["disfa"].active_from == 2


def test_across_datasets_the_units_are_those_that_both_annotate():
    one, other = (set(load_protocol(name).labels) for name in ("bp4d-au", "disfa-au"))
    assert set(load_protocol("bp4d-disfa").labels) == one & other


def test_a_protocol_knows_the_columns_that_it_reads():
    assert load_protocol("disfa-au").label_columns[:2] == ["sample_id", "au_intensity_01"]
    both = load_protocol("bp4d-disfa").label_columns
    assert {"au_occurrence_12", "au_intensity_12", "weight"} < set(both)
    assert load_protocol("raf-db").label_columns == ["sample_id", "emotion", "weight"]


def test_single_keys_can_be_overridden():
    assert load_protocol("emotion-kfold", ["kfold.seed=7"]).kfold.seed == 7
    with pytest.raises(UsageError, match=r"^protocol_keys kfold\.k"):
        load_protocol("emotion-kfold", ["kfold.k=1"])


def test_a_file_of_ones_own_is_a_protocol(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(PLAIN + "kfold: {k: 3}\n")
    protocol = load_protocol(str(path))
    assert (protocol.task, protocol.metric, protocol.kfold.k) == (Task.AU, Metric.F1, 3)
    assert protocol.space.names == ("AU01", "AU12")


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(UsageError, match=r"bp4d: there is no such protocol; name one of affectnet-7, .*or a \.yaml file"):
        load_protocol("bp4d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN, "give one of parts"),
        (PLAIN + "kfold: {k: 3}\nabsent: no lists\n", "give one of parts"),
        (PLAIN + "kfold: {k: 3, seeds: 1}\n", "line 5, kfold.seeds: there is no such key; manifests/README.md lists all"),
        (PLAIN + "kfold: {k: 1}\n", "line 5, kfold.k"),
        (PLAIN + "parts: {A: [one], B: [two]}\n", "parts and folds belong together"),
        (PLAIN + "parts: {A: [one], B: [two, one]}\nfolds: {f: A}\n", "a subject stands there twice"),
        (PLAIN + "parts: {A: [one]}\nfolds: {f: A}\n", "two parts"),
        (PLAIN + "parts: {A: [one], B: [two]}\nfolds: {f: C}\n", "a fold tests one of the parts"),
        (PLAIN + "parts: {A: [001], B: [two]}\nfolds: {f: A}\n", "line 5, parts.A.0: Input should be a valid string"),
        (PLAIN + "splits: {train: [train], test: [train]}\n", "a word stands for two sets"),
        (PLAIN + "datasets: {bp4d: {}}\ncross_dataset: [bp4d]\n", "there must be two"),
        (PLAIN + "datasets: {bp4d: {}, disfa: {}}\ncross_dataset: [gft]\n", "name some of datasets"),
        (PLAIN + "kfold: {k: 3}\nvalidation: {one_in: 1}\n", "one in one leaves nobody"),
        (PLAIN.replace("f1", "icc") + "kfold: {k: 3}\n", "of the task au it is one of f1, balanced_f1, auc"),
        (PLAIN.replace("AU12", "AU3") + "kfold: {k: 3}\n", "'AU3' is none of AU01"),
        (
            "name: own\ntask: emotion\nlabels: [anger, fear]\nmetric: f1\ndatasets: {a: {active_from: 2}}\nkfold: {k: 2}",
            "only the task au",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        load_protocol(str(path))
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_wheel_holds_the_files_where_they_are_looked_for():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["manifests"] == protocols.PACKAGED.relative_to(ROOT).as_posix()

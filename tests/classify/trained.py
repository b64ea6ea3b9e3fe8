"""A classifier of random weights, saved as a trained one is."""

from pathlib import Path

from normpipe.classify.arms import Arm
from normpipe.classify.card import Card
from normpipe.classify.labels import Task
from normpipe.classify.saved import SavedClassifier, save_classifier

from .networks.tiny import SIDE, SPACES, network

CARD = Card(rows=7, people=3, known={"AU01": 5}, positive={"AU01": 2}, data=("faces, CC0",), figures="F1 0.5")


def write_classifier(folder: Path, name: str = "convnet", task: Task = Task.AU, arm: Arm = Arm.BOTH, seed: int = 0) -> Path:
    """One of tiny.NETWORKS."""
    save_classifier(folder, network(name, task, arm.views, seed), SavedClassifier(arm, SIDE, SPACES[task]), CARD)
    return folder

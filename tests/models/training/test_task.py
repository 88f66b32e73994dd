import subprocess
import sys

import numpy as np
import pytest

from models.data.specs import TrainingSpec
from models.training.classification.task import CLASSIFICATION
from models.training.segmentation.settings import SegmentationParameters
from models.training.settings import TrainingParameters
from models.training.task import task_of


def test_settings_name_their_task() -> None:
    assert task_of(TrainingParameters()) is CLASSIFICATION


def test_scores_hold_the_headline_figure() -> None:
    rows = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    task = CLASSIFICATION
    scores = task.score([0, 1, 1], {"probabilities": rows}, ("cup", "bowl"))
    assert getattr(scores, task.headline) == pytest.approx(np.mean([2 / 3, 2 / 3]))


def test_elsewhere_only_names_are_checked() -> None:
    task = CLASSIFICATION
    task.check(TrainingParameters(network="efficientnet_b3.ra2_in1k"), False)
    with pytest.raises(ValueError, match="timm has no 'resnet0'"):
        task.check(TrainingParameters(network="resnet0"), False)


def test_flows_and_stages_of_training_import_no_torch() -> None:
    code = "import flows.train_models, tasks.train.evaluate, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_segmentation_allows_what_masks_can_follow() -> None:
    settings = SegmentationParameters()
    assert task_of(settings).headline == "miou"
    assert settings.allows(TrainingSpec(name="a", dataset="real", augment="crop"))
    assert not settings.allows(TrainingSpec(name="a", dataset="real", augment="randaugment"))
    assert not settings.allows(TrainingSpec(name="a", dataset="real", classifier="linear"))

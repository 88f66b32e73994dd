import subprocess
import sys

import pytest

from models.data.specs import TrainingSpec
from models.training.classification.task import CLASSIFICATION
from models.training.segmentation.settings import SegmentationParameters
from models.training.segmentation.task import SEGMENTATION
from models.training.settings import TrainingParameters
from models.training.task import task_of


def test_settings_name_their_task() -> None:
    assert task_of(TrainingParameters()) is CLASSIFICATION
    assert task_of(SegmentationParameters()) is SEGMENTATION


def test_elsewhere_only_names_are_checked() -> None:
    task = CLASSIFICATION
    task.check(TrainingParameters(network="efficientnet_b3.ra2_in1k"), False)
    with pytest.raises(ValueError, match="timm has no 'resnet0'"):
        task.check(TrainingParameters(network="resnet0"), False)


def test_flows_start_without_the_slow_libraries_of_their_stages() -> None:
    slow = ("torch", "sklearn", "scipy", "skimage", "matplotlib", "pandas")
    code = f"""
import sys
import flows.pipeline, flows.study, tasks.train.evaluate
print([name for name in {slow} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_segmentation_allows_what_masks_can_follow() -> None:
    settings = SegmentationParameters()
    assert settings.allows(TrainingSpec(name="a", dataset="real", augment="crop"))
    assert not settings.allows(TrainingSpec(name="a", dataset="real", augment="randaugment"))
    assert not settings.allows(TrainingSpec(name="a", dataset="real", classifier="linear"))

"""Settings that fail where users run them: loader processes, and recipes over a server's limit."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from prefect import flow

from models.training.classification.train import train_once
from models.training.settings import TrainingParameters
from models.training.task import TrainingSets
from tests.tiny import CLASSES, RECIPE, Cli, draw_photos, files_of


@pytest.mark.slow
def test_loader_processes_work_inside_a_flow(prefect_server: None, tmp_path: Path) -> None:
    images = []
    for number in range(12):
        images.append((tmp_path / f"{number}.png", number % 2))
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(images[-1][0])
    parameters = TrainingParameters(
        network="small_cnn",
        pretrained=False,
        loggers=("csv",),
        milestones=(1,),
        image_size=32,
        epochs=2,
        workers=2,
        memory_mb=0,
    )

    @flow
    def work() -> int:
        return train_once(
            TrainingSets(images, images, CLASSES), parameters, 0, tmp_path / "run"
        ).epochs_run

    assert work() == 2


def test_a_recipe_over_the_limit_of_the_server_is_refused_before_the_run(
    cli: Cli, tmp_path: Path
) -> None:
    content = yaml.safe_load(RECIPE)
    # Prompts of 4,000 classes would need photos of 4,000 classes.
    scenes = [f"on floor {number:04} " + "of long boards " * 9 for number in range(4000)]
    content["generators"]["multiview"]["background"]["scenes"] = scenes
    (tmp_path / "big.yaml").write_text(yaml.safe_dump(content))
    draw_photos(tmp_path / "photos")
    where = ("--photos", tmp_path / "photos", "--out", tmp_path / "out")
    ended = cli.run("run", tmp_path / "big.yaml", *where)
    assert ended.code == 2
    assert "of them in generators.multiview.background.scenes" in ended.complaint
    assert files_of(tmp_path / "out").keys() == {"store/layout.json"}

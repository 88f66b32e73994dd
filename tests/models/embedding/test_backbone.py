from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.data.pixels import Floats, Pixels
from models.embedding.backbone import embed
from models.embedding.weights import embedded_tensors

ROOT = Path(__file__).parents[3]
# Numbers of ImageNet-1k's classes.
BANANA, COFFEE_MUG, CUP = 954, 504, 968


def imagenet_classes(features: Floats) -> list[int]:
    head = embedded_tensors()
    logits = features @ head["classifier.weight"].numpy().T + head["classifier.bias"].numpy()
    return [int(row.argmax()) for row in logits]


def draw_images(n: int) -> list[Pixels]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n, 6, 8, 3), np.uint8)
    return [cv2.resize(image, (120 + 10 * i, 90)) for i, image in enumerate(coarse)]


def test_bananas_on_real_photos_are_bananas(shared_photos: Path) -> None:
    features = embed(sorted((shared_photos / "fruit/train/banana").glob("*.jpg")))
    assert imagenet_classes(features) == [BANANA] * 5


def test_rendered_mugs_are_mugs_or_cups() -> None:
    photos = sorted((ROOT / "flows/demo_photos/test/mug").glob("*.jpg"))[:4]
    features = embed(photos)
    assert features.shape == (4, 1280)
    assert features.dtype == np.float32
    assert features.min() >= 0
    assert set(imagenet_classes(features)) <= {COFFEE_MUG, CUP}


def test_neither_threads_nor_other_images_change_a_number() -> None:
    images = draw_images(5)
    threads = torch.get_num_threads()
    together = embed(images, threads=1)
    torch.set_num_threads(threads + 2)
    try:
        at_once = embed(images, threads=3)
        assert torch.get_num_threads() == threads + 2
    finally:
        torch.set_num_threads(threads)
    alone = np.concatenate([embed([image]) for image in images])
    assert together.tobytes() == at_once.tobytes() == alone.tobytes()
    assert len(np.unique(together, axis=0)) == 5


def test_a_file_and_its_pixels_give_the_same_numbers(tmp_path: Path) -> None:
    (image,) = draw_images(1)
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    assert embed([tmp_path / "image.png"]).tobytes() == embed([image]).tobytes()
    assert embed([]).shape == (0, 1280)
    with pytest.raises(ValueError, match=r"gone\.png: the file cannot be read"):
        embed([tmp_path / "gone.png"])

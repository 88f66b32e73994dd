"""Random changes of a square photo that the boxes of its objects follow."""

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2 as transforms

from models.data.pixels import Floats, Pixels
from models.data.square import GREY
from models.training.detection.settings import DetectionAugmentation

# Sides below this, in px of the network's input, hold nothing that can be seen.
_SMALLEST_SIDE = 1.0
# Objects get smaller as well as larger, so that other photos may show them at another size.
_SCALES, _SHIFT = (0.6, 1.5), 0.2


def augment_boxes(
    photo: Pixels,
    objects: Floats,
    augmentation: DetectionAugmentation,
    rng: np.random.Generator,
) -> tuple[Pixels, Floats]:
    """The same random change of a square photo and its objects, by torchvision's transforms.

    ``flip`` mirrors half of them. ``crop`` also scales them by 0.6 to 1.5, shifts them, and changes
    brightness, contrast, saturation and hue of the photo. An object whose centre is cut off is
    dropped; the boxes of all others end at the border.

    Args:
        objects: float32 [N, 5]: left, top, right, bottom in px, and the class.
    """
    if augmentation == "none":
        return photo, objects
    steps: list[transforms.Transform] = [transforms.RandomHorizontalFlip()]
    if augmentation == "crop":
        steps += [
            transforms.RandomAffine(
                degrees=0,
                translate=(_SHIFT, _SHIFT),
                scale=_SCALES,
                interpolation=transforms.InterpolationMode.BILINEAR,
                fill=GREY,
            ),
            transforms.ColorJitter(0.3, 0.1, 0.2, 0.1),
        ]
    boxes = tv_tensors.BoundingBoxes(
        torch.from_numpy(objects[:, :4].copy()),
        format="XYXY",
        canvas_size=photo.shape[:2],
        clamping_mode=None,
    )
    # The transforms draw from torch's global generator, which dropout draws from as well.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        changed, moved = transforms.Compose(steps)(
            tv_tensors.Image(torch.from_numpy(photo.transpose(2, 0, 1).copy())), boxes
        )
    rows = np.concatenate([moved.numpy(), objects[:, 4:]], axis=1)
    return changed.numpy().transpose(1, 2, 0), keep_visible(rows, photo.shape[0])


def keep_visible(objects: Floats, size: int) -> Floats:
    """The objects whose centre is in a square of ``size`` px, with boxes that end at its border."""
    centres = (objects[:, :2] + objects[:, 2:4]) / 2
    kept = objects[((centres >= 0) & (centres <= size)).all(axis=1)].copy()
    kept[:, :4] = kept[:, :4].clip(0, size)
    visible: Floats = kept[(kept[:, 2:4] - kept[:, :2] >= _SMALLEST_SIDE).all(axis=1)]
    return visible

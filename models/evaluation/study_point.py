"""A point of a study: what its classifiers are trained on, and its names."""

from typing import Literal

from models.data.records import Record
from models.data.specs import Augmentation, Classifier


class Point(Record):
    """A point of the grid: what its classifiers are trained on, and how.

    ``method`` names the series. ``share`` is the number of generated images per real photo;
    ``images_per_class`` counts them instead; both are 0 for photos alone. ``with_photos`` says
    whether the photos are part of it, or their generated images alone. ``real`` and ``synthetic``
    count the train images of all classes. Of a ``rare_class``, the number of photos and amounts
    hold for images that show it; ``instances`` of it are what images fill the train images up to.
    """

    photos_per_class: str
    photos_by: Literal["random", "alike", "different"] = "random"
    real: int
    with_photos: bool = True
    method: str = ""
    share: float = 0.0
    images_per_class: int = 0
    synthetic: int = 0
    rare_class: str = ""
    instances: int = 0
    augment: Augmentation
    classifier: Classifier = "network"

    @property
    def has_images(self) -> bool:
        """Whether it has generated images."""
        return bool(self.share or self.images_per_class or self.instances)

    @property
    def photos_label(self) -> str:
        """``5``, ``5%``, ``5 alike``."""
        kind = "" if self.photos_by == "random" else f" {self.photos_by}"
        return f"{self.photos_per_class}{kind}"

    @property
    def photos_name(self) -> str:
        """``5 photos per class``, ``5 alike photos per class``, ``5% of photos per class``."""
        of = " of" if self.photos_per_class.endswith("%") else ""
        noun = "photo" if self.photos_label == "1" else "photos"
        if self.rare_class:
            return f"{self.photos_label}{of} {noun} of {self.rare_class}"
        return f"{self.photos_label}{of} {noun} per class"

    @property
    def amount_name(self) -> str:
        """``2 per photo``, ``200 per class``; empty for photos alone."""
        if self.instances:
            return f"up to {self.instances} instances"
        if self.images_per_class:
            return f"{self.images_per_class} {'images' if self.rare_class else 'per class'}"
        return f"{self.share:g} per photo" if self.share else ""

    @property
    def images_name(self) -> str:
        """What names its images: photos per class, amount and method."""
        if not self.has_images:
            return self.photos_name
        joined = "+" if self.with_photos else "replaced by"
        return f"{self.photos_name} {joined} {self.method} images, {self.amount_name}"

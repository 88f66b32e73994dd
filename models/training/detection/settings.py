"""The settings of a detection training; importing them imports no torch."""

from typing import ClassVar, Literal, get_args

from pydantic import Field, model_validator

from models.data.specs import TrainingSpec
from models.training.detection.published.names import (
    DETR_NETWORKS,
    DetrNetwork,
    YoloNetwork,
    find_fault,
)
from models.training.settings import MAX_EPOCHS, TrainingParameters

# Networks on the embedded backbone, which comes with the installation.
EmbeddedNetwork = Literal["ssdlite_efficientnet_lite0", "retinanet_efficientnet_lite0"]
Network = Literal[EmbeddedNetwork, DetrNetwork, YoloNetwork]
DetectionAugmentation = Literal["none", "flip", "crop"]


class DetectionParameters(TrainingParameters):
    """How a detector is trained; the defaults suit some dozen photos on a laptop."""

    needs_boxes: ClassVar[bool] = True

    task: Literal["detection"] = Field("detection", description="Objects are found as boxes.")
    classifier: Literal["network"] = Field("network", description="All weights are trained.")
    network: Network = Field(
        "ssdlite_efficientnet_lite0",
        description="ssdlite_efficientnet_lite0: the embedded backbone, a feature pyramid and a "
        "light head. retinanet_efficientnet_lite0: the same with the head of RetinaNet. "
        "rtdetr_v2_r18vd, dfine_small and rfdetr_nano: published detectors of transformers. "
        "yolov5s, yolov8n and yolov8m: detectors of ultralytics, which is under AGPL-3.0.",
    )
    loss: Literal["focal", "cross_entropy"] = Field(
        "focal",
        description="Loss of the classes. focal: of all anchors, hard ones count more. "
        "cross_entropy: of the objects and the three hardest background anchors of each.",
    )
    sampler: Literal["uniform", "class_aware"] = Field(
        "uniform",
        description="uniform: each photo is drawn equally often. class_aware: photos of each "
        "class, and those without an object, are drawn equally often.",
    )
    anchor_scale: float = Field(
        1.0,
        ge=0.5,
        le=8,
        description="Side of the smallest anchors of a level, in cells of its feature map; the "
        "smallest cells are 8 px of the network's input.",
    )
    score_threshold: float = Field(
        0.01, ge=0, lt=1, description="Objects with a lower score are not reported."
    )
    nms_threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Of two objects of a class whose boxes have a larger IoU, the one with the "
        "lower score is dropped.",
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="sgd: momentum 0.9.")
    learning_rate: float = Field(
        0.002, gt=0, le=10, description="Learning rate of the head; of onecycle, the highest."
    )
    schedule: Literal["milestones", "onecycle"] = Field(
        "onecycle",
        description="milestones: the rate drops at these epochs, and is constant without any. "
        "onecycle: it rises to learning_rate in 30 % of all steps, then falls to 0.",
    )
    milestones: tuple[int, ...] = Field(
        (), description="Epochs, from 0, at which the rate is multiplied by gamma."
    )
    weight_decay: float = Field(
        0.0001, ge=0, le=1, description="Weight decay per step, as torch defines it."
    )
    label_smoothing: Literal[0] = Field(0, description="No detector smooths labels.")
    batch_size: int = Field(4, ge=2, le=4096, description="Images per step.")
    image_size: int = Field(
        512,
        ge=64,
        le=2048,
        multiple_of=32,
        description="Side of the square input, pixels: a multiple of 32. Photos are scaled to fit, "
        "and padded right and below.",
    )
    epochs: int = Field(30, ge=1, le=MAX_EPOCHS, description="Largest number of epochs.")
    early_stopping_patience: int | None = Field(
        None, ge=1, description="Epochs without a better val AP50 before stopping; None: never."
    )
    augment: DetectionAugmentation = Field(
        "crop",
        description="Random changes of train images and boxes. crop: flip, zoom, shift and light; "
        "an object stays if its centre does.",
    )
    augment_ranges: Literal[None] = Field(None, description="No augmentation here has ranges.")
    linear_copies: Literal[0] = Field(0, description="No linear classifier detects objects.")

    @model_validator(mode="after")
    def _check_network(self) -> "DetectionParameters":
        fault = find_fault(self)
        if fault is not None:
            raise ValueError(fault)
        return self

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint of the catalog that a training starts from, ``id@revision``; or none."""
        if self.network not in DETR_NETWORKS:
            return ()
        checkpoint = DETR_NETWORKS[self.network].checkpoint
        return (checkpoint if self.revision is None else f"{checkpoint}@{self.revision}",)

    def allows(self, spec: TrainingSpec) -> bool:
        """Whether boxes can follow the augmentation, and a network is trained."""
        augments = get_args(DetectionAugmentation)
        return spec.classifier != "linear" and (spec.augment is None or spec.augment in augments)

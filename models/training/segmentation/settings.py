"""The settings of a segmentation training; importing them imports no torch."""

from typing import ClassVar, Literal, get_args

from pydantic import Field

from models.data.specs import TrainingSpec
from models.training.settings import TrainingParameters

Network = Literal["deeplabv3_resnet101", "lraspp_efficientnet_lite0"]
GroundTruth = Literal["classes", "trimap"]
SegmentationAugmentation = Literal["none", "flip", "crop"]
DEEPLAB = "pytorch/deeplabv3_resnet101_coco"


class SegmentationParameters(TrainingParameters):
    """How a segmentation network is trained; the defaults are those of the published study."""

    needs_masks: ClassVar[bool] = True

    task: Literal["segmentation"] = Field("segmentation", description="Each pixel gets a class.")
    ground_truth: GroundTruth = Field(
        "classes",
        description="classes: background and each label. trimap: the values 0, 128 and 255 of "
        "masks, which are background, border and object.",
    )
    border: float = Field(
        0.02,
        ge=0,
        le=0.2,
        description="For a trimap: width of the border that masks without one get, such as those "
        "of generated images; share of the longer side, half of it outside of the outline.",
    )
    classifier: Literal["network"] = Field("network", description="All weights are trained.")
    network: Network = Field(
        "lraspp_efficientnet_lite0",
        description="deeplabv3_resnet101: the network of the study. lraspp_efficientnet_lite0: the "
        "embedded backbone with a light head, for laptops.",
    )
    learning_rate: float = Field(0.001, gt=0, le=10, description="Learning rate of the head.")
    milestones: tuple[int, ...] = Field(
        (), description="Epochs, from 0, at which the rate is multiplied by gamma."
    )
    early_stopping_patience: int | None = Field(
        5, ge=1, description="Epochs without a better val mean IoU before stopping; None: never."
    )
    augment: SegmentationAugmentation = Field(
        "flip",
        description="Random changes of train images and masks. crop: flip, zoom, shift and light.",
    )
    augment_ranges: Literal[None] = Field(None, description="No augmentation here has ranges.")
    linear_copies: Literal[0] = Field(0, description="No linear classifier segments images.")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoint of the catalog that a training starts from, ``id@revision``; or none."""
        is_published = self.pretrained and self.weights_file is None
        if self.network != "deeplabv3_resnet101" or not is_published:
            return ()
        return (DEEPLAB if self.revision is None else f"{DEEPLAB}@{self.revision}",)

    def allows(self, spec: TrainingSpec) -> bool:
        """Whether masks can follow the augmentation, and a network is trained."""
        augments = get_args(SegmentationAugmentation)
        return spec.classifier != "linear" and (spec.augment is None or spec.augment in augments)

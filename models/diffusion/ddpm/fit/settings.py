"""The settings of a training of a diffusion model."""

from pydantic import Field

from models.data.records import Record


class FitSettings(Record):
    """How long and how fast a diffusion model is trained."""

    steps: int = Field(25_000, ge=1, description="Updates of the weights.")
    batch: int = Field(128, ge=1, description="Crops per update.")
    micro_batch: int = Field(
        16, ge=1, description="Crops that are computed at a time; their gradients are added up."
    )
    learning_rate: float = Field(2e-4, gt=0, description="Of Adam, constant.")
    bound_weight: float = Field(
        0.001, ge=0, description="Share of the variational bound, which trains the variance."
    )
    average_decay: float | None = Field(
        None, gt=0, lt=1, description="Of a moving average of the weights; null: none."
    )
    save_every: int = Field(500, ge=1, description="Updates between two writes of the state.")
    evaluate_every: int = Field(2_500, ge=1, description="Updates between two sample sheets.")
    samples: int = Field(16, ge=2, description="Images per sample sheet.")
    sample_spacing: str = Field("ddim25", description="Steps of DDIM for an image of the sheet.")
    stop_after: int | None = Field(
        None,
        ge=1,
        description="Sheets without a better score after which training stops, and the best "
        "weights are used; null: never.",
    )

    @property
    def accumulation(self) -> int:
        """Micro batches per update."""
        return -(-self.batch // min(self.batch, self.micro_batch))

    @property
    def at_a_time(self) -> int:
        """Crops per micro batch."""
        return -(-self.batch // self.accumulation)

"""Images of what was learned from photos, with SDXL."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.diffusion.finetuning.learned import Learned, LearnedWeights
from models.diffusion.safety import SafetyChecker
from models.diffusion.sdxl.parts import SdxlParts, load_sdxl
from models.diffusion.sdxl.text_to_image import SdxlTextRequest, SdxlTextToImage
from models.runtime.hardware import Machine


@dataclass(frozen=True, kw_only=True)
class SdxlLearnedRequest(SdxlTextRequest):
    """An image to generate from text with ``learned`` weights."""

    learned: Learned

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return *super().batch_key, self.learned


class SdxlLearned(SdxlTextToImage):
    """SDXL that gets the weights of each request; see `SdxlGenerator`.

    Args:
        root: folder of the checkpoint.
        parts: its networks; no other use shares them.
        machine, checker: see `SdxlGenerator`.
    """

    def __init__(
        self, root: Path, parts: SdxlParts, machine: Machine, checker: SafetyChecker | None = None
    ) -> None:
        super().__init__(parts, machine, checker)
        self._weights = LearnedWeights(root, self._pipeline)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlLearned":
        """Load from the folders of SDXL and of the VAE; that of a safety checker may follow."""
        root, vae, *others = folders
        checker = SafetyChecker.load(others[0], machine=machine) if others else None
        # A LoRA changes the layers of a U-Net, which compiled blocks do not expect.
        own = replace(machine, parts=None, compile=False)
        return cls(root, load_sdxl(root, vae, own), machine, checker)

    def _group_key(self, request: Any) -> Hashable:
        # The number of blocks of a prompt is not known before its word is.
        return request.batch_key, request.prompt, request.negative

    def _prepare(self, request: Any) -> None:
        if self._weights.use(request.learned):
            self._parts.text.forget()

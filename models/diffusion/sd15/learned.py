"""Images of what was learned from photos, with Stable Diffusion 1.5."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.diffusion.finetuning.learned import Learned, LearnedWeights
from models.diffusion.safety import SafetyChecker
from models.diffusion.sd15.parts import Sd15Parts, load_sd15
from models.diffusion.sd15.text_to_image import Sd15Request, Sd15TextToImage
from models.runtime.hardware import Machine


@dataclass(frozen=True, kw_only=True)
class Sd15LearnedRequest(Sd15Request):
    """An image to generate from text with ``learned`` weights."""

    learned: Learned

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return *super().batch_key, self.learned


class Sd15Learned(Sd15TextToImage):
    """Stable Diffusion 1.5 that gets the weights of each request; see `Sd15TextToImage`.

    Args:
        root: folder of the checkpoint.
        parts: its networks; no other use shares them.
        machine, checker: see `Sd15TextToImage`.
    """

    def __init__(
        self, root: Path, parts: Sd15Parts, machine: Machine, checker: SafetyChecker | None = None
    ) -> None:
        super().__init__(parts, machine, checker)
        self._weights = LearnedWeights(root, self._pipeline)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Sd15Learned":
        """Load from the checkpoint's folder; that of a safety checker may follow."""
        root, *others = folders
        checker = SafetyChecker.load(others[0], machine=machine) if others else None
        # A LoRA changes the layers of a U-Net, which compiled blocks do not expect.
        own = replace(machine, parts=None, compile=False)
        return cls(root, load_sd15(root, own), machine, checker)

    def _prepare(self, request: Any) -> None:
        self._weights.use(request.learned)

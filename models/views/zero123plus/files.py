"""Load a published Zero123++ repository part by part, without its pipeline class or code."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_strictly, read_json


def load_parts(folder: Path, machine: Machine) -> dict[str, Any]:
    """Return all parts, named like the arguments of `models.views.zero123plus.network.Zero123Plus`.

    Networks are in the machine's dtype on its device, for inference only.

    Raises:
        WrongCheckpointError: the folder is not a Zero123++ repository, or weights are missing or
            belong to other networks.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    kinds: dict[str, Any] = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "vision_encoder": CLIPVisionModelWithProjection,
    }
    ramp = _ramp(folder / "model_index.json")
    processors = {
        f"{part}_processor": CLIPImageProcessorPil(
            **_processor_settings(folder / f"feature_extractor_{part}")
        )
        for part in ("clip", "vae")
    }
    return {
        "schedule": _schedule(folder / "scheduler" / "scheduler_config.json"),
        "ramp": ramp,
        "empty_prompt": _empty_prompt(folder / "tokenizer", len(ramp)),
        **processors,
        **{name: load_strictly(kind, folder / name, machine) for name, kind in kinds.items()},
    }


def _schedule(file: Path) -> dict[str, Any]:
    schedule: dict[str, Any] = read_json(file)
    if schedule.get("prediction_type") != "v_prediction":
        raise WrongCheckpointError(
            f"{file}: prediction_type is {schedule.get('prediction_type')}, not v_prediction: "
            "give a Zero123++ checkpoint"
        )
    return schedule


def _ramp(file: Path) -> Tensor:
    ramp = read_json(file).get("ramping_coefficients")
    if not ramp:
        raise WrongCheckpointError(f"{file}: no ramping_coefficients: give a Zero123++ checkpoint")
    return torch.tensor(ramp, dtype=torch.float32)


def _processor_settings(folder: Path) -> dict[str, Any]:
    """Return an image processor's settings without the name of its original class."""
    settings = read_json(folder / "preprocessor_config.json")
    return {name: value for name, value in settings.items() if not name.endswith("_type")}


def _empty_prompt(folder: Path, length: int) -> Tensor:
    """Return the token ids of "", padded to the ramp's length, int64 [1, 77]."""
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WrongCheckpointError(
            f"{folder} can't be read ({reason}); download it again"
        ) from error
    ids: Tensor = tokenizer(
        "", padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids

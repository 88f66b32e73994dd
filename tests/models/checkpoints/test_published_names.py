"""Weights under the names that published files have from older versions of the libraries: each
finds its place in today's network, with its value.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_strictly
from tests.checkpoints import sd2_inpaint, sdxl, zero123plus

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

CPU = Machine(torch.device("cpu"), torch.float32)
Weights = dict[str, Tensor]
OLD_ATTENTION = {
    "to_q": "query",
    "to_k": "key",
    "to_v": "value",
    "to_out.0": "proj_attn",
}


def old_attention(weights: Weights) -> Weights:
    """As diffusers named the attention of an autoencoder before 0.15."""

    def renamed(name: str) -> str:
        for new, old in OLD_ATTENTION.items():
            name = name.replace(f".{new}.", f".{old}.") if ".attentions." in name else name
        return name

    return {renamed(name): one for name, one in weights.items()}


def old_text(weights: Weights) -> Weights:
    """As transformers saved CLIP's text network: below ``text_model``, with the positions' numbers
    that it no longer keeps.
    """
    whole = ("text_model.", "text_projection.")
    named = {
        name if name.startswith(whole) else f"text_model.{name}": one
        for name, one in weights.items()
    }
    return named | {"text_model.embeddings.position_ids": torch.arange(77)[None]}


def old_vision(weights: Weights) -> Weights:
    """As transformers saved CLIP's vision network, with the numbers of the positions."""
    numbers = torch.arange(weights["vision_model.embeddings.position_embedding.weight"].shape[0])
    return weights | {"vision_model.embeddings.position_ids": numbers[None]}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    sdxl.build(root / "sdxl")
    sd2_inpaint.build_asymmetric_vae(root / "asymmetric")
    zero123plus.build(root / "zero123plus")
    return root


@pytest.mark.parametrize(
    ("folder", "kind", "older"),
    [
        ("sdxl/vae", "AutoencoderKL", old_attention),
        ("asymmetric", "AsymmetricAutoencoderKL", old_attention),
        ("sdxl/text_encoder", "CLIPTextModel", old_text),
        ("sdxl/text_encoder_2", "CLIPTextModelWithProjection", old_text),
        ("zero123plus/vision_encoder", "CLIPVisionModelWithProjection", old_vision),
    ],
)
def test_older_names_find_their_places(
    published: Path, tmp_path: Path, folder: str, kind: str, older: Callable[[Weights], Weights]
) -> None:
    network_class: Any = getattr(diffusers, kind, None) or getattr(transformers, kind)
    (file,) = (published / folder).glob("*.safetensors")
    weights = load_file(file)
    (tmp_path / "config.json").write_bytes((published / folder / "config.json").read_bytes())
    renamed = {name: one.contiguous() for name, one in older(weights).items()}
    assert set(renamed) != set(weights)
    save_file(renamed, tmp_path / file.name, metadata={"format": "pt"})
    today = load_strictly(network_class, published / folder, CPU).state_dict()
    loaded = load_strictly(network_class, tmp_path, CPU).state_dict()
    assert loaded.keys() == today.keys()
    assert all(torch.equal(loaded[name], today[name]) for name in today)

    first = next(name for name in renamed if not name.endswith("position_ids"))
    renamed[f"{first}_of_something_else"] = renamed.pop(first)
    save_file(renamed, tmp_path / file.name, metadata={"format": "pt"})
    with pytest.raises(WrongCheckpointError, match="missing"):
        load_strictly(network_class, tmp_path, CPU)

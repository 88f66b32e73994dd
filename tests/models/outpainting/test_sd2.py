"""SD2 outpainting with tiny networks: inputs, caching, independence of batches."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.compositing.backgrounds.scene import procedural_background
from models.diffusion.safety import UnsafeImage
from models.diffusion.sd2.latents import CELL
from models.diffusion.sd2.networks import SD2Inpainting
from models.outpainting.latent_canvas import inpaint_mask
from models.outpainting.sd2 import OutpaintRequest, SD2Outpaint
from models.runtime.batching import InvalidOutput, generator
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import sd2_inpaint, sdxl

CPU = Machine(torch.device("cpu"), torch.float32, batch=1)
BATCHED = replace(CPU, batch=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    sd2_inpaint.build(root / "sd2")
    sd2_inpaint.build_asymmetric_vae(root / "vae")
    return root / "sd2", root / "vae"


@pytest.fixture(scope="module")
def plain(folders):
    return SD2Outpaint.load(folders[0], machine=BATCHED)


@pytest.fixture(scope="module")
def asymmetric(folders):
    return SD2Outpaint.load(*folders, machine=BATCHED)


@pytest.fixture(params=["plain", "asymmetric"])
def painter(request):
    return request.getfixturevalue(request.param)


def with_empty_caches(painter, machine=BATCHED, **settings):
    """The same networks with empty caches."""
    return SD2Outpaint(painter.networks, machine, **settings)


def images(painter, requests):
    for result in painter.compute(requests):
        yield result if isinstance(result, InvalidOutput) else result.image


def scene(size=(96, 128), seed=3, name="on concrete"):
    pixels = procedural_background(name, size, np.random.default_rng(seed)).pixels
    rgba = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    rgba[40:72, 32:64] = (200, 30, 40, 255)
    return rgba


def request_of(pixels=None, offset=(16, -8), **settings):
    settings = {"prompt": "grass", "negative_prompt": "mug", "seed": 5, "steps": 3} | settings
    return OutpaintRequest(scene() if pixels is None else pixels, offset, **settings)


def count(monkeypatch, networks, name):
    calls, original = [], getattr(networks, name)

    def counted(*args, **kwargs):
        calls.append((args, kwargs))
        return original(*args, **kwargs)

    monkeypatch.setattr(networks, name, counted)
    return calls


def exact_region(request):
    """The known px that must be exact."""
    rows, columns = request.shift.known
    x, y = request.offset
    feather = request.feather
    inside = np.zeros(request.scene.shape[:2], bool)
    inside[
        rows.start + feather * (y > 0) : rows.stop - feather * (y < 0),
        columns.start + feather * (x > 0) : columns.stop - feather * (x < 0),
    ] = True
    return inside


@pytest.mark.parametrize(
    ("size", "offset", "channels"),
    [
        ((96, 128), (16, -8), 4),
        ((91, 133), (-16, 24), 4),
        ((91, 133), (-24, -16), 3),
        ((64, 70), (0, 32), 3),
        ((67, 64), (-8, 0), 4),
    ],
)
def test_the_known_region_is_exact_outside_the_feather(painter, size, offset, channels):
    request = request_of(scene(size)[..., :channels], offset, steps=2)
    (result,) = images(painter, [request])
    assert result.shape == request.scene.shape
    assert result.dtype == np.uint8
    shifted = np.zeros_like(request.scene)
    shifted[request.shift.known] = request.scene[request.shift.source]
    exact = exact_region(request)
    np.testing.assert_array_equal(result[exact], shifted[exact])
    if channels == 4:
        np.testing.assert_array_equal(result[..., 3], shifted[..., 3])
        occupied = shifted[..., 3] == 255
        np.testing.assert_array_equal(result[occupied], shifted[occupied])


def test_the_border_depends_on_seed_prompt_guidance_and_steps(painter):
    first = request_of()
    border = np.ones(first.scene.shape[:2], bool)
    border[first.shift.known] = False
    others = [
        replace(first, seed=6),
        replace(first, prompt="a wooden table in a bright kitchen"),
        replace(first, negative_prompt="something else"),
        replace(first, guidance_scale=20.0),
        replace(first, guidance_scale=1.0),
        replace(first, steps=5),
    ]
    result, *changed = images(with_empty_caches(painter), [first, *others])
    for other, image in zip(others, changed, strict=True):
        assert (image[border] != result[border]).any(), other
    (again,) = images(with_empty_caches(painter), [first])
    assert np.abs(again.astype(int) - result).max() <= 1


@pytest.mark.parametrize("machine", [CPU, BATCHED], ids=["one at a time", "eight at a time"])
def test_an_image_does_not_depend_on_its_batch(painter, machine):
    small, large, third = scene(), scene((120, 88), 4, "on grass"), scene(seed=9)
    requests = [
        request_of(small, (16, -8), seed=1),
        request_of(large, (-16, 8), seed=2, prompt="snow"),
        request_of(small, (-16, 0), seed=3, guidance_scale=3.0, prompt="sand"),
        request_of(small, (0, 0), seed=4),
        request_of(third, (8, 8), seed=5, guidance_scale=1.0),
        request_of(third, (8, -8), seed=6, steps=4),
        request_of(large, (16, 8), seed=7),
    ]
    together = list(images(with_empty_caches(painter, machine), requests))
    for request, result in zip(requests, together, strict=True):
        (alone,) = images(with_empty_caches(painter, machine), [request])
        difference = np.abs(alone.astype(int) - result).max()
        assert difference == 0 if machine is CPU else difference <= 1


def test_the_same_request_gives_the_same_bytes(painter):
    for _ in range(2):
        torch.manual_seed(np.random.default_rng().integers(1000))
        (first,) = images(with_empty_caches(painter, CPU), [request_of()])
        (second,) = images(with_empty_caches(painter, CPU), [request_of()])
        np.testing.assert_array_equal(first, second)


def test_a_scene_that_is_not_shifted_needs_no_network(painter, monkeypatch):
    for name in ("embed", "encode", "encode_empty", "denoise", "decode"):
        monkeypatch.setattr(painter.networks, name, None)
    request = request_of(offset=(0, 0))
    (result,) = images(with_empty_caches(painter), [request])
    np.testing.assert_array_equal(result, request.scene)
    assert result is not request.scene


def test_scenes_and_texts_are_encoded_once(painter, monkeypatch):
    encoded = count(monkeypatch, painter.networks, "encode")
    empty = count(monkeypatch, painter.networks, "encode_empty")
    embedded = count(monkeypatch, painter.networks, "embed")
    first, second = scene(), scene(seed=8)
    offsets = [(x, y) for x in (-16, 16) for y in (-8, 0, 8)]
    requests = [
        request_of(pixels, offset, seed=7) for pixels in (first, second) for offset in offsets
    ]
    # Equal pixels are the same scene, also when two batches of a stage load them separately.
    requests += [request_of(first.copy(), (8, 8))]
    painter = with_empty_caches(painter)
    assert len(list(images(painter, requests))) == 13
    assert len(encoded) == 2
    assert len(empty) == 1
    assert sorted(text for args, _ in embedded for text in args[0]) == ["grass", "mug"]
    list(images(painter, [request_of(second.copy(), (8, 16), prompt="mug")]))
    assert len(encoded) == 2, "the cache lasts between calls"
    assert sum(len(args[0]) for args, _ in embedded) == 2


def test_the_caches_are_bounded(painter, monkeypatch):
    monkeypatch.setattr("models.outpainting.sd2._CACHED_SCENES", 3)
    monkeypatch.setattr("models.outpainting.sd2._CACHED_PROMPTS", 2)
    painter = with_empty_caches(painter)
    list(images(painter, [request_of(scene(seed=i), prompt=f"{i}", steps=2) for i in range(5)]))
    assert len(painter._latents) == 3
    assert len(painter._texts) == 2


def pipeline_of(folders, asymmetric):
    from diffusers import (
        AsymmetricAutoencoderKL,
        EulerAncestralDiscreteScheduler,
        StableDiffusionInpaintPipeline,
    )

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        folders[0], local_files_only=True, use_safetensors=True, safety_checker=None
    )
    if asymmetric:
        pipeline.vae = AsymmetricAutoencoderKL.from_pretrained(folders[1], local_files_only=True)
    settings = pipeline.scheduler.config
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(settings)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_prompts_are_embedded_as_the_public_pipeline_does(folders, plain):
    long = "a very long prompt " * 20
    pipeline = pipeline_of(folders, asymmetric=False)
    expected, negative = pipeline.encode_prompt(["on grass", long], "cpu", 1, True, ["mug", ""])
    with torch.inference_mode():
        found = plain.networks.embed(["on grass", long])
        without = plain.networks.embed(["mug", ""])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(without, negative, rtol=0, atol=1e-6)


@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_latents_and_pixels_are_the_public_pipelines(folders, painter, monkeypatch, guidance):
    """With equal first latents, generator and known latents, decoder inputs and pixels are equal.

    This covers the order of channels, the polarity of the mask, the order of guidance, the noise
    and the decoder's condition.
    """
    request = request_of(guidance_scale=guidance, steps=6)
    denoised = count(monkeypatch, painter.networks, "denoise")
    decoded = count(monkeypatch, painter.networks, "decode")
    list(images(with_empty_caches(painter), [request]))
    (z, known, masks), inputs = decoded[0][0], denoised[0][1]

    pipeline = pipeline_of(folders, painter.networks.decodes_with_pixels)
    noise = generator(request.seed)
    first = torch.randn(inputs["masked"].shape, generator=noise)
    mask = request.mask.repeat(CELL, 0).repeat(CELL, 1).astype(np.float32)
    image = torch.from_numpy(known[0]).permute(2, 0, 1)[None] / 127.5 - 1
    arguments = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "image": image,
        "mask_image": torch.from_numpy(mask)[None, None],
        "masked_image_latents": inputs["masked"],
        "latents": first,
        "num_inference_steps": 6,
        "guidance_scale": guidance,
        "height": 128,
        "width": 96,
    }
    state = noise.get_state()
    latents = pipeline(**arguments, generator=[noise], output_type="latent").images
    torch.testing.assert_close(z, latents, rtol=0, atol=1e-4)
    noise.set_state(state)
    expected = pipeline(**arguments, generator=[noise], output_type="pt").images
    with torch.inference_mode():
        found = painter.networks.decode(z, known, masks).clamp(0, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("offset", [(24, 0), (-24, -32), (24, -32)])
def test_shifted_latents_are_those_of_the_shifted_scene(painter, offset):
    """Compared four cells from the border and the frame, up to a fifth of the latents' deviation.

    The encoder's normalisation covers the whole canvas, so the border has some influence. Nearer to
    the border the encoder also sees what lies beyond. A displacement by one cell would give an
    error above the deviation.
    """
    networks, rng = painter.networks, np.random.default_rng(0)
    tiles = rng.integers(20, 236, (32, 24, 3), np.uint8).repeat(CELL, 0).repeat(CELL, 1)
    tiles += rng.integers(0, 20, tiles.shape, np.uint8)
    shift = request_of(tiles, offset).shift
    # The border continues the texture, so that only a displacement makes a difference.
    canvas = np.roll(tiles, (offset[1], offset[0]), (0, 1))
    with torch.inference_mode():
        scene_latents, expected = networks.encode([tiles])[0], networks.encode([canvas])[0]
    shifted = torch.zeros_like(expected)
    shifted[:, *shift.known_cells] = scene_latents[:, *shift.source_cells]
    inner = inpaint_mask(shift).astype(np.float32)
    inner = torch.from_numpy(np.pad(inner, 1, constant_values=1))[None]
    inner = torch.nn.functional.max_pool2d(inner, 9, 1, 4)[0, 1:-1, 1:-1] == 0

    def error(found):
        return float((found - expected).abs().amax(0)[inner].mean() / expected.std())

    assert inner.sum() > 100
    assert error(shifted) < 0.2
    assert error(shifted.roll(1, 2)) > 1.0


def test_the_network_gets_an_empty_canvas_where_it_generates(painter, monkeypatch):
    denoised = count(monkeypatch, painter.networks, "denoise")
    request = request_of(offset=(16, -8), steps=2)
    list(images(with_empty_caches(painter), [request]))
    masked, mask = denoised[0][1]["masked"][0], denoised[0][1]["masks"][0, 0].bool()
    with torch.inference_mode():
        empty = painter.networks.encode_empty((16, 12))[0]
        known = painter.networks.encode([request.scene])[0]
    np.testing.assert_array_equal(mask.numpy(), request.mask)
    torch.testing.assert_close(masked[:, mask], empty[:, mask], rtol=0, atol=1e-6)
    shifted = torch.roll(known, (-1, 2), (1, 2))
    torch.testing.assert_close(masked[:, ~mask], shifted[:, ~mask], rtol=0, atol=1e-6)


def test_results_that_are_not_finite_are_invalid(folders):
    painter = SD2Outpaint.load(folders[0], machine=BATCHED)
    with torch.no_grad():
        painter.networks.unet.conv_out.bias[0] = float("nan")
    bad, still = images(painter, [request_of(), request_of(offset=(0, 0))])
    assert isinstance(bad, InvalidOutput)
    assert isinstance(still, np.ndarray)


class StubChecker:
    """Flags the given indices of the images of each call; all of them in later calls."""

    modules = ()

    def __init__(self, *calls):
        self.calls, self.counts = list(calls), []

    def flags(self, images):
        assert all(image.shape[2] == 3 for image in images)
        self.counts.append(len(images))
        flagged = self.calls.pop(0) if self.calls else range(len(images))
        return [index in flagged for index in range(len(images))]


def test_flagged_images_are_generated_again_with_the_next_seed(painter):
    requests = [request_of(seed=seed) for seed in (10, 20, 30)]
    checker = StubChecker([1], [])
    results = list(with_empty_caches(painter, CPU, checker=checker).compute(requests))
    assert checker.counts == [3, 1]
    assert [result.retries for result in results] == [0, 1, 0]
    expected = [replace(request, seed=request.seed + (request.seed == 20)) for request in requests]
    for result, request in zip(results, expected, strict=True):
        (image,) = images(with_empty_caches(painter, CPU), [request])
        np.testing.assert_array_equal(result.image, image)
    three_tries, one_try = (
        replace(requests[0], nsfw_retries=2),
        replace(requests[0], nsfw_retries=0),
    )
    assert list(
        with_empty_caches(painter, checker=StubChecker()).compute([three_tries, one_try])
    ) == [
        UnsafeImage("flagged as not safe for work 3 times", 2),
        UnsafeImage("flagged as not safe for work once", 0),
    ]


def test_the_safety_checker_and_the_vae_may_come_in_any_order(folders, tmp_path):
    sdxl.build_safety_checker(tmp_path / "checker")
    root, vae = folders
    for others in ([vae, tmp_path / "checker"], [tmp_path / "checker", vae]):
        painter = SD2Outpaint.load(root, *others, machine=CPU)
        assert painter.networks.decodes_with_pixels
        assert len(painter.modules) == 4
    without_vae = SD2Outpaint.load(root, tmp_path / "checker", machine=CPU)
    assert not without_vae.networks.decodes_with_pixels
    (found,) = without_vae.compute([request_of(steps=2)])
    assert isinstance(found, InvalidOutput) or found.image.shape == (128, 96, 4)


def test_half_precision_draws_the_same_noise(folders):
    painter = SD2Outpaint.load(*folders, machine=replace(CPU, dtype=torch.bfloat16))
    (half,) = images(painter, [request_of()])
    (full,) = images(SD2Outpaint.load(*folders, machine=CPU), [request_of()])
    assert np.abs(half.astype(int) - full).mean() < 3


def test_no_requests_give_no_results(plain):
    assert list(images(plain, [])) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scene": np.zeros((96, 96), np.uint8)}, "a scene of shape"),
        ({"scene": np.zeros((96, 32, 3), np.uint8)}, "64 px or more"),
        ({"offset": (4, 0)}, "multiple of 8"),
        ({"offset": (0, 72)}, "within half"),
    ],
)
def test_rejects_a_request_with_a_wrong_value(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(request_of(), **changes)


def test_rejects_other_checkpoints(folders, tmp_path):
    def changed(part, **settings):
        copy = tmp_path / f"{part}{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folders[0], copy)
        file = copy / part / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))
        return copy

    for folder, message in (
        (changed("unet", in_channels=4), "4 input channels where inpainting has 9"),
        (changed("vae", scaling_factor=0.13025), "scaled by 0.13025"),
        (changed("unet", addition_embed_type="text_time"), "an SDXL checkpoint"),
        (tmp_path / "nothing", "can't be read"),
    ):
        with pytest.raises(WrongCheckpointError, match=message):
            SD2Inpainting.load(folder, None, CPU)
    with pytest.raises(WrongCheckpointError, match=r"an SDXL checkpoint.*asymmetric VAE"):
        SD2Outpaint.load(changed("unet", addition_embed_type="text_time"), folders[1], machine=CPU)


def rewritten(folder, part, change):
    file = folder / part / "diffusion_pytorch_model.safetensors"
    weights = change(load_file(file))
    save_file(weights, file, metadata={"format": "pt"})


def test_names_missing_weights(folders, tmp_path):
    copy = shutil.copytree(folders[0], tmp_path / "sd2")
    rewritten(
        copy, "unet", lambda weights: {k: v for k, v in weights.items() if "conv_in" not in k}
    )
    with pytest.raises(WrongCheckpointError, match=r"UNet2DConditionModel .*conv_in\.bias"):
        SD2Inpainting.load(copy, None, CPU)


def test_reads_attention_weights_under_their_older_names(folders, tmp_path):
    """The published VAE files use older names than diffusers does today."""
    copy = shutil.copytree(folders[0], tmp_path / "sd2")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def with_old_names(weights):
        for new, old in names.items():
            weights = {
                key.replace(new, old) if ".attentions." in key else key: value
                for key, value in weights.items()
            }
        return weights

    before = SD2Inpainting.load(copy, None, CPU)
    rewritten(copy, "vae", with_old_names)
    after = SD2Inpainting.load(copy, None, CPU)
    for first, second in zip(before.vae.parameters(), after.vae.parameters(), strict=True):
        assert torch.equal(first, second)

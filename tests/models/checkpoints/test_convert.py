"""Conversion of pickles: same tensors, no code executed, same bytes each time."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models.checkpoints.convert import convert
from models.checkpoints.errors import NotTensorsError
from tests.published import CreatesFolder


@pytest.mark.parametrize("inner", [None, "params_ema", "params", "state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_keeps_names_values_and_dtypes(tmp_path: Path, inner: str | None, zipped: bool) -> None:
    tensors = {
        "conv.weight": torch.randn(4, 3, 3, 3),
        "half": torch.randn(5).half(),
        "count": torch.tensor(7),
        "turned": torch.randn(3, 4).t(),
        "empty": torch.zeros(0, 3),
    }
    content = {inner: tensors, "epoch": 3} if inner else tensors
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    kept = load_file(tmp_path / "a.safetensors")
    assert set(kept) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(kept[name], tensor)
        assert kept[name].dtype == tensor.dtype
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.pth", "a.safetensors"}


def test_prefers_averaged_weights(tmp_path: Path) -> None:
    content = {"params": {"w": torch.zeros(2)}, "params_ema": {"w": torch.ones(2)}}
    torch.save(content, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert load_file(tmp_path / "a.safetensors")["w"].sum() == 2


def test_writes_shared_tensors_separately(tmp_path: Path) -> None:
    values = torch.arange(10.0)
    torch.save({"a": values, "b": values, "part": values[2:5]}, tmp_path / "a.bin")
    convert(tmp_path / "a.bin", tmp_path / "a.safetensors")
    kept = load_file(tmp_path / "a.safetensors")
    assert torch.equal(kept["a"], values)
    assert torch.equal(kept["b"], values)
    assert torch.equal(kept["part"], values[2:5])


def test_the_bytes_depend_on_the_tensors_only(tmp_path: Path) -> None:
    first, second = torch.randn(30), torch.randn(20)
    torch.save({"a": first, "b": second}, tmp_path / "1.pth")
    torch.save({"b": second, "a": first}, tmp_path / "2.pth", _use_new_zipfile_serialization=False)
    for name in ("1", "2"):
        convert(tmp_path / f"{name}.pth", tmp_path / f"{name}.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


@pytest.mark.parametrize("zipped", [True, False])
def test_executes_no_code(tmp_path: Path, zipped: bool) -> None:
    content = {"w": torch.zeros(1), "created": CreatesFolder(tmp_path / "created")}
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(NotTensorsError, match=r"a\.ckpt: holds more than tensors") as refused:
        convert(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "created").exists()
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {"a": 3, "b": torch.zeros(1)}])
def test_refuses_content_that_is_no_dictionary_of_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(
        NotTensorsError, match=r"a\.pth: (no dictionary of tensors|'a' is no tensor)"
    ):
        convert(tmp_path / "a.pth", tmp_path / "a.safetensors")


def test_refuses_a_truncated_file(tmp_path: Path) -> None:
    torch.save({"w": torch.randn(1000)}, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[:2000])
    with pytest.raises(NotTensorsError, match="is damaged"):
        convert(tmp_path / "a.pth", tmp_path / "a.safetensors")

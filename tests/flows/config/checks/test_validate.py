"""Mistakes that are found before anything starts."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from prefect._internal.schemas.validators import validate_parameter_size

from flows.config.checks.validate import check_paths, check_recipe_size, relative_paths
from flows.config.recipe import load_recipe
from models.data.files import FolderError
from models.training.settings import TrainingParameters
from tasks.store.errors import StoreAccessError
from tasks.store.folder import FolderBackend
from tests.tiny import draw_photos

RECIPE = load_recipe("demo")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_photos(tmp_path / "photos")
    return tmp_path / "photos"


def with_prompts(count: int, length: int) -> Any:
    """The demo's recipe with a prompt for each of many classes."""
    settings = dict(RECIPE.generators)
    caption = settings["multiview"].caption  # type: ignore[attr-defined]
    prompts = {f"kind {number}": "a" * length for number in range(count)}
    changed = caption.model_copy(update={"prompts": prompts})
    settings["multiview"] = settings["multiview"].model_copy(update={"caption": changed})
    return RECIPE.model_copy(update={"generators": settings})


def test_names_the_part_of_a_recipe_that_is_too_large() -> None:
    check_recipe_size(RECIPE, 524_288)
    check_recipe_size(with_prompts(400, 200), 524_288)
    with pytest.raises(
        ValueError, match=r"of them in generators\.multiview\.caption\.prompts"
    ) as e:
        check_recipe_size(with_prompts(4000, 160), 524_288)
    assert "PREFECT_SERVER_API_MAX_PARAMETER_SIZE" in str(e.value)
    assert len(str(e.value)) < 300
    check_recipe_size(with_prompts(4000, 160), 0)


def test_what_the_check_accepts_prefect_accepts_too() -> None:
    recipe = with_prompts(100, 120)
    limit = len(json.dumps(recipe.model_dump(mode="json"), separators=(",", ":"))) + 16_384
    check_recipe_size(recipe, limit)
    with pytest.raises(ValueError, match="the recipe takes"):
        check_recipe_size(recipe, limit - 1)
    folders = {"photos": "p" * 4096, "out": "o" * 4096, "store": "s" * 4096}
    parameters = {"recipe": recipe.model_dump(mode="json"), "paths": folders, "execution": {}}
    validate_parameter_size(parameters, limit)


def test_finds_the_relative_paths_of_a_recipe() -> None:
    training = TrainingParameters(weights_file=Path("weights/own.pth"))
    recipe = RECIPE.model_copy(update={"train": training, "backgrounds": Path("/data/scenes")})
    assert relative_paths(recipe) == {"train.weights_file": Path("weights/own.pth")}
    assert relative_paths(RECIPE) == {}


def test_a_folder_that_can_not_be_written_is_found_first(photos: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(
        FolderError, match=r"^--out .*file/out can't be written \(Not a directory\)"
    ):
        check_paths(photos, blocked / "out", str(tmp_path / "store"), RECIPE, None)


def test_a_store_that_takes_no_file_is_found_first(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_paths(photos, tmp_path / "out", str(tmp_path / "store"), RECIPE, None)
    before = sorted(os.listdir(tmp_path / "store"))

    def refuse(backend: FolderBackend, name: str, blob: bytes) -> None:
        raise StoreAccessError(f"store {backend.url}: writing {name} failed: Read-only file system")

    monkeypatch.setattr(FolderBackend, "put", refuse)
    with pytest.raises(StoreAccessError, match="Read-only file system"):
        check_paths(photos, tmp_path / "out", str(tmp_path / "store"), RECIPE, None)
    assert sorted(os.listdir(tmp_path / "store")) == before

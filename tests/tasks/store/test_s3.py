"""The artifact store on S3: the contract on two servers, and the ways an endpoint can fail."""

import http.server
import logging
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import botocore.session
import pytest

from tasks.engine.item_documents import load_records, save_result
from tasks.engine.work_items import GenerationRecord, Result
from tasks.store import s3 as store_s3
from tasks.store.backend import Backend
from tasks.store.errors import (
    CorruptArtifactError,
    StoreAccessError,
    StoreUnavailableError,
    UnreadableArtifactError,
)
from tasks.store.layout import LEASES, blob_name
from tasks.store.maintenance import sizes
from tasks.store.s3 import S3Backend
from tasks.store.s3_client import addressing_style
from tasks.store.store import Store, open_store
from tasks.store.verification import verify
from tests.s3 import (
    BUCKET,
    KEY,
    SECRET,
    Fault,
    FaultProxy,
    Server,
    free_port,
    serving,
    small_disk,
)
from tests.tasks.store.store_contract import (
    ArtifactContract,
    LayoutContract,
    LeaseContract,
    MaintenanceContract,
    NoLeaseContract,
    found,
    put,
)
from tests.tasks.store.store_worker import sample

pytest_plugins = ("tests.s3",)


@pytest.fixture
def url() -> str:
    """A prefix that no store has used."""
    return f"s3://{BUCKET}/runs/{uuid.uuid4().hex}"


class Pages(MaintenanceContract):
    def test_lists_more_than_a_page(self, backend: Backend) -> None:
        names = [f"documents/{number:05d}" for number in range(1003)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: backend.put(name, b"x"), names))
        assert [entry.name for entry in backend.entries("documents/")] == names


@pytest.mark.usefixtures("rclone")
class TestRclone(ArtifactContract, LayoutContract, NoLeaseContract, Pages):
    pass


@pytest.mark.usefixtures("moto")
class TestMoto(LayoutContract, LeaseContract, Pages):
    """The part that depends most on how a server lists, deletes and writes on a condition."""


def secrets_in(text: str) -> list[str]:
    return [
        secret for secret in (SECRET, "wrong-secret", "hidden-token", "pass-word") if secret in text
    ]


def refusal(address: str, caplog: pytest.LogCaptureFixture) -> str:
    """The line that refuses a store; it must come soon and hold no secret."""
    started = time.monotonic()
    with pytest.raises(StoreAccessError) as caught:
        open_store(address)
    assert time.monotonic() - started < 20
    whole = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert secrets_in(whole) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("variables", "address", "fix"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong-secret"},
            f"s3://{BUCKET}/a",
            "correct AWS_SECRET_ACCESS_KEY",
        ),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, f"s3://{BUCKET}/a", "correct AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": ""}, f"s3://{BUCKET}/a", "set AWS_ACCESS_KEY_ID and"),
        ({"AWS_PROFILE": "nobody"}, f"s3://{BUCKET}/a", "correct AWS_PROFILE"),
        ({"AWS_SESSION_TOKEN": "hidden-token\n"}, f"s3://{BUCKET}/a", "AWS_"),
        ({}, "s3://no-such-bucket/a", "there is no such bucket"),
        ({}, "s3://", "is no bucket's name"),
        ({}, "s3://b u/a", "is no bucket's name"),
        ({}, f"s3://{BUCKET}/../a", "plain letters"),
        ({}, f"s3://{KEY}:pass-word@{BUCKET}/a", "user or a password in the store's address"),
        ({"AWS_ENDPOINT_URL_S3": "foo"}, f"s3://{BUCKET}/a", "correct AWS_ENDPOINT_URL_S3"),
        ({"AWS_ENDPOINT_URL_S3": "ftp://host"}, f"s3://{BUCKET}/a", "correct AWS_ENDPOINT_URL_S3"),
        (
            {"AWS_ENDPOINT_URL_S3": f"http://{KEY}:pass-word@127.0.0.1:1"},
            f"s3://{BUCKET}/a",
            "user or a password in AWS_ENDPOINT_URL_S3",
        ),
    ],
)
@pytest.mark.usefixtures("rclone")
def test_refuses_a_wrong_setting_with_its_fix(
    variables: dict[str, str],
    address: str,
    fix: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(store_s3, "OPENING_S", 0.5)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    line = refusal(address, caplog)
    assert fix in line
    assert (address in line) or ("@" in address)


@pytest.mark.slow
@pytest.mark.usefixtures("aws_keys")
def test_refuses_an_endpoint_where_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    assert "check that the endpoint is up" in refusal(f"s3://{BUCKET}/a", caplog)


@pytest.mark.parametrize("status", [200, 404, 403])
@pytest.mark.usefixtures("aws_keys")
def test_refuses_an_endpoint_that_speaks_no_s3(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>Welcome!</html")

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    monkeypatch.setattr(store_s3, "OPENING_S", 0.5)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        line = refusal(f"s3://{BUCKET}/a", caplog)
        server.shutdown()
    assert ("use a key" if status == 403 else "AWS_ENDPOINT_URL_S3") in line


def test_does_not_retry_when_the_bucket_is_deleted(moto: Server) -> None:
    client = boto3.client("s3", endpoint_url=moto.url, region_name="us-east-1")
    client.create_bucket(Bucket="fleeting")
    backend = S3Backend("s3://fleeting/a")
    client.delete_bucket(Bucket="fleeting")
    started = time.monotonic()
    calls: list[Callable[[], object]] = [
        lambda: backend.put("x", b"x"),
        lambda: backend.get("x"),
    ]
    for call in calls:
        with pytest.raises(StoreAccessError, match="there is no such bucket"):
            call()
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_a_run_survives_an_endpoint_that_is_down_for_a_while(
    proxy: FaultProxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = open_store(url)
    samples = [sample(number) for number in range(60)]
    with ThreadPoolExecutor(4) as pool:
        pending = [pool.submit(store.put, *samples[0])]
        pending[0].result()
        with proxy.down_for(3):
            pending += [pool.submit(store.put, *one) for one in samples[1:]]
            assert not pending[-1].done()
        for one in pending:
            one.result(60)
    assert len(found(store, [artifact for artifact, _ in samples])) == 60
    assert verify(store).good
    lines = [record.getMessage() for record in caplog.records if record.name == "synthset.store"]
    assert len(lines) == 2, "one line at the start of the outage, one at its end"
    assert "does not answer" in lines[0]
    assert "check that the endpoint is up" in lines[0]
    assert "answers again after" in lines[1]


def test_opening_fails_soon_unless_it_may_wait(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "OPENING_S", 0.3)
    with proxy.down_for(2.0):
        with pytest.raises(StoreAccessError, match="check that the endpoint is up"):
            open_store(url)
        assert sizes(open_store(url, wait_s=30)) == []


def test_an_endpoint_that_stays_down_is_unavailable_not_refused(
    proxy: FaultProxy, url: str
) -> None:
    store = Store(S3Backend(url, wait_s=1.0))
    (artifact,) = put(store, 1)
    proxy.down()
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="check that the endpoint is up") as caught:
        put(store, 2)
    assert 1.0 <= time.monotonic() - started < 10
    assert url in str(caught.value)
    proxy.up()
    assert store.read(artifact) == sample(1)[1]


@pytest.mark.parametrize(
    "faults",
    [["unavailable"] * 3, ["reset"] * 3, ["truncated"] * 2, ["slow"]],
    ids=lambda faults: faults[0],
)
def test_repeats_a_failed_request(proxy: FaultProxy, url: str, faults: list[Fault]) -> None:
    """More faults in a row than botocore retries by itself."""
    store = open_store(url)
    (artifact,) = put(store, 1)
    proxy.fail("GET", *faults)
    assert store.read(artifact) == sample(1)[1]
    proxy.fail("PUT", *faults)
    (other,) = put(store, 2)
    assert store.read(other) == sample(2)[1]


def test_an_incomplete_object_is_corrupt(proxy: FaultProxy, url: str) -> None:
    store = open_store(url)
    (artifact,) = put(store, 1)
    S3Backend(url).put(blob_name(artifact), sample(1)[1][:500])
    with pytest.raises(CorruptArtifactError, match="500 of 1000 bytes"):
        store.read(artifact)
    assert f"DELETE /{BUCKET}/" in proxy.requests[-1], "the record is deleted"
    assert found(store, [artifact]) == []


def requests_of(proxy: FaultProxy, call: Callable[[], object]) -> dict[str, int]:
    """How many requests of each kind a call sends."""
    proxy.requests.clear()
    call()
    kinds = [
        "LIST" if "list-type=2" in request else request.split()[0] for request in proxy.requests
    ]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def test_sends_no_more_requests_than_needed(proxy: FaultProxy, url: str) -> None:
    store = open_store(url)
    artifacts = put(store, *range(4))
    uncomputed = [sample(number)[0] for number in range(1000, 1009)]

    assert requests_of(proxy, lambda: found(store, artifacts + uncomputed)) == {
        "GET": 13,
        "HEAD": 4,
    }
    assert requests_of(proxy, lambda: store.lost(artifacts + uncomputed)) == {"LIST": 1}
    assert requests_of(proxy, lambda: store.read(artifacts[0])) == {"GET": 1}
    assert requests_of(proxy, lambda: put(store, 5)) == {"PUT": 2}
    assert requests_of(proxy, lambda: open_store(url)) == {"GET": 1, "LIST": 1}


def test_a_finished_reference_costs_one_request_and_a_lost_artifact_is_noticed(
    proxy: FaultProxy, url: str
) -> None:
    """One GET for each document, and a listing of lost artifacts for 16 references."""
    store = open_store(url)
    samples = [sample(number, size=10) for number in range(150)]
    keys = [f"{number:064x}" for number in range(30)]
    records = [
        GenerationRecord(
            samples=(),
            artifacts=tuple(artifact for artifact, _ in samples[5 * at : 5 * at + 5]),
        )
        for at in range(len(keys))
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: store.put(*pair), samples))
        results = [Result(key=key) for key in keys]
        list(pool.map(save_result, [store] * 30, results, records))
    missing, corrupt = samples[27][0], samples[101][0]
    store.backend.delete(blob_name(missing))
    store.backend.put(blob_name(corrupt), b"others")
    loaded: list[GenerationRecord | None] = []

    def load() -> None:
        loaded[:] = load_records(store, [*keys, "f" * 64])

    assert requests_of(proxy, load) == {"GET": 31, "LIST": 2}
    assert loaded == [*records, None], "nobody has read the bad artifacts yet"
    for artifact in (missing, corrupt):
        with pytest.raises(UnreadableArtifactError):
            store.read(artifact)
    # A further GET for each bad artifact: it may have been recomputed.
    assert requests_of(proxy, load) == {"GET": 33, "LIST": 2}
    assert loaded == [None if at in (5, 20) else one for at, one in enumerate([*records, None])]
    store.put(*samples[27])
    store.put(*samples[101])
    load()
    assert loaded == [*records, None]
    assert requests_of(proxy, load) == {"GET": 31, "LIST": 2}


def test_one_client_serves_many_threads(proxy: FaultProxy, url: str) -> None:
    store = open_store(url)
    samples = [sample(number) for number in range(80)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda one: store.put(*one), samples))
        blobs = list(pool.map(store.read, [artifact for artifact, _ in samples]))
    assert blobs == [blob for _, blob in samples]


def test_an_outage_does_not_stop_the_work_under_a_lease(
    moto_proxy: FaultProxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(S3Backend(url, wait_s=0.3))
    with store.lease("unit", ttl_s=0.6) as held:
        assert held
        moto_proxy.down()
        deadline = time.monotonic() + 10
        while "could not renew the lease on unit" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        moto_proxy.up()
    assert list(S3Backend(url).entries(LEASES)) == []


def test_work_continues_without_a_lease_during_an_outage(
    moto_proxy: FaultProxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(S3Backend(url, wait_s=0.3))
    moto_proxy.down()
    with store.lease("unit") as held:
        assert held is False
    assert "computing unit without a lease, perhaps twice" in caplog.text


def test_a_lease_costs_two_requests(moto_proxy: FaultProxy, url: str) -> None:
    store = open_store(url)

    def hold() -> None:
        with store.lease("unit") as held:
            assert held

    # The first lease of a process is written twice, to see whether the server keeps the first.
    assert requests_of(moto_proxy, hold) == {"DELETE": 1, "PUT": 2}
    assert requests_of(moto_proxy, hold) == {"DELETE": 1, "PUT": 1}


@pytest.mark.slow
@pytest.mark.usefixtures("moto")
def test_two_processes_compute_a_unit_once(url: str, tmp_path: Path) -> None:
    open_store(url)
    ledger = tmp_path / "ledger"
    command = [
        sys.executable,
        "-m",
        "tests.tasks.store.store_worker",
        "once",
        url,
        "unit",
        str(ledger),
    ]
    workers = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in workers] == [0, 0]
    assert ledger.read_text() == "worked True\n"


@pytest.mark.parametrize(
    ("config", "host", "style"),
    [
        ("", "minio", "path"),
        ("", "s3.eu-west-1.amazonaws.com", "auto"),
        ("[default]\ns3 =\n  addressing_style = virtual\n", "oss.example.com", "virtual"),
    ],
)
def test_uses_the_addressing_style_of_the_endpoint(
    config: str, host: str, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert addressing_style(botocore.session.get_session(), host) == style


def test_a_key_that_may_not_write_is_named_before_any_work(proxy: FaultProxy, url: str) -> None:
    store = open_store(url)
    proxy.fail("PUT", "denied")
    with pytest.raises(StoreAccessError, match=r"s3:PutObject.* set SYNTHSET_S3_SSE") as caught:
        store.check_writable()
    assert "(AccessDenied)" in str(caught.value)
    proxy.fail("DELETE", "denied")
    with pytest.raises(StoreAccessError, match="s3:DeleteObject"):
        store.check_writable()
    store.check_writable()


@pytest.mark.parametrize(
    ("variables", "encryption", "key"),
    [
        ({"SYNTHSET_S3_SSE": "AES256"}, "AES256", None),
        ({"SYNTHSET_S3_KMS_KEY": "alias/photos"}, "aws:kms", "alias/photos"),
        (
            {"SYNTHSET_S3_SSE": "aws:kms", "SYNTHSET_S3_KMS_KEY": "some-id"},
            "aws:kms",
            "some-id",
        ),
    ],
)
def test_objects_are_encrypted_as_the_environment_says(
    moto: Server,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    encryption: str,
    key: str | None,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    store = open_store(url)
    (artifact,) = put(store, 1)
    with store.lease("unit"):
        (lease,) = store.backend.entries(LEASES)
        client = boto3.client("s3", endpoint_url=moto.url, region_name="us-east-1")
        prefix = url.removeprefix(f"s3://{BUCKET}/")
        for name in (blob_name(artifact), lease.name):
            head = client.head_object(Bucket=BUCKET, Key=f"{prefix}/{name}")
            assert (head["ServerSideEncryption"], head.get("SSEKMSKeyId")) == (encryption, key)
    assert store.read(artifact) == sample(1)[1]


@pytest.mark.usefixtures("moto")
def test_refuses_a_kms_key_that_the_encryption_does_not_use(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHSET_S3_SSE", "AES256")
    monkeypatch.setenv("SYNTHSET_S3_KMS_KEY", "some-id")
    with pytest.raises(StoreAccessError, match="set it to aws:kms, or unset the key"):
        open_store(url)


def test_archived_objects_are_named_counted_and_removed(moto: Server, url: str) -> None:
    store = open_store(url)
    archived, whole = put(store, 1, 2)
    client = boto3.client("s3", endpoint_url=moto.url, region_name="us-east-1")
    key = f"{url.removeprefix(f's3://{BUCKET}/')}/{blob_name(archived)}"
    client.put_object(Bucket=BUCKET, Key=key, Body=sample(1)[1], StorageClass="GLACIER")
    with pytest.raises(StoreAccessError, match=r"\(InvalidObjectState\): .* archived: restore"):
        store.read(archived)
    report = verify(store, remove_corrupt=True)
    assert (report.unreadable, report.kept) == ((archived.id,), ())
    assert "archived" in report.reasons[archived.id]
    assert found(store, [archived, whole]) == [whole]
    assert verify(store).good


def internal_errors() -> list[Fault]:
    """More faults than a test can wait for."""
    return ["internal"] * 100


def test_a_store_that_takes_no_bytes_is_soon_reported_as_full(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "FULL_AFTER_S", 0.5)
    store = open_store(url)
    (artifact,) = put(store, 1)
    proxy.fail("PUT", *internal_errors())
    started = time.monotonic()
    with pytest.raises(
        StoreAccessError, match="takes no 1,000 bytes: its disk may be full"
    ) as caught:
        put(store, 2)
    assert time.monotonic() - started < 10
    assert "make room" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.read(artifact) == sample(1)[1]


def test_repeats_a_write_that_failed_alone(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rclone's server answers 500 if a folder is deleted during a write."""
    monkeypatch.setattr(store_s3, "FULL_AFTER_S", 0.0)
    store = open_store(url)
    # botocore's two tries fail, then the test write for room succeeds.
    proxy.fail("PUT", "internal", "internal")
    (artifact,) = put(store, 1)
    assert store.read(artifact) == sample(1)[1]
    assert [entry.name for entry in store.backend.entries(".")] == []


def test_a_server_that_fails_at_everything_is_unavailable_and_not_full(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "FULL_AFTER_S", 0.0)
    store = Store(S3Backend(url, wait_s=1.0))
    proxy.fail("PUT", *internal_errors())
    proxy.fail("GET", *internal_errors())
    with pytest.raises(StoreUnavailableError, match="check that the endpoint is up"):
        put(store, 1)


@pytest.mark.usefixtures("aws_keys")
def test_reports_a_full_disk_under_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "FULL_AFTER_S", 0.5)
    with small_disk(tmp_path / "disk", "600k") as disk:
        (disk / BUCKET).mkdir()
        with serving(disk, tmp_path) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
            store = open_store(f"s3://{BUCKET}/a")
            store.put(*sample(1))
            with pytest.raises(StoreAccessError, match="its disk may be full"):
                store.put(*sample(2, size=2_000_000))
            assert store.read(sample(1)[0]) == sample(1)[1]
            store.put(*sample(3))

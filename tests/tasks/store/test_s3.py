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
from tasks.engine.results import Expansion, load_expansions, save_expansion

from tasks.store import existence as store_presence
from tasks.store import s3 as store_s3
from tasks.store.backend import Backend
from tasks.store.layout import LEASES, blob_name
from tasks.store.s3 import S3Backend
from tasks.store.store import Corrupt, Store, StoreRefused, StoreUnavailable, open_store
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
    LeaseContract,
    UpkeepContract,
    found,
    put,
)
from tests.tasks.store.store_worker import sample

pytest_plugins = ("tests.s3",)


@pytest.fixture
def url() -> str:
    """A prefix that nobody used."""
    return f"s3://{BUCKET}/runs/{uuid.uuid4().hex}"


class Pages(UpkeepContract):
    def test_lists_more_than_a_page(self, backend: Backend) -> None:
        names = [f"documents/{number:05d}" for number in range(1003)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: backend.put(name, b"x"), names))
        assert [entry.name for entry in backend.entries("documents/")] == names


@pytest.mark.usefixtures("rclone")
class TestRclone(ArtifactContract, LeaseContract, Pages):
    pass


@pytest.mark.usefixtures("moto")
class TestMoto(Pages):
    """The part that depends most on how a server lists and deletes."""


def secrets_in(text: str) -> list[str]:
    return [
        secret for secret in (SECRET, "wrong-secret", "hidden-token", "pass-word") if secret in text
    ]


def refusal(address: str, caplog: pytest.LogCaptureFixture) -> str:
    """The line by which a store is refused; it must come soon and tell no secret."""
    started = time.monotonic()
    with pytest.raises(StoreRefused) as caught:
        open_store(address)
    assert time.monotonic() - started < 20
    whole = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert secrets_in(whole) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("variables", "address", "mend"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong-secret"},
            f"s3://{BUCKET}/a",
            "mend AWS_SECRET_ACCESS_KEY",
        ),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, f"s3://{BUCKET}/a", "mend AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": ""}, f"s3://{BUCKET}/a", "set AWS_ACCESS_KEY_ID and"),
        ({"AWS_PROFILE": "nobody"}, f"s3://{BUCKET}/a", "mend AWS_PROFILE"),
        ({"AWS_SESSION_TOKEN": "hidden-token\n"}, f"s3://{BUCKET}/a", "AWS_"),
        ({}, "s3://no-such-bucket/a", "there is no such bucket"),
        ({}, "s3://", "is no bucket's name"),
        ({}, "s3://b u/a", "is no bucket's name"),
        ({}, f"s3://{BUCKET}/../a", "plain letters"),
        ({}, f"s3://{KEY}:pass-word@{BUCKET}/a", "user or a password in the store's address"),
        ({"AWS_ENDPOINT_URL_S3": "foo"}, f"s3://{BUCKET}/a", "mend AWS_ENDPOINT_URL_S3"),
        ({"AWS_ENDPOINT_URL_S3": "ftp://host"}, f"s3://{BUCKET}/a", "mend AWS_ENDPOINT_URL_S3"),
        (
            {"AWS_ENDPOINT_URL_S3": f"http://{KEY}:pass-word@127.0.0.1:1"},
            f"s3://{BUCKET}/a",
            "user or a password in AWS_ENDPOINT_URL_S3",
        ),
    ],
)
@pytest.mark.usefixtures("rclone")
def test_refuses_a_wrong_setting_and_names_the_mend(
    variables: dict[str, str],
    address: str,
    mend: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(store_s3, "OPENING_S", 0.5)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    line = refusal(address, caplog)
    assert mend in line
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


def test_a_bucket_that_vanishes_is_final(moto: Server) -> None:
    client = boto3.client("s3", endpoint_url=moto.url, region_name="us-east-1")
    client.create_bucket(Bucket="fleeting")
    backend = S3Backend("s3://fleeting/a")
    client.delete_bucket(Bucket="fleeting")
    started = time.monotonic()
    asks: list[Callable[[], object]] = [
        lambda: backend.put("x", b"x"),
        lambda: backend.get("x"),
    ]
    for ask in asks:
        with pytest.raises(StoreRefused, match="there is no such bucket"):
            ask()
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
    assert store.verify().good
    told = [record.getMessage() for record in caplog.records if record.name == "synthset.store"]
    assert len(told) == 2, "one line when it goes, one when it comes back"
    assert "does not answer" in told[0]
    assert "check that the endpoint is up" in told[0]
    assert "answers again after" in told[1]


def test_who_is_at_work_waits_for_a_store_that_others_hear_is_away(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "OPENING_S", 0.3)
    with proxy.down_for(2.0):
        with pytest.raises(StoreRefused, match="check that the endpoint is up"):
            open_store(url)
        assert open_store(url, patience_s=30).ls() == []


def test_an_endpoint_that_stays_down_is_unavailable_not_refused(
    proxy: FaultProxy, url: str
) -> None:
    store = Store(S3Backend(url, patience_s=1.0))
    (artifact,) = put(store, 1)
    proxy.down()
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="check that the endpoint is up") as caught:
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
def test_a_failing_answer_is_asked_for_again(
    proxy: FaultProxy, url: str, faults: list[Fault]
) -> None:
    """More in a row than botocore tries by itself."""
    store = open_store(url)
    (artifact,) = put(store, 1)
    proxy.fail("GET", *faults)
    assert store.read(artifact) == sample(1)[1]
    proxy.fail("PUT", *faults)
    (other,) = put(store, 2)
    assert store.read(other) == sample(2)[1]


def test_an_object_cut_short_in_the_store_is_corrupt(proxy: FaultProxy, url: str) -> None:
    store = open_store(url)
    (artifact,) = put(store, 1)
    S3Backend(url).put(blob_name(artifact), sample(1)[1][:500])
    with pytest.raises(Corrupt, match="500 of 1000 bytes"):
        store.read(artifact)
    assert f"DELETE /{BUCKET}/" in proxy.asked[-1], "the record has been forgotten"
    assert found(store, [artifact]) == []


def test_asks_no_more_than_needed(proxy: FaultProxy, url: str) -> None:
    store = open_store(url)
    artifacts = put(store, *range(4))
    unmade = [sample(number)[0] for number in range(1000, 1300)]

    def asked(ask: Callable[[], object]) -> dict[str, int]:
        proxy.asked.clear()
        ask()
        kinds = ["list" if "list-type=2" in one else one.split()[0] for one in proxy.asked]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    assert asked(lambda: found(store, artifacts + unmade[:9])) == {"GET": 13, "HEAD": 4}
    assert asked(lambda: found(store, artifacts + unmade)) == {"GET": 4, "list": 1}
    assert asked(lambda: store.absent(artifacts)) == {"HEAD": 4}
    assert asked(lambda: store.absent(artifacts + unmade)) == {"list": 1}
    assert asked(lambda: store.read(artifacts[0])) == {"GET": 1}
    assert asked(lambda: put(store, 5)) == {"PUT": 2}
    assert asked(lambda: open_store(url)) == {"GET": 1, "list": 1}


def test_many_references_are_looked_at_with_few_requests(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_presence, "LISTING_FROM", 100)
    store = open_store(url)
    samples = [sample(number, size=10) for number in range(150)]
    keys = [f"{number:064x}" for number in range(30)]
    expansions = [
        Expansion(
            reference=key,
            samples=(),
            artifacts=tuple(artifact for artifact, _ in samples[5 * at : 5 * at + 5]),
        )
        for at, key in enumerate(keys)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: store.put(*one), samples))
        list(pool.map(save_expansion, [store] * 30, keys, expansions))
    store._backend.delete(blob_name(samples[27][0]))
    store._backend.put(blob_name(samples[101][0]), b"others")
    asked = [*keys, "f" * 64]
    expected = [None if at in (5, 20) else one for at, one in enumerate(expansions)] + [None]

    def looked_at() -> dict[str, int]:
        proxy.asked.clear()
        assert list(load_expansions(store, asked)) == expected
        kinds = ["list" if "list-type=2" in one else one.split()[0] for one in proxy.asked]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    assert looked_at() == {"GET": 31, "list": 1}
    # As if there were so many that the stage is listed in parts.
    monkeypatch.setattr(store_presence, "_PAGE", 100)
    assert looked_at() == {"GET": 31, "list": 16}
    monkeypatch.setattr(store_presence, "_PAGE", 5)
    assert looked_at() == {"GET": 31, "list": 256}
    # As if the stage held far more than what is asked about: the first file is one too many.
    monkeypatch.setattr(store_presence, "_PAGE", 1000)
    monkeypatch.setattr(store_presence, "LISTED_PER_ARTIFACT", -10)
    assert looked_at() == {"GET": 31, "HEAD": 150, "list": 1}


def test_one_client_serves_many_threads(proxy: FaultProxy, url: str) -> None:
    store = open_store(url)
    samples = [sample(number) for number in range(80)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda one: store.put(*one), samples))
        blobs = list(pool.map(store.read, [artifact for artifact, _ in samples]))
    assert blobs == [blob for _, blob in samples]


def test_an_outage_does_not_stop_the_work_under_a_lease(
    proxy: FaultProxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(S3Backend(url, patience_s=0.3))
    with store.lease("unit", ttl_s=0.6) as held:
        assert held
        proxy.down()
        deadline = time.monotonic() + 10
        while "could not renew the lease on unit" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        proxy.up()
    assert list(S3Backend(url).entries(LEASES)) == []


def test_without_a_store_to_ask_the_work_goes_on_without_a_lease(
    proxy: FaultProxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(S3Backend(url, patience_s=0.3))
    proxy.down()
    with store.lease("unit") as held:
        assert held is False
    assert "working on unit without a lease, perhaps twice" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("rclone")
def test_two_processes_do_the_work_once(url: str, tmp_path: Path) -> None:
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
def test_puts_the_bucket_where_the_endpoint_expects_it(
    config: str, host: str, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert store_s3._addressing_style(botocore.session.get_session(), host) == style


def internal_errors() -> list[Fault]:
    """More of them than a test can wait for."""
    return ["internal"] * 100


def test_a_store_that_takes_no_bytes_is_soon_said_to_be_full(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "FULL_AFTER_S", 0.5)
    store = open_store(url)
    (artifact,) = put(store, 1)
    proxy.fail("PUT", *internal_errors())
    started = time.monotonic()
    with pytest.raises(StoreRefused, match="takes no 1,000 bytes: its disk may be full") as caught:
        put(store, 2)
    assert time.monotonic() - started < 10
    assert "make room" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.read(artifact) == sample(1)[1]


def test_a_write_that_fails_alone_is_tried_again(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rclone's server answers 500 where a folder is removed beside a write."""
    monkeypatch.setattr(store_s3, "FULL_AFTER_S", 0.0)
    store = open_store(url)
    # botocore's two tries fail, the look for room finds some.
    proxy.fail("PUT", "internal", "internal")
    (artifact,) = put(store, 1)
    assert store.read(artifact) == sample(1)[1]
    assert [entry.name for entry in store._backend.entries(".")] == []


def test_a_server_that_fails_at_everything_is_away_and_not_full(
    proxy: FaultProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "FULL_AFTER_S", 0.0)
    store = Store(S3Backend(url, patience_s=1.0))
    proxy.fail("PUT", *internal_errors())
    proxy.fail("GET", *internal_errors())
    with pytest.raises(StoreUnavailable, match="check that the endpoint is up"):
        put(store, 1)


@pytest.mark.usefixtures("aws_keys")
def test_a_full_disk_under_the_server_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "FULL_AFTER_S", 0.5)
    with small_disk(tmp_path / "disk", "600k") as disk:
        (disk / BUCKET).mkdir()
        with serving(disk, tmp_path) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
            store = open_store(f"s3://{BUCKET}/a")
            store.put(*sample(1))
            with pytest.raises(StoreRefused, match="its disk may be full"):
                store.put(*sample(2, size=2_000_000))
            assert store.read(sample(1)[0]) == sample(1)[1]
            store.put(*sample(3))

"""A scheduled run on two hosts: a host dies, a reference fails twice, the result is the same."""

import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun

from tests.e2e.s3_log import S3Request
from tests.e2e.scene import REFERENCES, Scene, set_scene
from tests.e2e.stack import HEARTBEAT_S, STORE, Stack, shorten_crash_rule, start_stack
from tests.s3 import BUCKET
from tests.tiny import files_of, manifest_of

DONE_BEFORE_KILL = 10
# An idle machine needs a third of it.
RUN_S = 600.0
PUBLISHED_AT_ONCE = 8


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Photos, recipe and the undisturbed run, which runs while the stack starts."""
    scene = set_scene(tmp_path)
    yield scene
    scene.process.kill()
    scene.process.wait()


@pytest.mark.e2e
@pytest.mark.timeout(1800)
def test_nothing_is_computed_twice_when_a_host_dies_and_a_reference_fails(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    with start_stack(tmp_path / "start_stack", "ada", "bob") as stack:
        run = deploy_and_start(stack, scene, tmp_path / "out")
        alone_s = scene.wait()
        failing, record = one_to_fail(scene)
        stack.s3.refuse(record, times=2)
        stack.s3.hold(lambda request: bob_writes_an_image(request, stack, scene, failing))
        for name in ("ada", "bob"):
            host = stack.hosts.others[name]
            stack.worker(host, name, "synthset-gpu", "persistent-process", SYNTHSET_GPUS="0")
        stack.worker(stack.hosts.here, "cpu", "synthset-cpu", "process")
        ready_s = time.monotonic() - began

        assert stack.s3.held.wait(RUN_S), stack.hosts.here.log("cpu")
        killed = stack.hosts.others["bob"].kill()
        stack.s3.released.set()
        assert killed >= 2

        with stack.client() as client:
            parent = await_end(client, run, stack)
            assert parent.state is not None
            assert parent.state.is_completed(), parent.state.message
            all_children = children_of(client, run)
            children = [child for child in all_children if child.name.endswith(" · images")]
            (training,) = (child for child in all_children if child not in children)
            assert training.state_name == "Completed"
            assert training.work_pool_name == "synthset-gpu"
            histories = {child.name: history(client, child) for child in children}

        names = [f"{name} · images" for name in scene.records]
        assert sorted(histories) == sorted(names)
        assert len(names) == REFERENCES
        assert {states[-1] for states in histories.values()} == {"Completed"}
        assert histories[f"{failing} · images"].count("Failed") == 2
        crashed = {name for name, states in histories.items() if "Crashed" in states}
        assert len(crashed) == 1
        attempts = sorted(states.count("Running") for states in histories.values())
        assert attempts == [1] * (REFERENCES - 2) + [2, 3]

        written = artifacts_written(stack, scene)
        again = {name: times for name, times in written.items() if times > 1}
        # A record says that an artifact is done. Each was written once, despite crash and failure.
        assert not [name for name in again if name.endswith(".record")]
        # Blobs in flight were written but not recorded: a few, of one stage each.
        assert sum(times - 1 for times in again.values()) <= 3 * PUBLISHED_AT_ONCE
        assert len({name.partition("/")[0] for name in again}) <= 1
        assert comparable(written) == comparable(scene.artifacts)
        assert len(written) == len(scene.artifacts)
        by_host = {
            name: sum(put.endswith(".record") for put in stack.s3.puts(name))
            for name in ("ada", "bob", "cpu")
        }
        assert by_host["bob"] > 0

        assert files_of(tmp_path / "out" / "datasets") == scene.datasets
        assert manifest_of(tmp_path / "out") == scene.rows
        requests = len(stack.s3.requests)
    seconds = parent.total_run_time.total_seconds()
    with capsys.disabled():
        print(
            f"\n  hosts          {stack.hosts.isolated or 'network namespaces'}"
            f"\n  photos         {'real' if scene.real else 'drawn: no ../shared/data'}"
            f"\n  references     {REFERENCES}, of which 1 crashed with its host, 1 failed twice"
            f"\n  records        {sum(name.endswith('.record') for name in written)}, each written "
            f"once: {by_host}"
            f"\n  blobs again    {sum(times - 1 for times in again.values())} in flight"
            f"\n  datasets       {len(scene.datasets)} files, byte-identical"
            f"\n  requests       {requests} to S3"
            f"\n  seconds        {alone_s:.0f} undisturbed in one process; {ready_s:.0f} until "
            f"workers start; {seconds:.0f} the scheduled run; {time.monotonic() - began:.0f} in all"
        )


def deploy_and_start(stack: Stack, scene: Scene, out: Path) -> UUID:
    """Deploy with the command line and schedule the parent run; its id."""
    folders = ("--photos", scene.photos, "--out", out, "--store", STORE)
    machines = ("--gpu", "ada:1", "--gpu", "bob:1")
    # This schedule fires on leap days only.
    when = ("--cron", "0 0 29 2 *", "--max-parallel", 4)
    stack.synthset("deploy", scene.recipe, *folders, *machines, *when)
    with stack.client() as client:
        shorten_crash_rule(client)
        for name in ("ada", "bob"):
            assert client.read_global_concurrency_limit_by_name(f"gpu:{name}:0").limit == 1
        nightly = client.read_deployment_by_name("pipeline/nightly")
        environment = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}
        return client.create_flow_run_from_deployment(
            nightly.id, job_variables={"env": environment}
        ).id


def one_to_fail(scene: Scene) -> tuple[str, str]:
    """A reference, and the object whose writing will be refused: a late stage."""
    name = sorted(scene.records)[2]
    records = [record for record in scene.records[name] if record.startswith("outpaint/")]
    return name, f"{BUCKET}/store/{records[1]}"


def bob_writes_an_image(request: S3Request, stack: Stack, scene: Scene, failing: str) -> bool:
    """Whether Bob is about to record an image in the middle of a stage and of the run."""
    if request.who != "bob" or request.method != "PUT" or not request.name.endswith(".record"):
        return False
    name = request.name.removeprefix(f"{BUCKET}/store/")
    if not name.startswith("outpaint/") or name in scene.records[failing]:
        return False
    return sum("/documents/records/" in name for name in stack.s3.puts()) >= DONE_BEFORE_KILL


def await_end(client: SyncPrefectClient, run: UUID, stack: Stack) -> FlowRun:
    """The parent run when it has ended."""
    deadline = time.monotonic() + RUN_S
    while True:
        parent = client.read_flow_run(run)
        if parent.state is not None and parent.state.is_final():
            return parent
        assert time.monotonic() < deadline, (
            parent.state,
            stack.hosts.here.log("cpu")[-3000:],
            stack.hosts.others["ada"].log("ada")[-3000:],
        )
        time.sleep(1)


def children_of(client: SyncPrefectClient, parent: UUID) -> list[FlowRun]:
    """All child runs of a parent run."""
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"parent:{parent}"]))
    return client.read_flow_runs(flow_run_filter=wanted, limit=200)


def history(client: SyncPrefectClient, run: FlowRun) -> list[str]:
    """The names of a run's states, in order."""
    states = client.read_flow_run_states(run.id)
    return [state.name or "" for state in sorted(states, key=lambda state: state.timestamp)]


def comparable(names: Collection[str]) -> set[str]:
    """Files with equal names in two runs: a score depends on a checkpoint, which has its time."""
    return {name for name in names if not name.startswith("score/")}


def artifacts_written(stack: Stack, scene: Scene) -> Counter[str]:
    """How often each file of an artifact was written, by its name in the store."""
    start = f"{BUCKET}/store/"
    names = {name.removeprefix(start): times for name, times in stack.s3.puts().items()}
    stages = {name.partition("/")[0] for name in scene.artifacts}
    return Counter({name: n for name, n in names.items() if name.partition("/")[0] in stages})

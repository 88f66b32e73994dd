"""`synthset deploy` against a real Prefect server, and `prefect deploy` on the same file."""

import contextlib
import copy
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ObjectNotFound

from deployments import apply as deploying
from deployments import gpu_slots as limits
from deployments.apply import ScheduledRun, deploy, gpu_limits
from deployments.automations import CRASH_RULE
from deployments.server.errors import ServerError
from deployments.work_pools import DEPLOYMENTS, POOLS, DeployError, apply_pool, merge_template
from flows.config.recipe import Recipe, load_recipe
from models.training.settings import TrainingParameters
from tests.s3 import free_port

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "someone:a-word"
RECIPE = load_recipe("demo")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a password and an empty database; its API's address."""
    import urllib.request

    folder, port = tmp_path_factory.mktemp("server"), free_port()
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_UI_ENABLED": "false",
    }
    command = [sys.executable, "-m", "deployments.server.main", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--no-services"], env=environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5)
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def known(server: str) -> Iterator[str]:
    """The server as this process's own."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server, PREFECT_API_AUTH_STRING: PASSWORD}):
        yield server


def scheduled(**more: Any) -> ScheduledRun:
    """A scheduled run with folders of a worker."""
    folders = {"photos": Path("/data/photos"), "out": Path("/data/out"), "store": "s3://bucket/p"}
    return ScheduledRun(**{"recipe": RECIPE, **folders, **more})


def read(name: str) -> Any:
    """A deployment, as the server has it."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name(name)


@pytest.mark.slow
def test_deploying_twice_changes_nothing(known: str) -> None:
    first = deploy(gpus=["ada:2", "bob:1"])
    assert [line for line in first if line.startswith("work pool")] == [
        "work pool synthset-cpu: created, type process",
        "work pool synthset-gpu: created, type persistent-process",
    ]
    assert [line.partition(":")[0] for line in first if line.startswith("deployment")] == [
        "deployment pipeline/nightly",
        "deployment generate_item/gpu",
        "deployment build_datasets/cpu",
        "deployment study/cpu",
        "deployment train_models/gpu",
    ]
    assert {f"limit gpu:{slot}: created, 1 slot" for slot in ("ada:0", "ada:1", "bob:0")} <= set(
        first
    )
    assert deploy(gpus=["ada:2", "bob:1"]) == []


@pytest.mark.slow
def test_the_scheduled_run_is_written_and_kept_by_later_deploys(known: str) -> None:
    deploy()
    assert deploy(scheduled(cron="30 3 * * *", timezone="Europe/Berlin")) == [
        "deployment pipeline/nightly: changed parameters, schedules"
    ]
    assert deploy() == []
    has = read("pipeline/nightly")
    (schedule,) = has.schedules
    assert schedule.active
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("30 3 * * *", "Europe/Berlin")
    assert has.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert has.global_concurrency_limit.limit == 1
    assert has.parameters["paths"]["store"] == "s3://bucket/p"
    assert has.parameters["execution"]["train_on"] == "train_models/gpu"
    assert Recipe.model_validate(has.parameters["recipe"]) == load_recipe("demo")
    # No path of the machine that deployed is in what other machines run.
    assert (has.path, has.pull_steps) == (None, [])


@pytest.mark.slow
def test_the_form_in_the_ui_has_the_fields_of_the_recipe(known: str) -> None:
    deploy()
    schema = read("pipeline/nightly").parameter_openapi_schema
    form = schema["definitions"]["Recipe"]["properties"]
    assert set(form) == set(Recipe.model_fields)
    assert {"photos", "out", "store"} <= set(schema["definitions"]["RunPaths"]["properties"])
    assert read("pipeline/nightly").enforce_parameter_schema


@pytest.mark.slow
def test_prefect_deploy_writes_the_same_as_synthset_deploy(known: str) -> None:
    deploy()
    command = ["--no-prompt", "deploy", "--prefect-file", "deployments/prefect.yaml", "--all"]
    ended = subprocess.run(
        [sys.executable, "-m", "prefect", *command],
        env={**os.environ, "PREFECT_API_URL": known, "PREFECT_API_AUTH_STRING": PASSWORD},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("successfully created") == 5
    assert deploy() == []


@pytest.mark.slow
def test_a_scheduled_run_does_not_start_while_another_is_active(known: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Pending, Running

    deploy()
    deployment = read("pipeline/nightly").id
    with get_client(sync_client=True) as client:
        first, second = (client.create_flow_run_from_deployment(deployment) for _ in range(2))
        client.set_flow_run_state(first.id, Pending())
        client.set_flow_run_state(first.id, Running())
        client.set_flow_run_state(second.id, Pending())
        assert client.read_flow_run(first.id).state_name == "Running"
        assert client.read_flow_run(second.id).state_name == "Cancelled"


@pytest.mark.slow
def test_values_of_an_operator_in_a_pool_are_kept(known: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate

    deploy(gpus=["eve:1"])
    with get_client(sync_client=True) as client:
        pool = client.read_work_pool("synthset-cpu")
        changed = copy.deepcopy(pool.base_job_template)
        properties = changed["variables"]["properties"]
        properties["stream_output"]["default"] = False
        properties["env"]["default"]["OMP_NUM_THREADS"] = "4"
        changed["job_configuration"]["labels"] = {"theirs": "in the advanced form"}
        client.update_work_pool(
            "synthset-cpu", WorkPoolUpdate(base_job_template=changed, concurrency_limit=3)
        )
        client.upsert_global_concurrency_limit_by_name("gpu:eve:0", 2)
    kept = "work pool synthset-cpu: kept your values of env, stream_output; --reset-pools"
    changed, kept_line = deploy(gpus=["eve:1"])
    assert changed == "work pool synthset-cpu: job template changed"
    assert kept_line.startswith(kept)
    assert deploy(gpus=["eve:1"]) == [kept_line]
    with get_client(sync_client=True) as client:
        after = client.read_work_pool("synthset-cpu")
        assert client.read_global_concurrency_limit_by_name("gpu:eve:0").limit == 2
    assert after.concurrency_limit == 3
    assert (
        after.base_job_template["job_configuration"] == pool.base_job_template["job_configuration"]
    )
    assert after.base_job_template["variables"]["properties"] == properties
    assert deploy(gpus=["eve:1"], reset_pools=True) == [changed]
    with get_client(sync_client=True) as client:
        assert client.read_work_pool("synthset-cpu").base_job_template == pool.base_job_template


def test_a_new_version_brings_its_defaults_except_for_values_of_an_operator() -> None:
    def template(deployed: dict[str, Any] | None = None, **defaults: Any) -> dict[str, Any]:
        properties = {name: {"default": value} for name, value in defaults.items()}
        known = {} if deployed is None else {"x-deployed": deployed}
        return {"job_configuration": {}, "variables": {"properties": properties, **known}}

    first = {"image": "gpu:1", "mem": "8g", "env": {"A": "1", "B": "1"}, "old": 1}
    second = {"image": "gpu:2", "mem": "9g", "env": {"A": "2", "B": "2", "C": "2"}, "new": 1}
    ours = template(second, **second)
    assert merge_template(template(first, **first), ours) == (ours, [])
    set_there = {**first, "mem": "32g", "env": {"A": "1", "B": "mine", "D": "mine"}}
    result, kept = merge_template(template(first, **set_there), ours)
    assert kept == ["mem", "env"]
    assert {name: p["default"] for name, p in result["variables"]["properties"].items()} == {
        "image": "gpu:2",
        "mem": "32g",
        "new": 1,
        "env": {"A": "2", "B": "mine", "C": "2", "D": "mine"},
    }
    assert merge_template(result, ours) == (result, kept)
    # In a pool that this program did not deploy, all values may be the operator's.
    assert merge_template(template(**{"image": "own:1"}), ours)[1] == ["image"]
    assert merge_template({}, ours) == (ours, [])


@pytest.mark.parametrize(
    ("infrastructure", "gpus", "limit"), [("docker", 3, 1), ("kubernetes", 3, 3)]
)
@pytest.mark.slow
def test_a_pool_runs_at_most_one_run_per_gpu(
    known: str, infrastructure: Any, gpus: int, limit: int
) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for name in POOLS:
            with contextlib.suppress(ObjectNotFound):
                client.delete_work_pool(name)
        for name in POOLS:
            apply_pool(client, name, infrastructure, gpus, reset=False)
        limits_of = {name: client.read_work_pool(name).concurrency_limit for name in POOLS}
        for name in POOLS:
            client.delete_work_pool(name)
    assert limits_of == {"synthset-cpu": None, "synthset-gpu": limit}


@pytest.mark.slow
def test_an_occupied_gpu_is_freed_when_no_run_can_hold_it(
    known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Completed, Pending, Running

    deploy(gpus=["fay:1"])
    with get_client(sync_client=True) as client:
        client.increment_concurrency_slots(["gpu:fay:0"], 1, "concurrency")
        run = client.create_flow_run_from_deployment(
            read("generate_item/gpu").id,
            parameters={
                "name": "multiview",
                "phase": "image",
                "store": "s3://bucket/p",
                "key": "0",
            },
        ).id
        for state in (Pending(), Running()):
            client.set_flow_run_state(run, state)
        assert deploy(gpus=["fay:1"]) == []
        client.set_flow_run_state(run, Completed())
        # Its lease may still be there.
        assert deploy(gpus=["fay:1"]) == []
        monkeypatch.setattr(limits, "ENDED_BEFORE", timedelta(0))
        (freed,) = deploy(gpus=["fay:1"])
        assert freed.startswith("limit gpu:fay:0: freed")
        assert client.read_global_concurrency_limit_by_name("gpu:fay:0").active_slots == 0
    assert deploy(gpus=["fay:1"]) == []


@pytest.mark.slow
def test_the_crash_rule_is_created_once(known: str) -> None:
    from prefect.client.orchestration import get_client

    deploy()
    deploy()
    with get_client(sync_client=True) as client:
        (rule,) = client.read_automations_by_name(CRASH_RULE)
    assert rule.enabled
    assert rule.trigger.after == {"prefect.flow-run.heartbeat"}
    assert rule.actions[0].state == "CRASHED"


@pytest.mark.slow
def test_names_a_pool_of_another_type(known: str) -> None:
    deploy()
    with pytest.raises(DeployError, match="synthset-cpu has type process, not docker"):
        deploy(infrastructure="docker")


@pytest.mark.slow
def test_names_a_wrong_password_in_one_line(server: str) -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    settings = {PREFECT_API_URL: server, PREFECT_API_AUTH_STRING: "someone:wrong-word"}
    with temporary_settings(settings), pytest.raises(ServerError) as refused:
        deploy()
    assert "PREFECT_API_AUTH_STRING" in str(refused.value)
    assert "wrong-word" not in str(refused.value)


def test_names_a_missing_server_and_how_to_start_it() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    nobody = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: nobody}), pytest.raises(ServerError) as absent:
        deploy()
    assert nobody in str(absent.value)
    assert "synthset up" in str(absent.value)


def test_names_a_missing_server_setting() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ServerError, match="set PREFECT_API_URL"),
    ):
        deploy()


@pytest.mark.parametrize(("cron", "timezone"), [("at noon", "UTC"), ("0 2 * * *", "Mars/Base")])
def test_names_a_bad_schedule(cron: str, timezone: str) -> None:
    with pytest.raises(DeployError, match="--cron"):
        list(
            deploying._wanted_deployments(
                DEPLOYMENTS / "prefect.yaml", scheduled(cron=cron, timezone=timezone)
            )
        )


@pytest.mark.parametrize("machine", ["ada", "ada:", ":2", "ada:0", "ada:x", "ada:-1", "ada:1000"])
def test_names_a_bad_machine(machine: str) -> None:
    with pytest.raises(DeployError, match="host:number"):
        gpu_limits(machine)


@pytest.mark.parametrize(
    ("option", "folders"),
    [
        ("--photos", {"photos": Path("photos")}),
        ("--out", {"out": Path("runs/nightly")}),
        ("--store", {"store": "store"}),
        ("backgrounds", {"recipe": RECIPE.model_copy(update={"backgrounds": Path("scenes")})}),
        (
            "train.weights_file",
            {
                "recipe": RECIPE.model_copy(
                    update={"train": TrainingParameters(weights_file=Path("own.pth"))}
                )
            },
        ),
    ],
)
def test_refuses_a_relative_folder_before_it_asks_the_server(
    option: str, folders: dict[str, Any]
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(DeployError, match=f"{option} .*: a relative path.* write it as /"),
    ):
        deploy(scheduled(**folders))


@pytest.mark.parametrize(
    ("folders", "line"),
    [
        ({"store": "gs://bucket/p"}, "--store gs://bucket/p: a store can't be opened by gs://"),
        ({"out": Path("/data/photos/out")}, "--out /data/photos/out lies in the photo folder"),
    ],
)
def test_refuses_folders_that_would_fail_on_the_workers(folders: dict[str, Any], line: str) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ValueError, match=line),
    ):
        deploy(scheduled(**folders))


@pytest.mark.slow
def test_a_recipe_over_the_limit_of_the_server_changes_nothing(known: str) -> None:
    deploy()
    before = read("pipeline/nightly")
    recipe = RECIPE.model_copy(update={"name": "n" * 600_000})
    with pytest.raises(ValueError, match=r"600,002 of them in name; the Prefect server takes 507"):
        deploy(scheduled(recipe=recipe))
    assert read("pipeline/nightly") == before


@pytest.mark.slow
def test_names_the_pool_type_of_earlier_versions(known: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    deploy()
    with get_client(sync_client=True) as client:
        client.delete_work_pool("synthset-gpu")
        client.create_work_pool(WorkPoolCreate(name="synthset-gpu", type="warm-process"))
    try:
        with pytest.raises(DeployError, match="type warm-process, not persistent-process"):
            deploy()
    finally:
        with get_client(sync_client=True) as client:
            client.delete_work_pool("synthset-gpu")
        deploy()


@pytest.mark.slow
def test_deployments_of_earlier_versions_are_deleted(known: str) -> None:
    from prefect.client.orchestration import get_client

    deploy()
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("regenerate")
        client.create_deployment(flow_id=flow_id, name="nightly", parameters={})
    (line,) = deploy()
    assert line.startswith("deployment regenerate/nightly: deleted; pipeline/nightly replaces it")
    assert deploy() == []

"""What ``synthset deploy`` puts on a Prefect server: pools, deployments, limits, automations.

It reads ``deployments/``, compares it with the server and writes only what differs. Deploying twice
changes nothing.
"""

import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import get_current_settings
from prefect.utilities.callables import parameter_schema
from pydantic import Field, ValidationError

from deployments.automations import apply_crash_rule, apply_resume_rule
from deployments.gpu_slots import apply_limit
from deployments.server.client import server_client, smaller_limit
from deployments.server.main import LEASES
from deployments.work_pools import (
    DEPLOYMENTS,
    GPU_POOL,
    POOLS,
    DeployError,
    Infrastructure,
    apply_pool,
)
from flows.config.checks.validate import check_recipe_size, refuse_out_in_photos, relative_paths
from flows.config.recipe import Recipe
from models.data.records import Record

IN_MEMORY = "prefect.server.concurrency.lease_storage.memory"
SCHEDULED, TRAINING = "pipeline/nightly", "train_models/gpu"
# Deployments of earlier versions, whose flows don't exist any more, and what replaces them.
REPLACED = {
    "regenerate/nightly": SCHEDULED,
    "expand_reference/gpu": "generate_item/gpu",
    "assemble/cpu": "build_datasets/cpu",
    "train/gpu": TRAINING,
}


class ScheduledRun(Record):
    """What the scheduled run works on, and when. Folders are as the workers see them."""

    recipe: Recipe
    photos: Path
    out: Path
    store: str = Field(description="Artifact store that every worker reaches.")
    cron: str = "0 2 * * *"
    timezone: str = "UTC"
    active: bool = True
    max_parallel: int = Field(
        16, ge=1, description="Child runs that wait or run at a time: a few per GPU slot."
    )
    train_in_parent: bool = Field(
        False, description="Train in the parent run's own process, not on the GPU workers."
    )


def deploy(
    scheduled: ScheduledRun | None = None,
    infrastructure: Infrastructure = "process",
    gpus: Sequence[str] = (),
    reset_pools: bool = False,
) -> list[str]:
    """Bring the server to what ``deployments/`` says.

    Without ``scheduled``, parameters and schedule stay as they are on the server; a new server gets
    an inactive schedule. Values that an operator has set in the work pools stay too.

    Args:
        infrastructure: what the workers of both pools start.
        gpus: ``host:number`` of each machine with GPUs; by default this machine.

    Returns:
        A line for everything that was created, changed, kept though it differs, or needs a fix.

    Raises:
        DeployError: a relative folder, a pool of another type, or a bad schedule.
        ValueError: the recipe is larger than the server's limit.
        ServerError: no server, or no right to it.
    """
    if scheduled is not None:
        _check_scheduled(scheduled)
    limits = [name for machine in gpus or [this_machine()] for name in gpu_limits(machine)]
    with server_client() as client:
        if scheduled is not None:
            limit = get_current_settings().server.api.max_parameter_size
            check_recipe_size(scheduled.recipe, smaller_limit(client, limit))
        changes: list[str | None] = [lease_warning(client)]
        for name in POOLS:
            changes += apply_pool(
                client, name, infrastructure, len(limits) if gpus else 1, reset_pools
            )
        changes += [
            _apply_deployment(client, wanted, keep_values=scheduled is None)
            for wanted in _wanted_deployments(DEPLOYMENTS / "prefect.yaml", scheduled)
        ]
        changes += [_delete_replaced(client, old, new) for old, new in REPLACED.items()]
        changes += [apply_limit(client, name, GPU_POOL) for name in limits]
        changes += [apply_crash_rule(client), apply_resume_rule(client)]
    return [change for change in changes if change]


def gpu_limits(machine: str) -> list[str]:
    """The names of a machine's limits, ``gpu:<host>:<n>``, from ``host:number``.

    Raises:
        DeployError: the text has another form.
    """
    host, _, number = machine.rpartition(":")
    if not host or not number.isdecimal() or not 1 <= int(number) <= 64:
        raise DeployError(f"--gpu {machine}: write it as host:number of GPUs, such as ada:2")
    return [f"gpu:{host}:{slot}" for slot in range(int(number))]


def this_machine() -> str:
    """This machine as ``host:number of GPUs``; a machine without a GPU counts as one."""
    return f"{socket.gethostname()}:{max(1, count_gpus())}"


def count_gpus() -> int:
    """The number of GPUs that nvidia-smi lists; 0 without it."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return len(re.findall(r"^GPU \d+:", listing, re.MULTILINE))


def lease_warning(client: SyncPrefectClient) -> str | None:
    """A line about a server whose restart would crash runs; None if it is safe or unknown."""
    try:
        settings = client.request("GET", "/admin/settings").json()
        storage = settings["server"]["concurrency"]["lease_storage"]
    except (httpx.HTTPStatusError, ValueError, LookupError, TypeError):
        return None
    if storage != IN_MEMORY:
        return None
    return (
        "server: keeps leases in memory, so its restart crashes scheduled runs; set on it "
        f"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE={LEASES}"
    )


def _wanted_deployments(file: Path, scheduled: ScheduledRun | None) -> Iterator[dict[str, Any]]:
    """The arguments of `create_deployment` for each entry of the file, and ``flow``, its name."""
    for entry in yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
        limit = entry.get("concurrency_limit") or {}
        strategy = limit.get("collision_strategy")
        wanted = {
            "flow": flow.name,
            "name": entry["name"],
            "entrypoint": entry["entrypoint"],
            "description": entry["description"],
            "tags": entry["tags"],
            "work_pool_name": entry["work_pool"]["name"],
            "work_queue_name": entry["work_pool"]["work_queue_name"],
            "parameters": entry.get("parameters") or {},
            "parameter_openapi_schema": _parameter_form(flow),
            "enforce_parameter_schema": entry["enforce_parameter_schema"],
            "schedules": [_schedule(**schedule) for schedule in entry["schedules"]],
            "concurrency_limit": limit.get("limit"),
            "concurrency_options": (
                ConcurrencyOptions(collision_strategy=strategy) if strategy else None
            ),
            "pull_steps": [],
        }
        if scheduled is not None and f"{flow.name}/{entry['name']}" == SCHEDULED:
            wanted |= _scheduled_values(scheduled, wanted["parameters"])
        yield wanted


def _parameter_form(flow: Flow[Any, Any]) -> dict[str, Any]:
    """The JSON schema of a flow's parameters, as ``prefect deploy`` writes it."""
    schema = parameter_schema(flow).model_dump_for_openapi()
    return {name: part for name, part in schema.items() if name != "definitions" or part}


def _scheduled_values(scheduled: ScheduledRun, defaults: dict[str, Any]) -> dict[str, Any]:
    paths = {
        "photos": str(scheduled.photos),
        "out": str(scheduled.out),
        "store": scheduled.store,
    }
    execution = defaults["execution"] | {"max_parallel": scheduled.max_parallel}
    if scheduled.train_in_parent:
        execution["train_on"] = None
    schedule = _schedule("nightly", scheduled.cron, scheduled.timezone, scheduled.active)
    # The whole recipe is stored: a later version with other defaults does not change this run.
    recipe = scheduled.recipe.model_dump(mode="json")
    parameters = {"recipe": recipe, "paths": paths, "execution": execution}
    return {"parameters": parameters, "schedules": [schedule]}


def _delete_replaced(client: SyncPrefectClient, old: str, new: str) -> str | None:
    try:
        client.delete_deployment(client.read_deployment_by_name(old).id)
    except ObjectNotFound:
        return None
    return f"deployment {old}: deleted; {new} replaces it, with its own parameters and schedule"


def _check_scheduled(scheduled: ScheduledRun) -> None:
    """Check folders as far as this machine knows them.

    Raises:
        DeployError: a path is relative, or the store has an unknown scheme.
        ValueError: ``out`` lies in the photo folder.
    """
    folders = {"--photos": scheduled.photos, "--out": scheduled.out}
    scheme = scheduled.store.partition("://")[0] if "://" in scheduled.store else None
    if scheme is None:
        folders["--store"] = Path(scheduled.store)
    elif scheme != "s3":
        raise DeployError(
            f"--store {scheduled.store}: a store can't be opened by {scheme}://; use an absolute "
            "folder or s3://bucket/prefix"
        )
    folders |= relative_paths(scheduled.recipe)
    for option, folder in folders.items():
        if not folder.is_absolute():
            raise DeployError(
                f"{option} {folder}: a relative path; workers run in other folders: write it as "
                f"{Path.cwd() / folder}"
            )
    refuse_out_in_photos(scheduled.photos, scheduled.out)


def _schedule(slug: str, cron: str, timezone: str, active: bool) -> DeploymentScheduleCreate:
    try:
        when = CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        fault = error.errors()[0]
        raise DeployError(
            f"--cron {cron!r} --timezone {timezone!r}: {fault['msg']}; write them as "
            "'0 2 * * *' and Europe/Berlin"
        ) from error
    return DeploymentScheduleCreate(slug=slug, schedule=when, active=active)


def _apply_deployment(
    client: SyncPrefectClient, wanted: dict[str, Any], keep_values: bool
) -> str | None:
    """Create or change one deployment; ``keep_values`` keeps its parameters and schedule."""
    name = f"{wanted['flow']}/{wanted['name']}"
    arguments = {field: value for field, value in wanted.items() if field != "flow"}
    try:
        current: DeploymentResponse | None = client.read_deployment_by_name(name)
    except ObjectNotFound:
        current = None
    if current is not None and keep_values and current.parameters:
        arguments["parameters"] = current.parameters
        arguments["schedules"] = [
            DeploymentScheduleCreate(
                slug=schedule.slug, schedule=schedule.schedule, active=schedule.active
            )
            for schedule in current.schedules
        ]
    changed = sorted(_differing_fields(current, arguments)) if current else []
    if current is not None and not changed:
        return None
    client.create_deployment(flow_id=client.create_flow_from_name(wanted["flow"]), **arguments)
    return f"deployment {name}: {'changed ' + ', '.join(changed) if current else 'created'}"


def _differing_fields(current: DeploymentResponse, wanted: dict[str, Any]) -> Iterator[str]:
    limit = current.global_concurrency_limit
    on_server = {field: getattr(current, field) for field in wanted} | {
        "pull_steps": current.pull_steps or [],
        "concurrency_limit": limit and limit.limit,
    }
    on_server, wanted = _comparable(on_server), _comparable(wanted)
    return (field for field in wanted if on_server[field] != wanted[field])


def _comparable(fields: dict[str, Any]) -> dict[str, Any]:
    options = fields["concurrency_options"]
    schedules = (
        (schedule.slug or "", schedule.active, schedule.schedule.model_dump_json())
        for schedule in fields["schedules"]
    )
    return fields | {
        "tags": sorted(fields["tags"]),
        "schedules": sorted(schedules),
        "concurrency_options": options and options.collision_strategy,
    }

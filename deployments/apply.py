"""What ``synthset deploy`` puts on a Prefect server: pools, deployments, limits, the zombie rule.

All of it is read from ``deployments/`` and compared with what the server has; only what differs is
written, so that deploying twice changes nothing.
"""

import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import get_current_settings
from prefect.utilities.callables import parameter_schema
from pydantic import Field, ValidationError

from deployments.automations import apply_resume_rule, apply_zombie_rule
from deployments.gpu_slots import apply_limit
from deployments.server.main import LEASES
from deployments.work_pools import (
    DEPLOYMENTS,
    GPU_POOL,
    POOLS,
    DeployError,
    Infrastructure,
    apply_pool,
)
from flows.config.recipe import Recipe
from models.data.records import Record

MEMORY = "prefect.server.concurrency.lease_storage.memory"
NIGHTLY, TRAINING = "regenerate/nightly", "train/gpu"


class Nightly(Record):
    """What the scheduled run works on, and when. Folders are as the workers see them."""

    recipe: Recipe
    photos: Path
    out: Path
    store: str = Field(description="Artifact store that every worker reaches.")
    cron: str = "0 2 * * *"
    timezone: str = "UTC"
    active: bool = True
    at_once: int = Field(
        16, ge=1, description="Child runs waiting or at work at a time: a few per GPU slot."
    )
    training: str | None = Field(
        TRAINING, description="Deployment that trains; none: the parent run's own process."
    )


def deploy(
    nightly: Nightly | None = None,
    infrastructure: Infrastructure = "process",
    gpus: Sequence[str] = (),
    reset_pools: bool = False,
) -> list[str]:
    """Bring the server to what ``deployments/`` says.

    Without ``nightly``, the parameters and the schedule that the server has are left as they are;
    on a server that has none, the schedule is written but not active. So are the values that an
    operator has set in the work pools.

    Args:
        nightly: the scheduled run.
        infrastructure: what the workers of both pools start.
        gpus: ``host:number`` of the machines with GPUs; none: this machine, as it is.
        reset_pools: bring the work pools to their templates, whatever was set there.

    Returns:
        A line per thing that was created, changed, kept though it differs, or is to be mended;
        none if all was as it should be.

    Raises:
        DeployError: no server, no right to it, a pool of another type, or a bad schedule.
    """
    slots = [slot for given in gpus or [this_host()] for slot in gpu_limits(given)]
    with _server() as client:
        changes: list[str | None] = [lease_warning(client)]
        for name in POOLS:
            changes += apply_pool(
                client, name, infrastructure, len(slots) if gpus else 1, reset_pools
            )
        changes += [
            _apply_deployment(client, wanted, nightly is None)
            for wanted in _wanted(DEPLOYMENTS / "prefect.yaml", nightly)
        ]
        changes += [apply_limit(client, slot, GPU_POOL) for slot in slots]
        changes += [apply_zombie_rule(client), apply_resume_rule(client)]
    return [change for change in changes if change]


def gpu_limits(machine: str) -> list[str]:
    """The names of a machine's limits, ``gpu:<host>:<n>``, from ``host:number``.

    Raises:
        DeployError: it is not written so.
    """
    host, _, number = machine.rpartition(":")
    if not host or not number.isdecimal() or not 1 <= int(number) <= 64:
        raise DeployError(f"--gpu {machine}: write it as host:number of GPUs, such as ada:2")
    return [f"gpu:{host}:{slot}" for slot in range(int(number))]


def this_host() -> str:
    """This machine as ``host:number``; without a GPU it has one slot, the CPU's."""
    return f"{socket.gethostname()}:{max(1, count_gpus())}"


def count_gpus() -> int:
    """How many GPUs this machine has, as its driver tells."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return len(re.findall(r"^GPU \d+:", listed, re.MULTILINE))


def lease_warning(client: SyncPrefectClient) -> str | None:
    """A line on a server whose restart crashes runs, None if it is none or does not tell."""
    try:
        settings = client.request("GET", "/admin/settings").json()
        storage = settings["server"]["concurrency"]["lease_storage"]
    except (httpx.HTTPStatusError, ValueError, LookupError, TypeError):
        return None
    if storage != MEMORY:
        return None
    return (
        "server: keeps leases in memory, so that its restart crashes nights; set there "
        f"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE={LEASES}"
    )


@contextmanager
def _server() -> Iterator[SyncPrefectClient]:
    url = get_current_settings().api.url
    if url is None:
        raise DeployError(
            "no Prefect server is set: start one with 'synthset up' and set PREFECT_API_URL to it"
        )
    try:
        with get_client(sync_client=True) as client:
            yield client
    except (httpx.TransportError, RuntimeError) as error:
        if not isinstance(error, httpx.TransportError) and "Failed to reach API" not in str(error):
            raise
        raise DeployError(
            f"the Prefect server {url} does not answer: start it with 'synthset up' or 'docker "
            "compose up -d', or mend PREFECT_API_URL"
        ) from error
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise DeployError(
                f"the Prefect server {url} wants a password: set PREFECT_API_AUTH_STRING to "
                "user:password"
            ) from error
        raise DeployError(
            f"the Prefect server {url} refuses: {error.response.status_code} "
            f"{error.response.text[:300]}"
        ) from error


def _wanted(file: Path, nightly: Nightly | None) -> Iterator[dict[str, Any]]:
    """The arguments of `create_deployment` per deployment of the file, and ``flow``, its name."""
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
            "parameter_openapi_schema": _schema(flow),
            "enforce_parameter_schema": entry["enforce_parameter_schema"],
            "schedules": [_schedule(**schedule) for schedule in entry["schedules"]],
            "concurrency_limit": limit.get("limit"),
            "concurrency_options": (
                ConcurrencyOptions(collision_strategy=strategy) if strategy else None
            ),
            "pull_steps": [],
        }
        if nightly is not None and f"{flow.name}/{entry['name']}" == NIGHTLY:
            wanted |= _nightly_part(nightly, wanted["parameters"]["place"])
        yield wanted


def _schema(flow: Flow[Any, Any]) -> dict[str, Any]:
    """The form of a flow's parameters; like ``prefect deploy``, without an empty part."""
    schema = parameter_schema(flow).model_dump_for_openapi()
    return {name: part for name, part in schema.items() if name != "definitions" or part}


def _nightly_part(nightly: Nightly, place: dict[str, Any]) -> dict[str, Any]:
    ours = {
        **{"photos": str(nightly.photos), "out": str(nightly.out), "store": nightly.store},
        **{"at_once": nightly.at_once, "training": nightly.training},
    }
    schedule = _schedule("nightly", nightly.cron, nightly.timezone, nightly.active)
    # The recipe is written out in full: a default that a later version changes changes no night.
    recipe = nightly.recipe.model_dump(mode="json")
    return {"parameters": {"recipe": recipe, "place": place | ours}, "schedules": [schedule]}


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


def _apply_deployment(client: SyncPrefectClient, wanted: dict[str, Any], keep: bool) -> str | None:
    """Create or change one deployment; ``keep`` what its operator set: parameters and schedule."""
    name = f"{wanted['flow']}/{wanted['name']}"
    arguments = {field: value for field, value in wanted.items() if field != "flow"}
    try:
        has: DeploymentResponse | None = client.read_deployment_by_name(name)
    except ObjectNotFound:
        has = None
    if has is not None and keep and has.parameters:
        arguments["parameters"] = has.parameters
        arguments["schedules"] = [
            DeploymentScheduleCreate(slug=one.slug, schedule=one.schedule, active=one.active)
            for one in has.schedules
        ]
    differing = sorted(_differing(has, arguments)) if has else []
    if has is not None and not differing:
        return None
    client.create_deployment(flow_id=client.create_flow_from_name(wanted["flow"]), **arguments)
    return f"deployment {name}: {'changed ' + ', '.join(differing) if has else 'created'}"


def _differing(has: DeploymentResponse, wanted: dict[str, Any]) -> Iterator[str]:
    plain = (
        *("entrypoint", "description", "work_pool_name", "work_queue_name", "parameters"),
        *("parameter_openapi_schema", "enforce_parameter_schema"),
    )
    views: dict[str, Callable[[], tuple[Any, Any]]] = {
        "tags": lambda: (sorted(has.tags), sorted(wanted["tags"])),
        "pull_steps": lambda: (has.pull_steps or [], wanted["pull_steps"]),
        "schedules": lambda: (_told(has.schedules), _told(wanted["schedules"])),
        "concurrency_limit": lambda: (
            has.global_concurrency_limit and has.global_concurrency_limit.limit,
            wanted["concurrency_limit"],
        ),
        "concurrency_options": lambda: (
            has.concurrency_options and has.concurrency_options.collision_strategy,
            wanted["concurrency_options"] and wanted["concurrency_options"].collision_strategy,
        ),
    }
    yield from (field for field in plain if getattr(has, field) != wanted[field])
    yield from (field for field, view in views.items() if len({repr(one) for one in view()}) > 1)


def _told(schedules: Sequence[Any]) -> list[tuple[Any, ...]]:
    return sorted((one.slug or "", one.active, one.schedule.model_dump_json()) for one in schedules)

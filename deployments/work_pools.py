"""The work pools of ``synthset deploy``: templates of ``deployments/work-pools``, merged with what
an operator has set in the UI.
"""

import copy
import json
from pathlib import Path
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

DEPLOYMENTS = Path(__file__).resolve().parent
Infrastructure = Literal["process", "docker", "kubernetes"]
GPU_POOL = "synthset-gpu"
# For each pool and infrastructure: the worker type and the file of the job template.
POOLS: dict[str, dict[Infrastructure, tuple[str, str]]] = {
    "synthset-cpu": {
        "process": ("process", "process-cpu"),
        "docker": ("docker", "docker-cpu"),
        "kubernetes": ("kubernetes", "kubernetes-cpu"),
    },
    GPU_POOL: {
        "process": ("persistent-process", "persistent-process"),
        "docker": ("docker", "docker-gpu"),
        "kubernetes": ("kubernetes", "kubernetes-gpu"),
    },
}
# The deployed defaults are kept in the template. An operator set what differs from them later.
_DEPLOYED = "x-deployed"
_ABSENT = object()


class DeployError(ValueError):
    """The server or the request does not allow a deployment; one line with the fix."""


def apply_pool(
    client: SyncPrefectClient, name: str, infrastructure: Infrastructure, gpus: int, reset: bool
) -> list[str]:
    """Create a pool, or change it to its template, except for values that an operator has set.

    Args:
        gpus: the number of GPUs of all machines. It limits the active runs of pools whose runs hold
            no GPU limit.

    Returns:
        A line for what was done, and one for what was kept.

    Raises:
        DeployError: the pool has another type.
    """
    kind, template = POOLS[name][infrastructure]
    wanted = read_template(template)
    wanted["variables"][_DEPLOYED] = _defaults(wanted)
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        limit = _limit(infrastructure, gpus) if name == GPU_POOL else None
        new = WorkPoolCreate(
            name=name, type=kind, base_job_template=wanted, concurrency_limit=limit
        )
        client.create_work_pool(new)
        limited = "" if limit is None else f", at most {limit} runs at a time"
        return [f"work pool {name}: created, type {kind}{limited}"]
    if pool.type != kind:
        raise DeployError(
            f"work pool {name} has type {pool.type}, not {kind}, and a pool keeps its type: "
            f"delete it with 'prefect work-pool delete {name}', or choose its --infrastructure"
        )
    kept: list[str] = []
    if not reset:
        wanted, kept = merge_template(pool.base_job_template, wanted)
    done = []
    if pool.base_job_template != wanted:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=wanted))
        done.append(f"work pool {name}: job template changed")
    if kept:
        what = ", ".join(kept)
        done.append(f"work pool {name}: kept your values of {what}; --reset-pools replaces them")
    return done


def merge_template(
    current: dict[str, Any], wanted: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Merge the defaults that an operator has set on the server into a new job template.

    A dictionary, such as ``env``, is merged key by key. Returns the merged template, and the names
    of the variables with a value of the operator.
    """
    template = copy.deepcopy(wanted)
    deployed = current.get("variables", {}).get(_DEPLOYED, {})
    on_server = _defaults(current)
    kept = []
    for name, schema in template["variables"]["properties"].items():
        new = schema.get("default", _ABSENT)
        value = _merge(deployed.get(name, _ABSENT), on_server.get(name, _ABSENT), new)
        if value == new:
            continue
        kept.append(name)
        if value is _ABSENT:
            del schema["default"]
        else:
            schema["default"] = value
    return template, kept


def read_template(name: str) -> dict[str, Any]:
    """A job template of ``deployments/work-pools``."""
    path = DEPLOYMENTS / "work-pools" / f"{name}.json"
    template: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return template


def _limit(infrastructure: Infrastructure, gpus: int) -> int | None:
    # A process worker has a slot per GPU. All Docker containers get the same GPU. A pod without a
    # free GPU would wait until Prefect gives it up.
    return {"process": None, "docker": 1, "kubernetes": gpus}[infrastructure]


def _defaults(template: dict[str, Any]) -> dict[str, Any]:
    properties = template.get("variables", {}).get("properties", {})
    return {name: schema["default"] for name, schema in properties.items() if "default" in schema}


def _merge(deployed: Any, on_server: Any, new: Any) -> Any:
    """The new default, unless the one on the server differs from what was deployed."""
    if on_server == deployed:
        return new
    if isinstance(on_server, dict) and isinstance(new, dict):
        before = deployed if isinstance(deployed, dict) else {}
        keys = [*new, *(key for key in on_server if key not in new)]
        values = {
            key: _merge(
                before.get(key, _ABSENT), on_server.get(key, _ABSENT), new.get(key, _ABSENT)
            )
            for key in keys
        }
        return {key: value for key, value in values.items() if value is not _ABSENT}
    return on_server

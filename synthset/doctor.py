"""Whether a machine is fit for the job: versions, cores, memory, disk, GPU, Prefect, store."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.data.records import Record

NEEDED = ("prefect", "torch", "torchvision", "lightning", "timm", "opencv-python-headless")
DIFFUSION = ("accelerate", "compel", "diffusers", "huggingface_hub", "spandrel", "transformers")
ENOUGH_MEMORY_GB = 4
ENOUGH_DISK_GB = 5


class Finding(Record):
    """One thing that was looked at; ``mend`` says what to do where it is not fit."""

    what: str
    found: str
    fit: bool = True
    mend: str = ""


def examine(store: str | None) -> list[Finding]:
    """Everything that was found, in the order it was looked at."""
    findings = [_python(), *_packages(), _cores(), _memory(), _disk(), _gpu(), _diffusion()]
    findings.append(_prefect())
    return [*findings, _store(store)] if store else findings


def show_findings(findings: list[Finding]) -> None:
    """Print the findings as a table."""
    table = Table("", "what", "found", "mend")
    for one in findings:
        table.add_row("ok" if one.fit else "NO", one.what, one.found, one.mend)
    Console().print(table)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    fit = sys.version_info >= (3, 11)
    return Finding(
        what="Python", found=version, fit=fit, mend="" if fit else "use Python 3.11 or later"
    )


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        try:
            yield Finding(what=name, found=importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(what=name, found="missing", fit=False, mend="run: make setup")


def _cores() -> Finding:
    return Finding(what="CPU cores", found=str(os.cpu_count()))


def _memory() -> Finding:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    fit = gigabytes >= ENOUGH_MEMORY_GB
    mend = "" if fit else f"{ENOUGH_MEMORY_GB} GB are enough with --max-parallel 1"
    return Finding(what="memory", found=f"{gigabytes:.0f} GB", fit=fit, mend=mend)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    fit = free >= ENOUGH_DISK_GB
    mend = "" if fit else "free some space, or use --store on another disk"
    return Finding(what="free disk here", found=f"{free:.0f} GB", fit=fit, mend=mend)


def _gpu() -> Finding:
    from models.runtime.hardware import describe_gpu

    return Finding(what="GPU", found=describe_gpu() or "none; the classical profile needs none")


def _diffusion() -> Finding:
    """Never unfit: the classical profile needs none of it."""
    from models.checkpoints.local import manifests, models_folder

    missing = [name for name in DIFFUSION if importlib.util.find_spec(name) is None]
    if missing:
        mend = "for the diffusion profile: pip install 'synthset[diffusion]'"
        return Finding(what="diffusion", found=f"no {', '.join(missing)}", mend=mend)
    count = sum(1 for _ in manifests())
    mend = "" if count else "for the diffusion profile: synthset models pull --recipe multiview"
    found = f"installed; {count} checkpoints in {models_folder()}"
    return Finding(what="diffusion", found=found, mend=mend)


def _prefect() -> Finding:
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        return _tried("Prefect", _ask_server, "embedded server starts", "run: make setup")
    return _tried("Prefect", _ask_server, f"server at {url}", "start it, or unset PREFECT_API_URL")


def _ask_server() -> None:
    from prefect.client.orchestration import get_client

    from deployments.server.embedded import start_server_if_none_is_set

    start_server_if_none_is_set()
    with get_client(sync_client=True) as client:
        client.hello().raise_for_status()


def _store(url: str) -> Finding:
    from tasks.store.store import open_store

    return _tried("store", lambda: open_store(url), f"{url} can be used", "")


def _tried(what: str, attempt: Callable[[], object], found: str, mend: str) -> Finding:
    try:
        attempt()
    except Exception as error:  # whatever it is, it is the finding
        line = " ".join(str(error).split())[:200]
        return Finding(what=what, found=line or type(error).__name__, fit=False, mend=mend)
    return Finding(what=what, found=found)

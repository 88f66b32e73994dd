"""The files of deployments/: job templates, prefect.yaml and the bucket's policy."""

import ast
import fnmatch
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deployments.apply import TRAINING
from deployments.automations import SILENT_FOR
from deployments.work_pools import DEPLOYMENTS, GPU_POOL, POOLS, read_template

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted({file for kinds in POOLS.values() for _, file in kinds.values()})
PLACEHOLDER = re.compile(r"{{\s*(\w+)\s*}}")
# What the published job configurations of the three worker types know.
BASE = {"command", "env", "labels", "name"}
FIELDS = {
    "process": BASE | {"stream_output", "working_dir"},
    "docker": BASE
    | {"image", "image_pull_policy", "networks", "network_mode", "auto_remove", "volumes"}
    | {"stream_output", "mem_limit", "memswap_limit", "privileged", "container_create_kwargs"}
    | {"registry_credentials"},
    "kubernetes": BASE
    | {"namespace", "job_manifest", "cluster_config", "job_watch_timeout_seconds"}
    | {"pod_watch_timeout_seconds", "stream_output"},
}
SECRET = re.compile(r"(?i)(password|secret|token|auth_string|access_key)")


def placeholders(value: Any) -> set[str]:
    """The variables that a template refers to."""
    return set(PLACEHOLDER.findall(json.dumps(value)))


def filled(template: dict[str, Any]) -> Any:
    """The job configuration as a worker makes it of the defaults."""
    from prefect.utilities.templating import apply_values

    properties = template["variables"]["properties"]
    values = {name: p["default"] for name, p in properties.items() if "default" in p}
    ours = {"name": "run", "command": "python -m prefect.engine", "labels": {"app": "synthset"}}
    return apply_values(template["job_configuration"], values | ours)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_declares_exactly_the_variables_that_it_uses(name: str) -> None:
    template = read_template(name)
    assert set(template) == {"job_configuration", "variables"}
    declared = template["variables"]["properties"]
    assert placeholders(template["job_configuration"]) == set(declared)
    jsonschema.Draft202012Validator.check_schema(template["variables"])
    for variable, schema in declared.items():
        assert schema["description"], variable
        if schema.get("default") is not None:
            jsonschema.validate(schema["default"], schema)


@pytest.mark.parametrize("name", TEMPLATES)
def test_prefect_accepts_a_template_for_its_worker_type(name: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate

    template = read_template(name)
    kind = next(kind for kinds in POOLS.values() for kind, file in kinds.values() if file == name)
    if kind in FIELDS:
        assert set(template["job_configuration"]) <= FIELDS[kind]
    pool = WorkPoolCreate(name="pool", type=kind, base_job_template=template)
    assert pool.base_job_template == template


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_holds_no_secret(name: str) -> None:
    def check(value: Any, at: str) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                check(below, f"{at}.{key}")
        elif isinstance(value, list):
            for below in value:
                check(below, at)
        elif isinstance(value, str) and SECRET.search(at.rpartition(".")[2]):
            assert at.endswith("description") or value.startswith(("/run/secrets/", "{{")), at

    template = read_template(name)
    check(template["job_configuration"], name)
    check(template["variables"]["properties"]["env"].get("default", {}), name)


def test_docker_jobs_get_gpu_shared_memory_and_no_capabilities() -> None:
    from docker.types import HostConfig

    for name, gpu in (("docker-cpu", False), ("docker-gpu", True)):
        job = filled(read_template(name))
        assert job["privileged"] is False
        assert any(volume.endswith(":/models:ro") for volume in job["volumes"])
        options = dict(job["container_create_kwargs"])
        assert options.pop("user") == "10001:10001"
        # Docker's own library takes them, and turns them into what the engine is asked for.
        asked = HostConfig(version="1.44", **options)
        assert asked["ShmSize"] >= 2**30
        assert asked["CapDrop"] == ["ALL"]
        assert asked["ReadonlyRootfs"] is True
        devices = asked.get("DeviceRequests") or []
        assert bool(devices) is gpu
        if gpu:
            assert devices[0]["Capabilities"] == [["gpu"]]
            assert devices[0]["DeviceIDs"] == ["0"]


@pytest.mark.parametrize("name", ["docker-cpu", "docker-gpu"])
def test_docker_jobs_use_the_secrets_of_the_script(name: str, tmp_path: Path) -> None:
    script = ROOT / "docker" / "make-secrets.sh"
    subprocess.run([script, tmp_path / "secrets"], check=True, capture_output=True)
    job = filled(read_template(name))
    assert job["env"]["AWS_ENDPOINT_URL_S3"] == "http://s3:9000"
    assert job["env"]["AWS_DEFAULT_REGION"]
    mounted = {volume.split(":")[1] for volume in job["volumes"]}
    needed = {value for value in job["env"].values() if value.startswith("/run/secrets/")}
    assert len(needed) == 3
    for path in needed:
        secret = tmp_path / "secrets" / Path(path).name
        # The folder is its owner's alone: containers, which are another user, get the files.
        assert path in mounted
        assert secret.stat().st_mode & 0o004
    known = (ROOT / "docker" / "entrypoint.sh").read_text()
    for variable, value in job["env"].items():
        if value in needed:
            assert variable.endswith("_FILE")
            assert re.search(rf"\b{variable.removesuffix('_FILE')}\b", known)


@pytest.mark.parametrize("name", TEMPLATES)
def test_runs_send_three_heartbeats_before_the_crash_rule_acts(name: str) -> None:
    environment = read_template(name)["variables"]["properties"]["env"]["default"]
    assert 3 * int(environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) < SILENT_FOR.total_seconds()
    assert environment["PREFECT_LOGGING_EXTRA_LOGGERS"] == "synthset"


def test_process_jobs_run_flows_and_no_other_command() -> None:
    assert "command" not in filled(read_template("process-cpu"))


def test_the_recipe_of_the_file_names_its_profile() -> None:
    from flows.config.recipe import Recipe

    (nightly, *_) = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())["deployments"]
    recipe = Recipe.model_validate(nightly["parameters"]["recipe"])
    assert recipe.name == recipe.profile


def test_kubernetes_jobs_get_gpu_shared_memory_and_secrets_by_reference() -> None:
    for name, gpu in (("kubernetes-cpu", False), ("kubernetes-gpu", True)):
        manifest = filled(read_template(name))["job_manifest"]
        pod = manifest["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert (manifest["kind"], manifest["apiVersion"]) == ("Job", "batch/v1")
        assert (container["name"], pod["parallelism"], pod["completions"]) == ("prefect-job", 1, 1)
        assert pod["restartPolicy"] == "Never"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"]["limits"].get("nvidia.com/gpu") == (1 if gpu else None)
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounts["/models"]["readOnly"] is True
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in mounts.values()} == set(volumes)
        assert volumes[mounts["/dev/shm"]["name"]]["emptyDir"]["medium"] == "Memory"
        secrets = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in container["env"]}
        assert set(secrets) == {
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "PREFECT_API_AUTH_STRING",
            "AWS_ENDPOINT_URL_S3",
            "AWS_DEFAULT_REGION",
        }
        # A store of Amazon's has neither, and a variable that is set but empty is no endpoint.
        assert {name for name, secret in secrets.items() if secret.get("optional")} == {
            "AWS_ENDPOINT_URL_S3",
            "AWS_DEFAULT_REGION",
        }


def test_prefect_yaml_has_the_five_deployments() -> None:
    content = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
    # Null would make Prefect write this machine's folder into every deployment.
    assert content["pull"] == []
    deployments = {entry["entrypoint"]: entry for entry in content["deployments"]}
    assert {entrypoint: entry["name"] for entrypoint, entry in deployments.items()} == {
        "flows.pipeline.pipeline": "nightly",
        "flows.generate_item.generate_item": "gpu",
        "flows.build_datasets.build_datasets": "cpu",
        "flows.study.study": "cpu",
        "flows.train_models.train_networks": "gpu",
    }
    for entry in deployments.values():
        assert entry["work_pool"]["name"] in POOLS
        assert entry["description"]
        assert "synthset" in entry["tags"]
    uses_gpu = {
        entrypoint
        for entrypoint, entry in deployments.items()
        if entry["work_pool"]["name"] == GPU_POOL
    }
    assert uses_gpu == {
        "flows.generate_item.generate_item",
        "flows.train_models.train_networks",
    }
    nightly = deployments["flows.pipeline.pipeline"]
    execution = nightly["parameters"]["execution"]
    assert execution["generate_on"] == "generate_item/gpu"
    assert execution["train_on"] == TRAINING
    assert nightly["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    (schedule,) = nightly["schedules"]
    assert schedule["timezone"]
    assert schedule["active"] is False


S3_ACTIONS = {
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
}


def test_the_bucket_policy_allows_exactly_the_calls_of_the_store() -> None:
    tree = ast.parse((ROOT / "tasks" / "store" / "s3.py").read_text())
    used = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Attribute)
        and node.func.value.attr == "_client"
    }
    assert used <= set(S3_ACTIONS), "a new operation: add it here and to the policy"
    policy = json.loads((DEPLOYMENTS / "bucket-policy.json").read_text())
    allowed = {
        action: (statement["Resource"], statement.get("Condition"))
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in [statement["Action"]]
        for action in ([action] if isinstance(action, str) else action)
    }
    assert set(allowed) == {S3_ACTIONS[operation] for operation in used}
    for action, (resource, condition) in allowed.items():
        if action == "s3:ListBucket":
            assert resource == "arn:aws:s3:::BUCKET"
            (prefixes,) = condition["StringLike"].values()
            # The store asks for names below its prefix only.
            assert all(fnmatch.fnmatchcase("PREFIX/", prefix) for prefix in prefixes)
            assert not any(
                fnmatch.fnmatchcase(other, prefix) for prefix in prefixes for other in ("", "X/")
            )
        else:
            assert resource == "arn:aws:s3:::BUCKET/PREFIX/*"


def test_the_store_makes_no_call_that_the_policy_forbids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import boto3
    from moto import mock_aws

    from tasks.store.s3 import S3Backend

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    asked: list[tuple[str, dict[str, Any]]] = []
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        backend = S3Backend("s3://bucket/prefix")
        backend._client.meta.events.register(
            "before-parameter-build.s3",
            lambda params, model, **_: asked.append((model.name, dict(params))),
        )
        backend.put("a/b", b"1")
        assert backend.get("a/b") == b"1"
        assert [backend.create("a/b", b"2"), backend.create("a/c", b"3")] == [False, True]
        backend.delete("a/c")
        assert backend.size("a/b") == 1
        assert backend.size("none") is None
        assert [entry.name for entry in backend.entries("a/")] == ["a/b"]
        backend.delete("a/b")
    assert {name for name, _ in asked} == {
        "PutObject",
        "GetObject",
        "HeadObject",
        "ListObjectsV2",
        "DeleteObject",
    }
    for _, parameters in asked:
        below = parameters["Key"] if "Key" in parameters else parameters["Prefix"]
        assert parameters["Bucket"] == "bucket"
        assert below.startswith("prefix/")

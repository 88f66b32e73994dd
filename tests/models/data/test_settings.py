"""Environment variables: defaults, bad values, and what third-party libraries may not do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.data.settings import Settings, SettingsError, settings
from models.runtime.hardware import this_machine

ROOT = Path(__file__).resolve().parents[3]


def run_python(program: str) -> list[object]:
    """What a program prints as JSON, run without the switches of this process."""
    environment = {name: value for name, value in os.environ.items() if "DISABLE" not in name}
    completed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    rows: list[object] = json.loads(completed.stdout)
    return rows


def test_empty_variables_count_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = settings()
    for name in ("DEVICE", "BATCH", "GPUS", "MODELS", "COMPILE"):
        monkeypatch.setenv(f"SYNTHSET_{name}", "")
    assert settings() == defaults


def test_the_default_models_folder_is_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if sys.platform == "linux":
        assert settings().models == Path.home() / ".cache" / "synthset" / "models"
    monkeypatch.setenv("SYNTHSET_MODELS", "~/weights")
    assert settings().models == Path.home() / "weights"


def test_gpus_are_numbers_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().gpus == ()
    monkeypatch.setenv("SYNTHSET_GPUS", "2, 5")
    assert settings().gpus == (2, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SYNTHSET_VRAM_GB", "much"),
        ("SYNTHSET_VRAM_GB", "-3"),
        ("SYNTHSET_BATCH", "0"),
        ("SYNTHSET_DTYPE", "int4"),
        ("SYNTHSET_RESIDENCY", "some"),
        ("SYNTHSET_COMPILE", "perhaps"),
        ("SYNTHSET_GPUS", "all"),
    ],
)
def test_a_bad_value_gives_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}={value}: input should be ") as error:
        this_machine()
    assert "\n" not in str(error.value)


def test_every_variable_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("module", ["models.checkpoints.local", "models.data.settings"])
def test_importing_a_module_loads_no_library_and_sets_no_variable(module: str) -> None:
    program = f"""
import json, os, sys
before = dict(os.environ)
import {module}
names = ("torch", "diffusers", "transformers", "huggingface_hub", "boto3")
print(json.dumps([[name for name in names if name in sys.modules], dict(os.environ) == before]))
"""
    assert run_python(program) == [[], True]


@pytest.mark.slow
def test_a_worker_that_imports_only_the_flow_runs_no_remote_code_and_sends_no_telemetry() -> None:
    program = """
import json, sys
from pathlib import Path
import torch
import flows.generate
import models.captioning.blip  # imports transformers, and with it huggingface_hub
from models.runtime.hardware import Machine
from models.runtime.network_pool import NetworkPool

class Network:
    modules = ()

    @classmethod
    def load(cls, *folders, machine):
        return cls()

    def compute(self, requests):
        import diffusers, huggingface_hub
        from diffusers.utils import dynamic_modules_utils
        yield huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY
        yield dynamic_modules_utils.DIFFUSERS_DISABLE_REMOTE_CODE

machine = Machine(torch.device("cpu"), torch.float32)
print(json.dumps(NetworkPool(machine).infer(Network, [Path("weights")], [0, 1])))
"""
    assert run_python(program) == [True, True]

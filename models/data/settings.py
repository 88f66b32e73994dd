"""Settings of this machine, read from environment variables ``SYNTHSET_*``.

None of them is part of an artifact's key. What an image shows is set in the recipe.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "SYNTHSET_"
Residency = Literal["all", "offload", "evict"]
# Read by these modules when they are imported; the constant is set too where that was earlier.
LIBRARY_SWITCHES = {
    "huggingface_hub.constants": "HF_HUB_DISABLE_TELEMETRY",
    "diffusers.utils.constants": "DIFFUSERS_DISABLE_REMOTE_CODE",
    "diffusers.utils.dynamic_modules_utils": "DIFFUSERS_DISABLE_REMOTE_CODE",
}


class SettingsError(ValueError):
    """An environment variable has a value that can't be used; the line names both."""


class Settings(BaseSettings):
    """All environment variables of synthset. An empty variable counts as absent."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    models: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("synthset") / "models",
        description="Folder of the checkpoints.",
    )
    scratch: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("synthset") / "scratch",
        description="Folder of trainings of generators: states, losses and sample sheets.",
    )
    yolo_python: Path | None = Field(
        None,
        description="Python that has ultralytics, for YOLO detectors. Default: synthset's own.",
    )
    device: str | None = Field(
        None, description="Where networks run, such as cuda:1 or cpu. Default: the first GPU."
    )
    dtype: Literal["float16", "bfloat16", "float32"] | None = Field(
        None, description="Precision of networks. Default: float16 on a GPU, float32 on a CPU."
    )
    batch: int | None = Field(
        None, ge=1, description="Images per batch. Default: 8 on a GPU, 1 on a CPU."
    )
    vram_gb: float | None = Field(
        None, gt=0, description="GB of weights on the device. Default: 90 % of the GPU's memory."
    )
    residency: Residency = Field(
        "offload",
        description="What makes room when vram_gb is used up: offload moves the network that was"
        " used longest ago to main memory, evict drops it, all refuses to load more.",
    )
    compile: bool = Field(False, description="Compile the blocks of U-Nets and decoders.")
    gpus: Annotated[tuple[int, ...], NoDecode] = Field(
        (), description="GPU numbers of a persistent worker, such as 0,1; one slot for each."
    )
    gpu_limit: str | None = Field(
        None, description="Concurrency limit of the GPU; a worker sets it for its child runs."
    )
    releases: str | None = Field(
        None, description="URL of a mirror of https://github.com, for released checkpoints."
    )
    hf_endpoint: str | None = Field(
        None, validation_alias="HF_ENDPOINT", description="URL of a mirror of the hub."
    )
    s3_sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None,
        description="How an S3 store encrypts what is written. Default: as its bucket says.",
    )
    s3_kms_key: str | None = Field(
        None, description="Id or ARN of the KMS key that encrypts what is written to an S3 store."
    )
    traceback: bool = Field(False, description="Print the traceback of every error.")

    @field_validator("models", "scratch", "yolo_python")
    @classmethod
    def _expand_home(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser()

    @field_validator("gpus", mode="before")
    @classmethod
    def _split_numbers(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value


def settings() -> Settings:
    """The settings as the environment has them now.

    Raises:
        SettingsError: a variable has a value that can't be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors()[0]
        field = str(fault["loc"][0])
        name = field if field.isupper() else f"{PREFIX}{field.upper()}"
        value = os.environ.get(name, fault["input"])
        raise SettingsError(f"{name}={value}: {fault['msg'].lower()}") from None


def restrict_libraries() -> None:
    """Forbid diffusers to run code from repositories, and huggingface_hub to send telemetry.

    Call it before the first import of either; a later call still holds.
    """
    for module, name in LIBRARY_SWITCHES.items():
        os.environ[name] = "1"
        if module in sys.modules:
            setattr(sys.modules[module], name, True)

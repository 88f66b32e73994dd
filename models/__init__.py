"""What knows neither Prefect nor a run: records, checkpoints, networks, classical algorithms."""

import os

# Before any library that reads them is imported: no code from repositories, no telemetry.
os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

"""What the machine offers to networks."""

import torch


def describe_gpu() -> str | None:
    """Name and memory of the first GPU, or None where there is none."""
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"

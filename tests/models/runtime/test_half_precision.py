"""A batch gives the single results, in half precision too.

A batch sums in another order, which shows more in half precision than in float32.
"""

from pathlib import Path

import pytest
import torch

from models.runtime import batching as batches
from models.runtime.hardware import Machine
from tests.checkpoints.wrappers import CASES, apart

pytest.importorskip("compel")
COUNT = 2
# Grey levels of 8 bits, for masks and depth too. Measured: 2 in outpainting, 1 elsewhere.
TOLERANCE = 3
# Zero123++ also in bfloat16, in which a decoder in half precision would be 38 levels off.
PRECISIONS = [*((name, torch.float16) for name in CASES), ("zero123plus", torch.bfloat16)]


@pytest.mark.parametrize(("name", "dtype"), PRECISIONS)
def test_a_batch_gives_the_single_results(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    case = CASES[name]
    network = case.load(tmp_path, Machine(torch.device("cpu"), dtype, batch=COUNT))
    assert {batches.dtype_of(module) for module in network.modules} == {dtype}
    requests = [case.request(index) for index in range(COUNT)]
    single = [next(network.compute([request])) for request in requests]
    assert max(map(apart, single, network.compute(requests))) <= TOLERANCE

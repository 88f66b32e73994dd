"""An image alone is the image in a batch, in the precision of production.

In half precision a batch that is summed up in another order shows sooner than in float32.
"""

from pathlib import Path

import pytest
import torch

from models.runtime import batching as batches
from models.runtime.hardware import Machine
from tests.checkpoints.wrappers import CASES, apart

pytest.importorskip("compel")
COUNT = 2
# Grey levels of 8 bits, for mattes and depth too. Seen: 2 in outpainting, 1 elsewhere.
TOLERANCE = 3
# The others are as near in bfloat16; this one was 38 levels off before it decoded in float32.
PRECISIONS = [*((name, torch.float16) for name in CASES), ("zero123plus", torch.bfloat16)]


@pytest.mark.parametrize(("name", "dtype"), PRECISIONS)
def test_alone_is_as_in_a_batch(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    case = CASES[name]
    network = case.load(tmp_path, Machine(torch.device("cpu"), dtype, batch=COUNT))
    assert {batches.dtype_of(module) for module in network.modules} == {dtype}
    requests = [case.request(at) for at in range(COUNT)]
    alone = [next(network.compute([one])) for one in requests]
    assert max(map(apart, alone, network.compute(requests))) <= TOLERANCE

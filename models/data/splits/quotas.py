"""How many photos of each class a split gets: a share of them, or a number."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from models.data.records import Split


@dataclass(frozen=True)
class Pool:
    """What becomes of the photos of one given split, or of photos without one.

    ``wanted``: the splits that are drawn from them, in this order; a whole number is a number of
    photos of each class, and a fraction is a share of them. ``rest`` is the split of all others;
    None: they are not used.
    """

    wanted: Mapping[Split, float]
    rest: Split | None


def find_quotas(count: int, pool: Pool) -> Counter[str]:
    """The photos of each split by largest remainder, at least one, of ``count`` of a class.

    Numbers are kept as they are, even where their sum is above ``count``. The key "" stands for
    photos that are not used.
    """
    rest = pool.rest or ""
    numbers = {name: value for name, value in pool.wanted.items() if isinstance(value, int)}
    shares = {name: value for name, value in pool.wanted.items() if not isinstance(value, int)}
    left = count * (1.0 - sum(shares.values())) - sum(numbers.values())
    exact: dict[str, float] = {rest: max(0.0, left)}
    exact |= {name: count * share for name, share in shares.items()}
    quotas = Counter({name: math.floor(value + 1e-9) for name, value in exact.items()})
    by_remainder = sorted(exact, key=lambda name: round(quotas[name] - exact[name], 9))
    quotas.update(by_remainder[: max(0, count - sum(numbers.values()) - quotas.total())])
    quotas.update(numbers)
    return Counter({name: max(1, quota) if name else quota for name, quota in quotas.items()})


def count_train(count: int, pool: Pool) -> int:
    """The train photos of a class of ``count`` photos, if none of them are related; at least 1."""
    quotas = find_quotas(count, pool)
    held_out = sum(quotas[name] for name in pool.wanted if name != "train")
    return max(1, min(quotas["train"], count - held_out))

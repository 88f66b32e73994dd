"""The order in which train images are shown."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler


class FixedStepsSampler(Sampler[tuple[int, int]]):
    """``draws`` images per epoch from a set of any size, so every set takes the same steps.

    The groups of the set take turns, so that each gives the same number of draws. A group is
    shuffled and shown completely, then shuffled again, across epoch borders. So each image of a
    group is shown equally often, give or take one. Draw number p of the training depends on the
    seed and p alone, so a resumed training continues with the same images.

    Yields ``(index, draw)``: the image's index, and the draw's number from the first epoch on.

    Args:
        groups: the group of each image of the set, 0 to n-1.
        draws: images per epoch.
        pools: numbers of images, in place of groups; an image may be in several.
    """

    def __init__(
        self,
        groups: Sequence[int],
        draws: int,
        seed: int,
        epoch: int = 0,
        *,
        pools: Sequence[Sequence[int]] = (),
    ) -> None:
        numbers = np.asarray(groups)
        self.groups = [np.asarray(pool) for pool in pools] or [
            np.flatnonzero(numbers == group) for group in np.unique(numbers)
        ]
        self.draws, self.seed, self.epoch = draws, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of ``epoch``, counted from 0. Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.draws

    def __iter__(self) -> Iterator[tuple[int, int]]:
        orders: list[tuple[int, npt.NDArray[np.int64]]] = [(-1, np.empty(0, np.int64))]
        orders *= len(self.groups)
        for draw in range(self.epoch * self.draws, (self.epoch + 1) * self.draws):
            turn, group = divmod(draw, len(self.groups))
            cycle, place = divmod(turn, len(self.groups[group]))
            if orders[group][0] != cycle:
                rng = np.random.default_rng([self.seed, cycle, group])
                orders[group] = cycle, rng.permutation(self.groups[group])
            yield int(orders[group][1][place]), draw

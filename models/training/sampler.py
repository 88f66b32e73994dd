"""The order in which train images are shown."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class FixedStepsSampler(Sampler[tuple[int, int]]):
    """``draws`` images per epoch from a set of any size, so every set takes the same steps.

    The set is shuffled and shown completely, then shuffled again, across epoch borders. So each
    image is shown equally often, give or take one. Draw number p of the training depends on the
    seed and p alone, so a resumed training continues with the same images.

    Yields ``(index, draw)``: the image's index, and the draw's number from the first epoch on.
    """

    def __init__(self, size: int, draws: int, seed: int, epoch: int = 0) -> None:
        self.size, self.draws, self.seed, self.epoch = size, draws, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of ``epoch``, counted from 0. Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.draws

    def __iter__(self) -> Iterator[tuple[int, int]]:
        cycle, order = -1, np.empty(0, np.int64)
        for draw in range(self.epoch * self.draws, (self.epoch + 1) * self.draws):
            if draw // self.size != cycle:
                cycle = draw // self.size
                order = np.random.default_rng([self.seed, cycle]).permutation(self.size)
            yield int(order[draw % self.size]), draw

"""Which cases `make hostile` writes: all of them, and more of each kind with other contents."""

import itertools
from collections.abc import Mapping

import numpy as np

from tests.hostile.endings import FolderKind
from tests.hostile.kinds import FileKind
from tests.hostile.runs import FILES, FOLDERS

INPUTS = 500
# How many of the inputs are photo files; each of the others needs a run of its own.
FILE_SHARE = 0.75

Case = tuple[str, int]


def choose_inputs(n_inputs: int, seed: int) -> tuple[list[Case], list[Case]]:
    """The cases of photo files, and those of folders and recipes.

    All cases come up if ``n_inputs`` is `INPUTS` or more.
    """
    n_files = round(n_inputs * FILE_SHARE)
    return _choose(FILES, n_files, seed), _choose(FOLDERS, n_inputs - n_files, seed)


def _choose(kinds: Mapping[str, FileKind | FolderKind], count: int, seed: int) -> list[Case]:
    """Names of kinds, each with the number of a case, in an order that the seed decides.

    First every case once. Then all kinds in turn, so that kinds with few cases come up often.
    """
    rng = np.random.default_rng(seed)
    once = [(name, case) for name, kind in kinds.items() for case in range(kind.n_cases)]
    turns = ((turn, name) for turn in itertools.count(seed) for name in rng.permutation([*kinds]))
    more = ((str(name), turn % kinds[str(name)].n_cases) for turn, name in turns)
    order = [once[place] for place in rng.permutation(len(once))]
    return list(itertools.islice(itertools.chain(order, more), count))

"""Features of files, computed once per process: trainings and checks ask for the same photos."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from models.data.pixels import Floats
from models.data.square import read_bytes
from models.embedding.backbone import N_FEATURES, embed

# 5 KB each: at most 160 MB.
MAX_IMAGES = 32_768
_features: LRUCache[bytes, Floats] = LRUCache(MAX_IMAGES)
_lock = threading.Lock()


def embed_files(paths: Sequence[Path]) -> Floats:
    """`models.embedding.backbone.embed` of files; files with the same bytes are computed once.

    Raises:
        ValueError: a file is missing or no photo; the message names it.
    """
    if not paths:
        return np.empty((0, N_FEATURES), np.float32)
    digests = [hashlib.sha256(read_bytes(path)).digest() for path in paths]
    with _lock:
        found = {digest: _features[digest] for digest in digests if digest in _features}
        missing = {
            digest: path for digest, path in zip(digests, paths, strict=True) if digest not in found
        }
        computed = dict(zip(missing, embed(list(missing.values())), strict=True))
        _features.update(computed)
    found |= computed
    return np.stack([found[digest] for digest in digests])


def remember_features(digest: str, features: Floats) -> None:
    """Keep the features of a file, so that `embed_files` doesn't compute them.

    Args:
        digest: SHA-256 of the file's bytes, in hex.
        features: float32 (1280,), a row of `embed_files`.
    """
    with _lock:
        _features[bytes.fromhex(digest)] = features

import threading

import numpy as np
import pytest

from tasks.engine.content_cache import ContentCache


def image(value: int, size: int = 1000) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full(size, value, np.uint8)


def test_gives_back_the_content_of_a_digest() -> None:
    cache = ContentCache()
    content = image(7)
    cache.put("a", content)
    assert cache.get("a") is content
    assert cache.get("b") is None


def test_the_least_recently_used_content_leaves_first() -> None:
    cache = ContentCache(3000)
    for name in "abc":
        cache.put(name, image(1))
    cache.get("a")
    cache.put("d", image(1))
    assert [cache.get(name) is not None for name in "abcd"] == [True, False, True, True]


def test_a_content_larger_than_the_cache_displaces_nothing() -> None:
    cache = ContentCache(3000)
    cache.put("a", image(1))
    cache.put("large", image(1, 3001))
    assert cache.get("large") is None
    assert cache.get("a") is not None


def test_no_reader_can_change_what_later_readers_get() -> None:
    cache = ContentCache()
    cache.put("a", image(1))
    with pytest.raises(ValueError, match="read-only"):
        cache.get("a")[0] = 9  # type: ignore[index]


def test_many_threads_may_use_it() -> None:
    cache = ContentCache(20_000)
    wrong = []

    def use(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for number in rng.integers(0, 60, 2000):
            cache.put(str(number), image(int(number)))
            found = cache.get(str(number))
            if found is not None and found[0] != number:
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []

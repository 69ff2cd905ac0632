from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# Of one example: where other work takes the processor, a deadline fails tests that are right.
settings.register_profile("secateur", deadline=None)
settings.load_profile("secateur")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    # Small networks train no faster with more threads, and tests run beside each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # What the compiler measures while tests run beside each other is nothing to remember.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield

"""What all tests share."""

import numpy as np
import pytest

# Files whose tests share something costly (a book that is built, a browser, processes that are waited for): when
# several processes share the tests out, one of them takes the whole file.
TOGETHER = ("test_book", "test_notebooks", "test_playground", "test_sweep", "test_demo", "test_benchmarks")


@pytest.fixture
def rng():
    """A generator, the same for every test."""
    return np.random.default_rng(20231115)


def pytest_make_parametrize_id(config, val, argname):
    """A function's name is its id: an address differs from process to process."""
    return getattr(val, "__name__", None) if callable(val) else None


def pytest_collection_modifyitems(items):
    """Keep the tests of some files in one process."""
    for item in items:
        if item.path.stem in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))

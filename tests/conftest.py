"""What all tests share."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A generator, the same for every test."""
    return np.random.default_rng(20231115)

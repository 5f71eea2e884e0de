"""What tests of carving share."""

import numpy as np
import pytest

from fffref import DenseFF
from fffref.models.fitting import Rows


@pytest.fixture
def rows(rng):
    """A layer of 24 neurons, and 800 inputs that vary more in some directions than in others."""
    layer = DenseFF.init(rng, 8, 6, 24, activation="gelu", dtype=np.float64)
    return Rows.of(layer, rng.standard_normal((800, 8)) @ rng.standard_normal((8, 8)))

"""Categories as a task: classifiers that are fitted where their gradient vanishes, and count what they should."""

import numpy as np
import pytest

from fffref.experiments import carving_categories as categories
from fffref.training.losses import cross_entropy


@pytest.fixture
def clouds(rng):
    """Unit vectors around three centres, and which: nearly separable."""
    labels = rng.integers(0, 3, 300)
    x = np.eye(8)[labels] + 0.25 * rng.standard_normal((300, 8))
    return x / np.linalg.norm(x, axis=1, keepdims=True), labels


def test_logistic_regression_is_at_its_minimum(clouds):
    x, labels = clouds
    weights = categories.logistic(x, labels, 0.01)
    assert weights.shape == (9, 3)

    def objective(weights):
        value = cross_entropy(x @ weights[:-1] + weights[-1], labels)[0]
        return value + 0.005 * (weights[:-1] ** 2).sum()

    least = objective(weights)
    for direction in np.random.default_rng(0).standard_normal((20, 9, 3)):
        for step in (-0.01, 0.01):
            assert objective(weights + step * direction) > least


def test_both_classifiers_are_right_where_classes_are_apart(clouds):
    x, labels = clouds
    found = categories.Classifiers.fit(x[:200], labels[:200])
    score = found.accuracy(x[200:], labels[200:])
    assert score["nearest"] > 0.95 and score["logistic"] > 0.95
    assert found.accuracy(x[:200], labels[:200])["nearest"] == 1  # each is its own nearest
    wrong = found.accuracy(x[200:], (labels[200:] + 1) % 3)
    assert max(wrong.values()) < 0.05


def test_another_encoders_embeddings_are_judged_by_the_same_classifiers(clouds, rng):
    x, labels = clouds
    found = categories.Classifiers.fit(x, labels)
    turned = x[:, ::-1]
    assert max(found.accuracy(turned, labels).values()) < 0.7

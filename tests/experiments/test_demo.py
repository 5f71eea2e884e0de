"""The first run, whole, with small contestants: the report is complete and what it says is so."""

import numpy as np
import pytest

from fffref import DenseFF, LeafFFF, PathFFF, datasets, training
from fffref.experiments import demo, variants


@pytest.fixture
def quick(monkeypatch):
    """Contestants that train in a second."""

    def few(rng, data):
        n_in, n_out = data.x_train.shape[1], data.n_classes
        recipe = training.Recipe(epochs=2)
        return {
            "DenseFF": (DenseFF.init(rng, n_in, n_out, 8), recipe),
            "DenseFF, engaged size": (DenseFF.init(rng, n_in, n_out, 6), recipe),
            "LeafFFF, entropy loss": (LeafFFF.init(rng, n_in, n_out, 2, 4), recipe),
            "LeafFFF, annealed": (LeafFFF.init(rng, n_in, n_out, 2, 4), training.hardening(epochs=2)),
            "PathFFF": (PathFFF.init(rng, n_in, n_out, 2, 2), recipe),
        }

    monkeypatch.setattr(demo, "contestants", few)
    monkeypatch.setattr(demo, "RATES", (0.003, 0.02))


def test_the_demonstration_reports_and_draws(quick, tmp_path):
    said = []
    report = demo.run(tmp_path / "figures", seed=1, progress=False, say=said.append)
    text = "\n".join(said)
    assert all(row["passed"] for row in report["gradients"]) and "WRONG" not in text
    assert {row["layer"] for row in report["gradients"]} == {"LeafFFF", "PathFFF", "DenseFF"}
    assert [row["stored"] for row in report["layers"]] == [8, 6, 19, 19, 14]
    assert [row["engaged"] for row in report["layers"]] == [8, 6, 6, 6, 6]
    assert all(f"{100 * row['hard']:.1f}" in text and row["name"] in text for row in report["layers"])
    assert all(row["learning_rate"] in demo.RATES for row in report["layers"])
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {
        "learning-curves.png", "node-entropy.png", "leaf-usage.png", "node-weights.png", "gradient-check.png",
    }  # fmt: skip
    for path in (tmp_path / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_the_gradient_table_would_show_a_wrong_gradient(rng, monkeypatch):
    monkeypatch.setattr(LeafFFF, "backward", lambda self, tape, dy, **_: (self.map(np.zeros_like), 0 * tape.x))
    rows = demo.gradient_rows({"LeafFFF": demo.small_layers(rng)["LeafFFF"]}, rng)
    assert not any(row["passed"] for row in rows)
    assert demo.gradient_table(rows).count("WRONG") == len(rows)


def test_the_best_learning_rate_on_held_out_digits_counts(monkeypatch, rng):
    """For every layer the same: what the test digits say does not matter."""
    monkeypatch.setattr(demo, "RATES", (1e-5, 0.02, 1e-6))
    data = datasets.load("mnist-small")
    dense = DenseFF.init(rng, data.x_train.shape[1], data.n_classes, 8)
    recipe = training.Recipe(epochs=1)
    rate, layer, history = demo.best_of_rates(dense, recipe, data, 3, False)
    task = training.Classification(data.x_train, data.y_train)
    expected, _ = training.train(dense, task, variants.turned(recipe, 0.02), 3, progress=False)
    assert rate == 0.02 and history[-1]["hard_accuracy"] > 0.5
    assert all(np.array_equal(a, b) for a, b in zip(layer.arrays().values(), expected.arrays().values(), strict=True))

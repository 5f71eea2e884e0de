"""Figures show the numbers they are given. (What they look like is for eyes: `fffref demo`.)"""

import numpy as np
import pytest

from fffref import plots


def row(epoch, soft):
    return {"epoch": epoch, "loss": 1 / epoch, "hard_accuracy": 0.5, "soft_accuracy": soft, "node_entropy": [0.1] * 7}


def test_learning_curves_have_a_line_a_run_and_a_dashed_one_for_soft():
    histories = {"tree": [row(1, 0.6), row(2, 0.7)], "net": [row(1, None), row(2, None)]}
    loss, accuracy = plots.learning_curves(histories).axes
    assert len(loss.lines) == 2 and len(accuracy.lines) == 3
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 0.5])
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [60, 70])


def test_epochs_that_were_not_watched_have_a_loss_only():
    history = [row(1, 0.6), {"epoch": 2, "loss": 0.5}, row(3, 0.7)]
    loss, accuracy = plots.learning_curves({"tree": history}).axes
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3]
    assert [list(line.get_xdata()) for line in accuracy.lines] == [[1, 3], [1, 3]]
    (panel,) = plots.node_entropies({"tree": history}).axes
    assert list(panel.lines[0].get_xdata()) == [1, 3]


def test_node_entropies_have_a_line_a_node():
    (panel,) = plots.node_entropies({"tree": [row(1, 0.6), row(2, 0.7)]}).axes
    assert len(panel.lines) == 7 + 1  # and log 2


def test_leaf_usage_has_a_bar_a_leaf():
    (panel,) = plots.leaf_usage({"tree": [0.5, 0.5, 0, 0]}).axes
    assert [bar.get_height() for bar in panel.patches] == [50, 50, 0, 0]
    assert "2 of 4 leaves" in panel.get_title(loc="left")


def test_node_weights_have_an_image_a_node():
    weight = np.arange(7 * 6.0).reshape(7, 6)
    figure = plots.node_weights(weight, (2, 3))
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(images[6], weight[6].reshape(2, 3))
    assert len(images) == 7
    with pytest.raises(ValueError, match="no nodes to draw"):
        plots.node_weights(weight[:0], (2, 3))


def test_model_speed_ups_have_a_line_a_model_and_its_end():
    contexts, speed_ups = np.array([64, 128, 256, 512]), {"small": [3, 2, 1.5, 1.2], "large": [5, 4, 3, 2]}
    (panel,) = plots.model_speed_ups(contexts, speed_ups, {"small": 128, "large": 300}, "twice as fast").axes
    everywhere, own = panel.lines[0::2], panel.lines[1::2]
    np.testing.assert_array_equal([line.get_ydata() for line in everywhere], list(speed_ups.values()))
    assert [list(line.get_ydata()) for line in own] == [[3, 2], [5, 4, 3]]
    assert panel.get_title(loc="left") == "twice as fast" and "made for 300" in panel.get_legend().texts[1].get_text()


def test_saving_replaces_and_leaves_nothing_behind(tmp_path):
    file = tmp_path / "figure.png"
    file.write_text("old")
    plots.save(plots.leaf_usage({"tree": [1, 0]}), file)
    assert file.read_bytes().startswith(b"\x89PNG") and list(tmp_path.iterdir()) == [file]
    with pytest.raises(ValueError, match="cannot write"):
        plots.save(plots.leaf_usage({"tree": [1, 0]}), file / "inside.png")

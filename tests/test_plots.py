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


def texts_that_leave(figure):
    """Texts of a figure's panels that are not within their panel."""
    figure.draw_without_rendering()
    found = []
    for panel in figure.axes:
        inside = panel.get_window_extent().expanded(1.005, 1.005)
        for text in panel.texts:
            box = text.get_window_extent()
            if not (inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)):
                found.append(text.get_text())
    return found


def texts_that_collide(panel):
    """Pairs of a panel's texts that overlap."""
    panel.figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in panel.texts]
    return [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[:i] if one.overlaps(other)]


def test_claims_for_a_layer_have_a_ring_each_and_a_dot_where_something_is_claimed():
    pairs = {"measured right": (60, 60), "flatters": (62, 330), "too small": (55, 0.03), "not shown": (70, None)}
    figure = plots.claims_for_a_layer(pairs, 341.25, "six claims")
    (panel,) = figure.axes
    points = [line for line in panel.lines if line.get_marker() == "o" and len(line.get_xdata())]
    rings = [line.get_xdata()[0] for line in points if line.get_markerfacecolor() == "white"]
    dots = [line.get_xdata()[0] for line in points if line.get_markerfacecolor() != "white"]
    assert rings == [60, 62, 55, 70] and dots == [330, 0.03]
    assert [text.get_text().strip() for text in panel.texts][1:] == ["60x", "330x", "0.03x", "70x"]
    assert not texts_that_leave(figure) and not texts_that_collide(panel)


def test_claimed_and_found_has_no_diamond_where_nobody_claims():
    figure = plots.claimed_and_found({"a": (78, [30, 100]), "b": (None, [2.5])}, "claims")
    (panel,) = figure.axes
    diamonds = [line for line in panel.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert [line.get_xdata()[0] for line in diamonds] == [78]
    assert panel.get_xlim()[0] < 1 and panel.get_xlim()[1] > 100


def test_time_and_gain_shows_the_sums_and_the_curve():
    figure = plots.time_and_gain({"a": 30, "b": 31}, {"a": 2, "b": 80}, ([1, 10, 341], [1, 3, 4]), (40, 3.6), 4.1)
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [30, 31, 2, 80]
    assert [text.get_text() for text in left.texts] == ["32 ms", "111 ms"]
    assert list(right.lines[0].get_ydata()) == [1, 3, 4] and not texts_that_leave(figure)


def test_accuracy_by_engaged_names_every_shape_within_the_panel():
    trees = {"16x0": (16, [95, 95.5]), "5x1": (10, [94, 94.4]), "1x3": (4, [86, 90])}
    figure = plots.accuracy_by_engaged(trees, {16: [95], 10: [94], 4: [85, 85]}, "engaged")
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.texts] == list(trees)
    assert list(panel.get_xticks()) == [16, 10, 4] and not panel.get_xticks(minor=True).size
    assert not texts_that_leave(figure) and not texts_that_collide(panel)


def test_turns_show_every_visit():
    logit = np.array([[-30.0, -1, 0], [2, 3, 20]])
    curve, histogram = plots.turns(logit, np.tanh, ("curve", "turns")).axes
    assert sum(bar.get_height() for bar in histogram.patches) == logit.size
    left = [bar for bar in histogram.patches if bar.get_height() and bar.get_x() + bar.get_width() <= 1e-9]
    assert sum(bar.get_height() for bar in left) == 2  # 0 is in the first bin above the edge
    assert [panel.get_title(loc="left") for panel in (curve, histogram)] == ["curve", "turns"]

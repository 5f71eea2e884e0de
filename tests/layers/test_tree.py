"""Index arithmetic against drawings of small trees, and the descent against the oracle's loops."""

import numpy as np
import pytest

from fffref import algorithms
from fffref.layers import tree


def test_a_drawn_tree():
    assert [tree.n_nodes(d) for d in range(4)] == [0, 1, 3, 7] and [tree.n_leaves(d) for d in range(4)] == [1, 2, 4, 8]
    assert tree.children(0) == (1, 2) and tree.children(2) == (5, 6)
    assert [tree.parent(n) for n in (1, 2, 5, 6)] == [0, 0, 2, 2]
    assert [list(range(7))[tree.level(k)] for k in range(3)] == [[0], [1, 2], [3, 4, 5, 6]]
    assert tree.path(0, 0) == ([], [])
    assert tree.path(5, 3) == ([0, 2, 5], [True, False, True])


@pytest.mark.parametrize("depth", range(1, 6))
def test_paths_levels_and_parents_agree(depth):
    for leaf in range(tree.n_leaves(depth)):
        nodes, rights = tree.path(leaf, depth)
        for k, (node, right) in enumerate(zip(nodes, rights, strict=True)):
            assert node in range(*tree.level(k).indices(tree.n_nodes(depth)))
            below = nodes[k + 1] if k + 1 < depth else tree.n_nodes(depth) + leaf
            assert below == tree.children(node)[right] and tree.parent(below) == node


@pytest.mark.parametrize("depth", range(12))
def test_depth_of_inverts_n_nodes(depth):
    assert tree.depth_of(tree.n_nodes(depth)) == depth


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: tree.n_nodes(-1), ValueError, "depth must be at least 0, got -1"),
        (lambda: tree.n_nodes(1.5), TypeError, "depth must be an integer, got 1.5"),
        (lambda: tree.n_nodes(True), TypeError, "depth must be an integer, got True"),
        (lambda: tree.n_leaves(31), ValueError, "depth must be at most 30"),
        (lambda: tree.depth_of(4), ValueError, "2\\*\\*depth - 1"),
        (lambda: tree.parent(0), ValueError, "root"),
        (lambda: tree.path(8, 3), ValueError, "leaf must be at most 7, got 8"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("depth", range(5))
def test_the_descent_is_the_oracles(depth, rng):
    x, weight = rng.standard_normal((9, 3)), rng.standard_normal((tree.n_nodes(depth), 3))
    bias = rng.standard_normal(len(weight))
    nodes, logits, end = tree.descend(x, weight, bias, lambda logit: logit > 0)
    expected_logits, expected_nodes = algorithms.CMM(x, weight, bias)
    np.testing.assert_array_equal(nodes, np.array(expected_nodes, int).reshape(9, depth))
    np.testing.assert_allclose(logits, np.array(expected_logits).reshape(9, depth), rtol=1e-12)
    for row in range(9):
        path, rights = tree.path(int(end[row]), depth)
        assert path == nodes[row].tolist() and rights == (logits[row] > 0).tolist()

"""Index arithmetic of a complete binary tree in level order, and the descent that both layers share.

        0               node n has children 2n + 1 (left) and 2n + 2 (right);
      1   2             level k is the slice [2^k - 1, 2^(k+1) - 1);
     3 4 5 6            leaf j of a depth-d tree is "node" 2^d - 1 + j, one level below the last routing level.

# B batch, I inputs, N nodes, D levels of nodes
"""

import numpy as np

from .. import checks

DEEPEST = 30  # 2^30 rows: beyond it, no machine that we know holds the weights


def n_nodes(depth):
    """Number of routing nodes above the leaves of a tree: 2^depth - 1."""
    return 2 ** checks.integer("depth", depth, 0, DEEPEST) - 1  # 1 + 2 + ... + 2^(depth - 1)


def n_leaves(depth):
    """Number of leaves: 2^depth."""
    return n_nodes(depth) + 1


def depth_of(n_nodes):
    """Inverse of `n_nodes`; refuses a number that is not 2^depth - 1."""
    depth = (n_nodes + 1).bit_length() - 1  # log2, in whole numbers
    if n_nodes + 1 != 2**depth:
        raise checks.InputError(f"a complete binary tree has 2**depth - 1 nodes (0, 1, 3, 7, ...), got {n_nodes}")
    return depth


def children(node):
    """Left and right child."""
    return 2 * node + 1, 2 * node + 2


def parent(node):
    """The node whose child this is; the root has none."""
    if np.any(np.asarray(node) < 1):
        raise checks.InputError("the root (node 0) has no parent")
    return (node - 1) // 2  # of 2n + 1 and of 2n + 2


def level(k):
    """The nodes of level `k`, the root's being 0, as a slice."""
    return slice(2**k - 1, 2 ** (k + 1) - 1)  # 2^k nodes, behind the 2^k - 1 above them


def path(leaf, depth):
    """Nodes on the way from the root to `leaf`, and whether the way turns right there.

    Returns
    -------
    nodes : list of int, of length depth
    rights : list of bool, of length depth
    """
    leaf = checks.integer("leaf", leaf, 0, n_leaves(depth) - 1)
    rights = [bool(leaf >> bit & 1) for bit in reversed(range(depth))]  # a leaf's number in binary is the way to it
    nodes, node = [], 0
    for right in rights:
        nodes.append(node)
        node = children(node)[right]
    return nodes, rights


def descend(x, weight, bias, goes_right):
    """Walk every row of `x` from the root to the bottom: one dot product a level.

    logit = x . weight[node] + bias[node];  node <- 2 node + 1 + goes_right(logit)

    Parameters
    ----------
    x : ndarray (B, I)
    weight : ndarray (N, I)
    bias : ndarray (N,)
    goes_right : callable
        From logits to booleans: `>= 0` in the first paper, `> 0` in the second.

    Returns
    -------
    nodes : ndarray of int (B, D)
        The nodes visited.
    logits : ndarray (B, D)
        Their logits.
    end : ndarray of int (B,)
        Where the last decision leads, counted from 0 along the level below the last.
    """
    depth = depth_of(len(weight))
    nodes = np.empty((len(x), depth), np.intp)
    logits = np.empty((len(x), depth), x.dtype)
    node = np.zeros(len(x), np.intp)  # (B,), all at the root
    for k in range(depth):
        nodes[:, k] = node
        # (B, I), (B, I) -> (B,): each row with its own node's weight
        logits[:, k] = np.einsum("bi,bi->b", x, weight[node]) + bias[node]
        node = 2 * node + 1 + goes_right(logits[:, k])  # left child, or the one beside it
    return nodes, logits, node - len(weight)  # the level below begins at N

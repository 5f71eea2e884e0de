"""The papers' pseudo-code as plain recursion and loops over scalars and rows: slow, obviously right.

This file is the oracle of all tests. It is never optimised and shares no code with the layers: what it needs
(sigmoid, the activations, a dot product) it spells out. Symbols are the papers' own; where the indices of the
printed algorithms do not fit their own text, the docstring says what was mended.

[1] P. Belcak and R. Wattenhofer, "Fast Feedforward Networks", arXiv 2308.14711, Algorithm 1.
[2] P. Belcak and R. Wattenhofer, "Exponentially Faster Language Modelling", arXiv 2311.10770, Algorithm 1.
[3] N. Shazeer et al., "Outrageously Large Neural Networks", arXiv 1701.06538, sections 2 and 4, appendix A.
[4] H. Hazimeh et al., "The Tree Ensemble Layer: Differentiability meets Conditional Computation", arXiv 2002.07772.
[5] D. Blalock and J. Guttag, "Multiplying Matrices Without Multiplying", arXiv 2106.10860, Algorithm 1.
"""

import math


def sigma(z):
    """Logistic function of one number."""
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def smooth_step(z):
    """S(t) of [4], equation 3, with gamma = 6: a cubic from 0 to 1 between -gamma/2 and gamma/2."""
    gamma = 6
    if z <= -gamma / 2:
        return 0.0
    return 1.0 if z >= gamma / 2 else -2 / gamma**3 * z**3 + 3 / (2 * gamma) * z + 1 / 2


def Activation(name, z):
    """Activation of one number."""
    if name == "relu":
        return z if z > 0 else 0.0 * z if math.isnan(z) else 0.0
    if name == "gelu":
        return z * (1 + math.erf(z / math.sqrt(2))) / 2
    return {"tanh": math.tanh, "identity": float}[name](z)


def dActivation(name, z):
    """Derivative of the activation of one number; that of relu at 0 is 0."""
    if name == "relu":
        return 1.0 if z > 0 else 0.0
    if name == "gelu":
        return (1 + math.erf(z / math.sqrt(2))) / 2 + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return 1 - math.tanh(z) ** 2 if name == "tanh" else 1.0


def Entropy(z):
    """-c log c - (1 - c) log(1 - c) in nats, of the choice c = sigma(z); in terms of |z|, no digit cancels."""
    return Softplus(-abs(z)) + abs(z) * sigma(-abs(z))


def dot(a, b):
    """Inner product of two rows."""
    return math.fsum(float(p) * float(q) for p, q in zip(a, b, strict=True))


def net(iota, activation, W_in, b_in, W_out, b_out):
    """Output of a small feedforward net with both of its biases, as a list; a neuron is a row of W_in and of W_out."""
    hidden = [Activation(activation, dot(iota, w) + float(b)) for w, b in zip(W_in, b_in, strict=True)]
    return [
        math.fsum(h * float(row[o]) for h, row in zip(hidden, W_out, strict=True)) + float(b)
        for o, b in enumerate(b_out)
    ]


def leaf(iota, fff, n):
    """Output of leaf network n."""
    arrays = fff.leaf_in_weight, fff.leaf_in_bias, fff.leaf_out_weight, fff.leaf_out_bias
    return net(iota, fff.activation, *(array[n] for array in arrays))


def FORWARD_T(iota, fff, m=0, n=0, temperature=1.0, choice=sigma):
    """Algorithm 1 of [1], training: the soft output of the subtree under node N_{m,n}.

    Parameters
    ----------
    iota : sequence of float
        One input.
    fff : LeafFFF
        Only its arrays and the activation's name are read.
    m, n : int
        Level, and position within the level. Node N_{m,n} is number 2^m - 1 + n in level order; its children
        are N_{m+1,2n} (left) and N_{m+1,2n+1} (right). At m = d, it is leaf n.
    temperature : float
        Divides the logit; 1 in the paper.
    choice : callable
        From a logit to the weight of the right child: `sigma` in the paper, or `smooth_step`.

    Returns
    -------
    list of float

    Notes
    -----
    The choice c weighs the right child and 1 - c the left one, as in the authors' package. (With c and 1 - c
    exchanged, the same function is had by negating every node: a convention, but weights do not carry over.)
    """
    if 2**m - 1 == len(fff.node_bias):
        return leaf(iota, fff, n)
    N = 2**m - 1 + n
    c = choice((dot(iota, fff.node_weight[N]) + float(fff.node_bias[N])) / temperature)
    left = FORWARD_T(iota, fff, m + 1, 2 * n, temperature, choice)
    right = FORWARD_T(iota, fff, m + 1, 2 * n + 1, temperature, choice)
    return [(1 - c) * a + c * b for a, b in zip(left, right, strict=True)]


def FORWARD_I(iota, fff, m=0, n=0):
    """Algorithm 1 of [1], inference: the hard output of the subtree under N_{m,n}, and the leaf reached.

    Parameters
    ----------
    iota, fff, m, n
        As in `FORWARD_T`.

    Returns
    -------
    output : list of float
    n : int
        The leaf.

    Notes
    -----
    Right iff c >= 1/2. It is written here as z >= 0, which is the same for real numbers; in floating point,
    sigma of a tiny negative z rounds to 1/2.
    """
    if 2**m - 1 == len(fff.node_bias):
        return leaf(iota, fff, n), n
    N = 2**m - 1 + n
    z = dot(iota, fff.node_weight[N]) + float(fff.node_bias[N])
    if z >= 0:
        return FORWARD_I(iota, fff, m + 1, 2 * n + 1)
    return FORWARD_I(iota, fff, m + 1, 2 * n)


def BACKWARD_T(iota, fff, g, h=0.0, m=0, n=0):
    """Derivatives of g . FORWARD_T(iota, fff, m, n) + h (sum of the entropies of the subtree's choices).

    Parameters
    ----------
    iota, fff, m, n
        As in `FORWARD_T`; the temperature is 1 and the choice is `sigma`.
    g : sequence of float
        Derivative of a loss with respect to each output.
    h : float
        Weight of the hardening loss, the sum of all choices' entropies in nats.

    Returns
    -------
    dict of (str, int) to nested lists
        The derivative with respect to entry n of an array: `("node_weight", 2)` has that of `node_weight[2]`.
        The array "x" has the one entry 0, the input.

    Notes
    -----
    The output is (1 - c) left + c right, so the subtrees get (1 - c) g and c g, and c itself g . (right - left).
    With c = sigma(z): dc/dz = c (1 - c), and d Entropy/dz = -z c (1 - c).
    """
    if 2**m - 1 == len(fff.node_bias):
        return leaf_backward(iota, fff, g, n)
    N = 2**m - 1 + n
    z = dot(iota, fff.node_weight[N]) + float(fff.node_bias[N])
    c = sigma(z)
    left, right = (FORWARD_T(iota, fff, m + 1, 2 * n + side) for side in (0, 1))
    dz = (dot(g, [b - a for a, b in zip(left, right, strict=True)]) - h * z) * c * (1 - c)
    dleft = BACKWARD_T(iota, fff, [(1 - c) * v for v in g], h, m + 1, 2 * n)
    dright = BACKWARD_T(iota, fff, [c * v for v in g], h, m + 1, 2 * n + 1)
    dx = [a + b + dz * float(w) for a, b, w in zip(dleft["x", 0], dright["x", 0], fff.node_weight[N], strict=True)]
    own = {("node_weight", N): [dz * float(v) for v in iota], ("node_bias", N): dz, ("x", 0): dx}
    return dleft | dright | own


def leaf_backward(iota, fff, g, n):
    """Derivatives of g . leaf(iota, fff, n), as `BACKWARD_T` returns them."""
    W_in, W_out = fff.leaf_in_weight[n], fff.leaf_out_weight[n]
    z = [dot(iota, w) + float(b) for w, b in zip(W_in, fff.leaf_in_bias[n], strict=True)]
    dz = [dot(g, row) * dActivation(fff.activation, v) for row, v in zip(W_out, z, strict=True)]
    return {
        ("leaf_in_weight", n): [[d * float(v) for v in iota] for d in dz],
        ("leaf_in_bias", n): dz,
        ("leaf_out_weight", n): [[Activation(fff.activation, v) * float(o) for o in g] for v in z],
        ("leaf_out_bias", n): [float(o) for o in g],
        ("x", 0): [dot(dz, column) for column in zip(*W_in, strict=True)],
    }


def CMM(I, W_in, b_in):
    """Algorithm 1 of [2], conditional matrix multiplication: logits and nodes on the path of every row.

    Parameters
    ----------
    I : sequence of B rows
    W_in, b_in : 2^D - 1 rows, 2^D - 1 numbers

    Returns
    -------
    L : list of B lists of D float
        Logits.
    N : list of B lists of D int
        Nodes, in level order.

    Notes
    -----
    The printed loop and the printed output sum do not run over the same indices; here every visited node has
    its logit, and the input bias is added, as in the authors' training code.
    """
    D = (len(W_in) + 1).bit_length() - 1
    L = [[0.0] * D for _ in I]
    N = [[0] * D for _ in I]
    for i, iota in enumerate(I):
        node = 0
        for d in range(D):
            N[i][d] = node
            L[i][d] = dot(iota, W_in[node]) + float(b_in[node])
            node = 2 * node + 1 + (1 if L[i][d] > 0 else 0)
    return L, N


def FFF_I(I, fff):
    """Algorithm 1 of [2], inference: O_i = sum_d Activation(L_{i,d}) W_out[N_{i,d}], summed over the trees.

    Parameters
    ----------
    I : sequence of B rows
    fff : PathFFF
        Only its arrays and the activation's name are read.

    Returns
    -------
    O : list of B lists of float
    N : list of B lists, one per tree, of nodes
    """
    O = [[0.0] * len(fff.out_weight[0][0]) for _ in I]
    nodes = [[] for _ in I]
    for W_in, b_in, W_out in zip(fff.in_weight, fff.in_bias, fff.out_weight, strict=True):
        L, N = CMM(I, W_in, b_in)
        for i in range(len(I)):
            nodes[i].append(N[i])
            for z, n in zip(L[i], N[i], strict=True):
                for o in range(len(O[i])):
                    O[i][o] += Activation(fff.activation, z) * float(W_out[n][o])
    return O, nodes


def FFF_B(iota, fff, g):
    """Derivatives of g . (output of `FFF_I` for one row): the neurons on the path have one, all others have none.

    Parameters
    ----------
    iota : sequence of float
    fff : PathFFF
        Only its arrays and the activation's name are read.
    g : sequence of float
        Derivative of a loss with respect to each output.

    Returns
    -------
    dict of (str, int, int) or (str, int) to lists and numbers
        `("in_weight", k, n)` has the derivative with respect to neuron n of tree k, `("x", 0)` that of the input.
    """
    derivatives, dx = {}, [0.0 for _ in iota]
    for k, (W_in, b_in, W_out) in enumerate(zip(fff.in_weight, fff.in_bias, fff.out_weight, strict=True)):
        (L,), (N,) = CMM([iota], W_in, b_in)
        for z, n in zip(L, N, strict=True):
            dz = dot(g, W_out[n]) * dActivation(fff.activation, z)
            derivatives["in_weight", k, n] = [dz * float(v) for v in iota]
            derivatives["in_bias", k, n] = dz
            derivatives["out_weight", k, n] = [Activation(fff.activation, z) * float(o) for o in g]
            dx = [a + dz * float(w) for a, w in zip(dx, W_in[n], strict=True)]
    return derivatives | {("x", 0): dx}


def path_mask(fff, N):
    """The 0/1 mask (K, M) of one row's path: what the authors' release multiplies a dense layer by."""
    return [[1 if n in path else 0 for n in range(len(b_in))] for path, b_in in zip(N, fff.in_bias, strict=True)]


def kth_excluding(v, k, i):
    """The k-th highest component of v, component i excluded [3]; -inf if there are no k others."""
    others = sorted((component for j, component in enumerate(v) if j != i), reverse=True)
    return others[k - 1] if k <= len(others) else -math.inf


def KeepTopK(v, k):
    """Equation 5 of [3]: all but the k highest components become -inf; of equal ones, the first are kept."""
    kept = sorted(range(len(v)), key=lambda i: (-v[i], i))[:k]
    return [component if i in kept else -math.inf for i, component in enumerate(v)]


def Softplus(z):
    """log(1 + exp(z)) of one number."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def MoE(x, moe, noise=None):
    """Equations 1 to 5 and 9 of [3]: output, gates and load of one input.

    Parameters
    ----------
    x : sequence of float
    moe : MoE
        Only its arrays, k and the activation's name are read.
    noise : sequence of E float, optional
        Standard normal draws; none in inference.

    Returns
    -------
    y, G : list of float
    P : list of float, or None without noise

    Notes
    -----
    0.01 is added to the deviation of the noise, as in the authors' code; the paper has none.
    """
    clean = [dot(x, row) for row in moe.gate_weight]
    deviation = [Softplus(dot(x, row)) + 0.01 for row in moe.noise_weight]
    draws = [0.0] * len(clean) if noise is None else noise
    H = [c + float(n) * s for c, n, s in zip(clean, draws, deviation, strict=True)]
    exp = [math.exp(h - max(H)) for h in KeepTopK(H, moe.k)]
    G = [e / math.fsum(exp) for e in exp]
    y = [0.0] * moe.expert_out_bias.shape[1]
    for i, gate in enumerate(G):
        if gate > 0:
            y = [a + gate * b for a, b in zip(y, _expert(x, moe, i), strict=True)]
    if noise is None:
        return y, G, None
    u = [(c - kth_excluding(H, moe.k, i)) / s for i, (c, s) in enumerate(zip(clean, deviation, strict=True))]
    return y, G, [(1 + math.erf(v / math.sqrt(2))) / 2 for v in u]


def _expert(x, moe, i):
    """Output of expert i."""
    arrays = moe.expert_in_weight, moe.expert_in_bias, moe.expert_out_weight, moe.expert_out_bias
    return net(x, moe.activation, *(array[i] for array in arrays))


def MADDNESSHASH(a, split_column, threshold, t=0, i=0):
    """Algorithm 1 of [5]: the code of one row in one codebook, by recursion over the levels of its tree.

    Parameters
    ----------
    a : sequence of float
        One row of the left matrix.
    split_column : sequence of int
        The column that each level looks at.
    threshold : sequence of float
        One a node, in level order.
    t, i : int
        Level, and node within the level, counted from 0; the paper counts from 1.

    Returns
    -------
    int
        Which leaf, from left to right.
    """
    if t == len(split_column):
        return i
    b = 1 if float(a[split_column[t]]) >= float(threshold[2**t - 1 + i]) else 0
    return MADDNESSHASH(a, split_column, threshold, t + 1, 2 * i + b)

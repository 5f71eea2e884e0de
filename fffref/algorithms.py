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
    # exp of a negative number alone: math.exp raises on overflow
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def smooth_step(z):
    """S(t) of [4], equation 3, with gamma = 6: a cubic from 0 to 1 between -gamma/2 and gamma/2."""
    gamma = 6  # the band is -3 to 3; the slope at 0 is then 1/4, sigma's
    if z <= -gamma / 2:
        return 0.0
    return 1.0 if z >= gamma / 2 else -2 / gamma**3 * z**3 + 3 / (2 * gamma) * z + 1 / 2


def Activation(name, z):
    """Activation of one number."""
    if name == "relu":
        return z if z > 0 else 0.0 * z if math.isnan(z) else 0.0  # NaN stays NaN
    if name == "gelu":
        return z * (1 + math.erf(z / math.sqrt(2))) / 2  # z Phi(z), exact, no tanh
    return {"tanh": math.tanh, "identity": float}[name](z)


def dActivation(name, z):
    """Derivative of the activation of one number; that of relu at 0 is 0."""
    if name == "relu":
        return 1.0 if z > 0 else 0.0
    if name == "gelu":
        # Phi(z) + z phi(z)
        return (1 + math.erf(z / math.sqrt(2))) / 2 + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return 1 - math.tanh(z) ** 2 if name == "tanh" else 1.0  # identity: 1


def Entropy(z):
    """-c log c - (1 - c) log(1 - c) in nats, of the choice c = sigma(z); in terms of |z|, no digit cancels."""
    return Softplus(-abs(z)) + abs(z) * sigma(-abs(z))  # H = log(1 + e^-|z|) + |z| e^-|z| / (1 + e^-|z|)


def dot(a, b):
    """Inner product of two rows."""
    # fsum rounds once, whatever the order of the terms
    return math.fsum(float(p) * float(q) for p, q in zip(a, b, strict=True))


def net(iota, activation, W_in, b_in, W_out, b_out):
    """Output of a small feedforward net with both of its biases, as a list; a neuron is a row of W_in and of W_out."""
    # Activation(W_in iota + b_in)
    hidden = [Activation(activation, dot(iota, w) + float(b)) for w, b in zip(W_in, b_in, strict=True)]
    return [
        # (hidden W_out)_o + b_out_o
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
    if 2**m - 1 == len(fff.node_bias):  # [1], FORWARD_T: N_{m,n} is a leaf when all levels of nodes lie above it
        return leaf(iota, fff, n)
    N = 2**m - 1 + n  # its number in level order
    c = choice((dot(iota, fff.node_weight[N]) + float(fff.node_bias[N])) / temperature)  # c_{m,n} <- N_{m,n}(iota)
    left = FORWARD_T(iota, fff, m + 1, 2 * n, temperature, choice)  # FORWARD_T(iota, N_{m+1,2n})
    right = FORWARD_T(iota, fff, m + 1, 2 * n + 1, temperature, choice)  # FORWARD_T(iota, N_{m+1,2n+1})
    return [(1 - c) * a + c * b for a, b in zip(left, right, strict=True)]  # their mixture, output by output


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
    if 2**m - 1 == len(fff.node_bias):  # [1], FORWARD_I: the leaf's own output
        return leaf(iota, fff, n), n
    N = 2**m - 1 + n
    z = dot(iota, fff.node_weight[N]) + float(fff.node_bias[N])  # logit of c_{m,n}
    if z >= 0:  # c_{m,n} >= 1/2: one child alone is evaluated
        return FORWARD_I(iota, fff, m + 1, 2 * n + 1)  # right, N_{m+1,2n+1}
    return FORWARD_I(iota, fff, m + 1, 2 * n)  # left, N_{m+1,2n}


def SEARCH(iota, fff, k):
    """The k leaves of the largest mass, found by following the largest mass first, and their mixture.

    Parameters
    ----------
    iota, fff
        As in `FORWARD_T`.
    k : int

    Returns
    -------
    output : list of float
        Of `TopLeaves`.
    leaves : list of int
        The heaviest first.
    computed : list of int
        The nodes whose choice was needed.
    """
    N = len(fff.node_bias)
    frontier, computed, masses = [(-1.0, 0)], [], {}  # masses negated; all of it is at the root
    while len(masses) < k:
        mass, n = min(frontier)  # the largest mass; what is below has no more than that
        frontier.remove((mass, n))
        if n >= N:
            masses[n - N] = -mass  # a leaf, and nothing on the frontier is heavier
            continue
        computed.append(n)
        z = dot(iota, fff.node_weight[n]) + float(fff.node_bias[n])
        frontier += [(mass * sigma(-z), 2 * n + 1), (mass * sigma(z), 2 * n + 2)]  # left, right
    outputs = [leaf(iota, fff, n) for n in masses]
    total = math.fsum(masses.values())
    return [dot(masses.values(), column) / total for column in zip(*outputs, strict=True)], list(masses), computed


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
    # computed again at every level: slow, and no tape to be wrong
    left, right = (FORWARD_T(iota, fff, m + 1, 2 * n + side) for side in (0, 1))
    # of the output and of the entropy, both by way of c
    dz = (dot(g, [b - a for a, b in zip(left, right, strict=True)]) - h * z) * c * (1 - c)
    dleft = BACKWARD_T(iota, fff, [(1 - c) * v for v in g], h, m + 1, 2 * n)  # (1 - c) g goes left
    dright = BACKWARD_T(iota, fff, [c * v for v in g], h, m + 1, 2 * n + 1)  # c g goes right
    # both subtrees, and the choice itself
    dx = [a + b + dz * float(w) for a, b, w in zip(dleft["x", 0], dright["x", 0], fff.node_weight[N], strict=True)]
    own = {("node_weight", N): [dz * float(v) for v in iota], ("node_bias", N): dz, ("x", 0): dx}
    return dleft | dright | own  # no node is in both subtrees; ("x", 0), in all three, is the last one's sum


def leaf_backward(iota, fff, g, n):
    """Derivatives of g . leaf(iota, fff, n), as `BACKWARD_T` returns them."""
    # the chain rule through `net`, a neuron at a time
    W_in, W_out = fff.leaf_in_weight[n], fff.leaf_out_weight[n]
    z = [dot(iota, w) + float(b) for w, b in zip(W_in, fff.leaf_in_bias[n], strict=True)]
    # of each neuron's logit
    dz = [dot(g, row) * dActivation(fff.activation, v) for row, v in zip(W_out, z, strict=True)]
    return {
        ("leaf_in_weight", n): [[d * float(v) for v in iota] for d in dz],  # d z / d w = iota
        ("leaf_in_bias", n): dz,
        # d output_o / d w_o = activation
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
    D = (len(W_in) + 1).bit_length() - 1  # 2^D - 1 nodes are D levels
    L = [[0.0] * D for _ in I]
    N = [[0] * D for _ in I]
    for i, iota in enumerate(I):
        node = 0  # [2], Algorithm 1, CMM: every row begins at the root
        for d in range(D):
            N[i][d] = node  # N_{i,d}
            # L_{i,d}: the one row of W_in that is read at this level
            L[i][d] = dot(iota, W_in[node]) + float(b_in[node])
            node = 2 * node + 1 + (1 if L[i][d] > 0 else 0)  # N_{i,d+1} = 2 N_{i,d} + 1 + [L_{i,d} > 0]
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
    # tree by tree; with one tree, it is the paper's
    for W_in, b_in, W_out in zip(fff.in_weight, fff.in_bias, fff.out_weight, strict=True):
        L, N = CMM(I, W_in, b_in)  # L, N <- CMM(I, W_in)
        for i in range(len(I)):
            nodes[i].append(N[i])
            for z, n in zip(L[i], N[i], strict=True):
                for o in range(len(O[i])):
                    # O_i += Activation(L_{i,d}) W_out[N_{i,d}]
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
        # the path is taken as given: a decision is a step, whose derivative is 0
        (L,), (N,) = CMM([iota], W_in, b_in)
        for z, n in zip(L, N, strict=True):
            dz = dot(g, W_out[n]) * dActivation(fff.activation, z)  # of the neuron's logit
            derivatives["in_weight", k, n] = [dz * float(v) for v in iota]
            derivatives["in_bias", k, n] = dz
            derivatives["out_weight", k, n] = [Activation(fff.activation, z) * float(o) for o in g]
            # summed over the path, and over the trees
            dx = [a + dz * float(w) for a, w in zip(dx, W_in[n], strict=True)]
    return derivatives | {("x", 0): dx}


def path_mask(fff, N):
    """The 0/1 mask (K, M) of one row's path: what the authors' release multiplies a dense layer by."""
    return [[1 if n in path else 0 for n in range(len(b_in))] for path, b_in in zip(N, fff.in_bias, strict=True)]


def kth_excluding(v, k, i):
    """The k-th highest component of v, component i excluded [3]; -inf if there are no k others."""
    # i itself left out, the highest first
    others = sorted((component for j, component in enumerate(v) if j != i), reverse=True)
    return others[k - 1] if k <= len(others) else -math.inf


def KeepTopK(v, k):
    """Equation 5 of [3]: all but the k highest components become -inf; of equal ones, the first are kept."""
    kept = sorted(range(len(v)), key=lambda i: (-v[i], i))[:k]  # of equals, the lower index
    return [component if i in kept else -math.inf for i, component in enumerate(v)]


def Softplus(z):
    """log(1 + exp(z)) of one number."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))  # log(1 + e^z) = max(z, 0) + log(1 + e^-|z|)


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
    clean = [dot(x, row) for row in moe.gate_weight]  # W_g x
    deviation = [Softplus(dot(x, row)) + 0.01 for row in moe.noise_weight]  # Softplus(W_noise x), and the floor
    draws = [0.0] * len(clean) if noise is None else noise
    H = [c + float(n) * s for c, n, s in zip(clean, draws, deviation, strict=True)]  # [3], equation 4
    exp = [math.exp(h - max(H)) for h in KeepTopK(H, moe.k)]  # exp(-inf) = 0: what was not kept
    G = [e / math.fsum(exp) for e in exp]  # equation 3: softmax(KeepTopK(H(x), k))
    y = [0.0] * moe.expert_out_bias.shape[1]
    for i, gate in enumerate(G):
        if gate > 0:  # equation 1; "wherever G(x)_i = 0, we need not compute E_i(x)"
            y = [a + gate * b for a, b in zip(y, _expert(x, moe, i), strict=True)]
    if noise is None:
        return y, G, None
    # equation 9's argument, of every expert
    u = [(c - kth_excluding(H, moe.k, i)) / s for i, (c, s) in enumerate(zip(clean, deviation, strict=True))]
    return y, G, [(1 + math.erf(v / math.sqrt(2))) / 2 for v in u]  # P(x, i) = Phi(u_i)


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
    if t == len(split_column):  # [5], Algorithm 1: after the last level, i is the code
        return i
    b = 1 if float(a[split_column[t]]) >= float(threshold[2**t - 1 + i]) else 0  # b <- x_{j^t} >= v ? 1 : 0
    return MADDNESSHASH(a, split_column, threshold, t + 1, 2 * i + b)  # i <- 2 i + b; the paper, from 1: 2 i - 1 + b

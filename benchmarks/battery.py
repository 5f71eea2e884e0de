"""The functions of `gradcheck_battery.py`: each with points, a right gradient, and wrong ones that arithmetic can tell.

A function is written so that it computes in the dtype of its argument, complex ones included: its right gradient is the
complex step in extended precision, rounded. It shares nothing with the differences that are under test.
"""

from dataclasses import dataclass

import numpy as np

from fffref import LeafFFF, PathFFF
from fffref.differences import rounding_of

C = np.random.default_rng(1)
W, V, A, B = C.standard_normal((5, 6)), C.standard_normal(5), C.standard_normal(6), C.uniform(0.5, 2, 6)
M = C.standard_normal((6, 6))


def like(constant, z):
    """A constant in the real dtype of z."""
    return np.asarray(constant, z.real.dtype)


def softmax(z):
    """Along the last axis."""
    e = np.exp(z - z.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def norm(z):
    """Layer norm along the last axis."""
    d = z - z.mean(-1, keepdims=True)
    return d / np.sqrt((d * d).mean(-1, keepdims=True) + like(1e-5, z))


def attention(z):
    """Three tokens of two features, attending to each other."""
    t = z.reshape(3, 2)
    return (softmax(t @ t.T / like(2**0.5, z)) @ t * like(M[:3, :2], z)).sum()


def relu(z):
    """As programs have it."""
    return np.where(z.real > 0, z, 0)


def magnitude(z):
    """|z| of real z, complex-safe."""
    return np.where(z.real > 0, z, -z)


def tree(layer):
    """A sum of a layer's outputs as a function of its input, the layer in the input's dtype."""
    layers = {t: layer.astype(t) for t in (np.float32, np.float64, np.complex128)}

    def f(z):
        t = z.dtype.type if z.dtype.type in layers else np.complex128
        y = layers[t].forward(z.astype(t))[0]
        return (y * like(V[: y.shape[-1]], y)).sum()

    return f


RNG = np.random.default_rng(2)
SMOOTH = {
    "square": lambda z: (like(A, z) * z * z).sum(),
    "cube": lambda z: (z**3).sum(),
    "quartic and square": lambda z: 1000 * z[0] ** 4 + (z[1:] ** 2).sum(),
    "polynomial": lambda z: (1 + z * (2 + z * (3 - z * (1 + z)))).sum(),
    "product": lambda z: np.prod(z + 2),
    "linear": lambda z: (like(A, z) * z).sum(),
    "linear, large and small": lambda z: (like(10.0 ** np.arange(6) / 100, z) * z).sum(),
    "quadratic form": lambda z: z @ like(M, z) @ z,
    "least squares": lambda z: ((like(W, z) @ z - like(V, z)) ** 2).sum(),
    "rational": lambda z: (z / (1 + z * z)).sum(),
    "inverse": lambda z: (1 / (3 + z)).sum(),
    "ratio of sums": lambda z: (like(A, z) * z).sum() / (7 + (z * z).sum()),
    "exp": lambda z: np.exp(z).sum(),
    "exp, steep": lambda z: np.exp(5 * z).sum(),
    "log": lambda z: np.log(4 + z).sum(),
    "log1p of square": lambda z: np.log1p(z * z).sum(),
    "entropy": lambda z: -(softmax(z) * np.log(softmax(z))).sum(),
    "sqrt": lambda z: np.sqrt(4 + z).sum(),
    "power": lambda z: ((4 + z) ** like(1.7, z)).sum(),
    "sin": lambda z: np.sin(z).sum(),
    "sin, fast": lambda z: np.sin(50 * z).sum(),
    "sin, slow": lambda z: np.sin(z / 1000).sum(),
    "tanh": lambda z: np.tanh(z).sum(),
    "arctan": lambda z: np.arctan(z).sum(),
    "sigmoid": lambda z: (1 / (1 + np.exp(-z))).sum(),
    "softplus": lambda z: np.log1p(np.exp(z)).sum(),
    "gauss": lambda z: np.exp(-z * z).sum(),
    "bump": lambda z: (1 / (1 + (10 * (z - 0.3)) ** 2)).sum(),
    "euclidean norm": lambda z: np.sqrt((z * z).sum() + like(1e-12, z)),
    "4-norm": lambda z: ((z**4).sum() + like(1e-12, z)) ** like(0.25, z),
    "cosine": lambda z: (like(A, z) * z).sum() / np.sqrt((z * z).sum() + like(1e-12, z)),
    "logsumexp": lambda z: z.real.max() + np.log(np.exp(z - z.real.max()).sum()),
    "softmax": lambda z: (like(A, z) * softmax(z)).sum(),
    "softmax, sum": lambda z: softmax(z).sum(),
    "cross-entropy": lambda z: -np.log(softmax(z)[2]),
    "cross-entropy of rows": lambda z: -np.log(softmax(z.reshape(2, 3))[:, 1]).mean(),
    "layer norm": lambda z: (like(A, z) * norm(z)).sum(),
    "layer norm, sum": lambda z: norm(z).sum(),
    "layer norm of rows": lambda z: (like(M[:2, :3], z) * norm(z.reshape(2, 3))).sum(),
    "attention": attention,
    "attention, key's bias": lambda z: (softmax(like(M[:2, :6], z) + z.sum()) * like(M[2:4], z)).sum(),
    "perceptron": lambda z: (like(V, z) * np.tanh(like(W, z) @ z)).sum(),
    "perceptron, two layers": lambda z: np.tanh(like(M, z) @ np.tanh(like(M, z) @ z)).sum(),
    "gated": lambda z: (z[:3] / (1 + np.exp(-z[3:]))).sum(),
    "matrix product": lambda z: ((z.reshape(2, 3) @ like(M[:3, :4], z)) * like(M[:2, :4], z)).sum(),
    "gram": lambda z: (z.reshape(3, 2) @ z.reshape(3, 2).T * like(M[:3, :3], z)).sum(),
    "outer, broadcast": lambda z: ((z[:3, None] - z[None, 3:]) ** 2).sum(),
    "variance": lambda z: ((z - z.mean()) ** 2).mean(),
    "convolution": lambda z: (np.convolve(z, like([1, -2, 3], z)) ** 2).sum(),
    "cumulated": lambda z: (np.cumsum(z) ** 2).sum(),
    "gather": lambda z: (z[[0, 0, 3, 5]] * like(A[:4], z)).sum() + (z * z).sum(),
    "offset": lambda z: 1e4 + np.sin(z).sum(),
    "shifted": lambda z: ((z + 100) ** 2).sum() - 60000,
    "Rosenbrock": lambda z: (100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum(),
    "Rastrigin": lambda z: (z * z - 10 * np.cos(2 * np.pi * z) + 10).sum(),
    "Ackley": lambda z: -20 * np.exp(-np.sqrt((z * z).mean() + like(1e-9, z)) / 5) - np.exp(np.cos(6 * z).mean()),
    "Griewank": lambda z: (z * z).sum() / 4000 - np.prod(np.cos(z)),
    "Styblinski-Tang": lambda z: (z**4 - 16 * z * z + 5 * z).sum() / 2,
    "Himmelblau": lambda z: ((z[0] ** 2 + z[1] - 11) ** 2 + (z[0] + z[1] ** 2 - 7) ** 2) + (z[2:] ** 2).sum(),
    "Beale": lambda z: ((1.5 - z[0] + z[0] * z[1]) ** 2 + (2.25 - z[0] + z[0] * z[1] ** 2) ** 2) + (z[2:] ** 2).sum(),
    "Zakharov": lambda z: (z * z).sum() + (like(np.arange(1, 7) / 2, z) * z).sum() ** 2,
    "LeafFFF": tree(LeafFFF.init(RNG, 6, 3, depth=2, leaf_width=2, activation="tanh", dtype=np.float64)),
    "PathFFF": tree(PathFFF.init(RNG, 6, 3, depth=2, n_trees=2, activation="gelu", dtype=np.float64)),
}  # fmt: skip
POSITIVE = {  # at positive points, steps may leave the domain
    "log, at its edge": lambda z: np.log(z).sum(),
    "sqrt, at its edge": lambda z: np.sqrt(z).sum(),
    "x log x": lambda z: (z * np.log(z)).sum(),
    "inverse, at its pole": lambda z: (1 / z).sum(),
    "power, fractional": lambda z: (z ** like(1.3, z)).sum(),
    "log of ratio": lambda z: np.log(z[:3] / z[3:]).sum(),
}
ROUGH = {  # at points near kinks and jumps, not on them
    "relu": lambda z: (like(A, z) * relu(z)).sum(),
    "relu, shifted": lambda z: relu(z - like(0.5, z)).sum(),
    "absolute": lambda z: magnitude(z).sum(),
    "leaky relu": lambda z: np.where(z.real > 0, z, 0.01 * z).sum(),
    "relu perceptron": lambda z: (like(V, z) * relu(like(W, z) @ z)).sum(),
    "largest": lambda z: z[np.argmax(z.real)] ** 2,
    "median": lambda z: z[np.argsort(z.real)[3]] * 2,
    "clipped": lambda z: np.where(z.real > 1, 1, np.where(z.real < -1, -1, z)).sum(),
    "huber": lambda z: np.where(np.abs(z.real) < 1, z * z / 2, magnitude(z) - 0.5).sum(),
    "hard routing": lambda z: np.where(z.real >= 0, 1 + z, z * z).sum(),
}
SCALES = 1e-8, 1e-4, 1.0, 1e4, 1e8


@dataclass(frozen=True)
class Case:
    """A function at a point, with its right gradient and how small a fault rounding lets anybody see."""

    name: str
    f: object
    x: np.ndarray
    gradient: np.ndarray
    visible: np.ndarray


def scaled(f, scale):
    """f of x / scale: the same landscape, for x of that size."""
    return lambda z: f(z / like(scale, z))


def points(seed, quick=False):
    """Name, function and point of each case, float64."""
    rng = np.random.default_rng(seed)
    for functions, draw in (
        (SMOOTH, lambda: rng.standard_normal(6)),
        (POSITIVE, lambda: 10 ** rng.uniform(-6, 1, 6)),
        (ROUGH, lambda: rng.standard_normal(6) * 10 ** rng.uniform(-6, 0, 6)),
    ):
        for number, (name, f) in enumerate(functions.items()):
            yield name, f, draw()
            if not quick:
                scale = SCALES[number % len(SCALES)]
                yield f"{name}, x of {scale:g}", scaled(f, scale), scale * draw()


def exact(f, x):
    """The gradient by complex step in extended precision, in the dtype of x."""
    wide = x.astype(np.clongdouble)
    gradient = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        h = np.longdouble(1e-40) * (abs(wide[index].real) or 1)
        stepped = wide.copy()
        stepped[index] += 1j * h
        gradient[index] = f(stepped).imag / h
    return gradient.astype(x.dtype)


def cases(dtype, seed=0, quick=False):
    """All cases in one dtype whose value and gradient are finite there."""
    for name, f, point in points(seed, quick):
        x = point.astype(dtype)
        with np.errstate(all="ignore"):
            gradient, here = exact(f, x), float(f(x.copy()))
            if not (np.isfinite(gradient).all() and np.isfinite(here)):
                continue
            size = np.abs(x.astype(np.float64))
            rounding, _ = rounding_of(lambda z, f=f: float(f(z)), x, here, size)
            rounding = max(rounding, float(np.finfo(dtype).eps) * abs(here))
        yield Case(name, f, x, gradient, np.maximum(1e-4 * np.abs(gradient), 3000 * rounding / size))


def faults(case, rng):
    """Wrong gradients, by name; only those that differ by what can be seen."""
    g = case.gradient
    i, j = rng.choice(g.size, 2, replace=False)
    small = int(np.argmin(np.where(g == 0, np.inf, np.abs(g))))

    def but(index, value):
        wrong = g.copy()
        wrong[index] = value
        return wrong

    planted = {
        "one sign": but(i, -g[i]), "all signs": -g, "two exchanged": but([i, j], g[[j, i]]),
        "factor 1.0005": g * 1.0005,
        "one entry, factor 1.0005": but(i, g[i] * 1.0005), "zeros": np.zeros_like(g), "one missing": but(j, 0),
        "transposed": g.reshape(2, 3).T.ravel(), "smallest off by 1 %": but(small, g[small] * 1.01),
        "broadcast": np.full_like(g, g.mean()), "all of the sum": np.full_like(g, g.sum()),
    }  # fmt: skip
    for name, wrong in planted.items():
        if np.any(np.abs(wrong.astype(np.float64) - g) > case.visible):
            yield name, wrong.astype(g.dtype)

"""The test vectors: cases are drawn, answered by `answers`, and written with an index.

    python -m fffref.conformance.vectors FOLDER

Plain Python numbers throughout, so neither NumPy nor a BLAS nor the number of threads has a say. Inputs have three
decimals and are rounded to the case's dtype; those of dyadic cases are multiples of 1/8, few enough that every sum of
theirs is exact in float32, in any order. A released version of the vectors never changes.

# B batch, I inputs, O outputs, N = 2^d - 1 nodes, L = 2^d leaves, l leaf width, K trees, M neurons of a tree
"""

import hashlib
import math
import pathlib
import random
import sys

from .. import algorithms, files
from . import answers
from .arrays import Array, rounded, to_binary, to_text
from .specs import ACTIVATIONS, LAYERS, SPECS

FOLDER = pathlib.Path(__file__).parent / "vectors"
VERSION = "v1"
STRUCTURE = {"leaf": ("node_weight", "node_bias"), "path": ("in_weight", "in_bias")}  # the arrays that choose


def write(folder):
    """Write all cases and `index.txt`, one line a case: number, level, flags, file and SHA-256."""
    lines = []
    for number, spec in SPECS.items():
        # a case depends on its number alone: it can be drawn again without those before
        case = complete(number)
        binary = "binary" in spec.options  # big ones: text would be several times as long
        data = to_binary(case) if binary else to_text(case).encode()
        name = f"{number}.{'bin' if binary else 'txt'}"
        with files.replacing(pathlib.Path(folder) / name) as temporary:
            temporary.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        lines.append(f"{number} {number // 100} {','.join(flags(case, spec))} {name} {digest}")
    with files.replacing(pathlib.Path(folder) / "index.txt") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def complete(number):
    """All arrays of a case by name: what is given, the margins, and what is expected."""
    spec, case = SPECS[number], given(number)
    case["margin"] = Array("float64", case["x"].shape[:1], answers.margins(case, spec))
    for name, array in answers.expected(case, spec, number // 100).items():
        case[f"expected_{name}"] = array
    return case


def flags(case, spec):
    """The flags of a case: its layer, dtype and activation, what was asked of it, and what turned out."""
    B, I, _, depth, width = spec.sizes  # noqa: E741
    exact = 0.0 in case["margin"].values  # some logit that decides is 0
    shape = {"depth-0": depth == 0, "one": B == 1, "none": B == 0, "two-inputs": I == 2, "tie": exact}
    shape["forest"] = spec.layer == "path" and width > 1
    named = [spec.layer, spec.dtype, *([spec.activation] if "activation" in case else [])]
    named += [name for name, holds in shape.items() if holds]
    return named + [option for option in spec.options if option != "all-ties"]  # all-ties is seen as the flag tie


def given(number):
    """The input arrays of a case by name, without answers."""
    spec, level = SPECS[number], number // 100
    draw = _drawer(random.Random(number), spec)  # Python's own generator: the same numbers in every version
    B, I, O, depth, width = spec.sizes  # noqa: E741
    case = {"layer": Array("int32", (), [1 + LAYERS.index(spec.layer)])}
    if level > 1:
        case["activation"] = Array("int32", (), [ACTIVATIONS.index(spec.activation)])
    case["x"] = draw((B, I), coarse=True)  # coarse: x times weights stays exact
    if spec.layer == "leaf":
        N, L, l = 2**depth - 1, 2**depth, width  # noqa: E741
        case |= {"node_weight": draw((N, I), coarse=True), "node_bias": draw((N,), coarse=True)}
        shapes = {"in_weight": (L, l, I), "in_bias": (L, l), "out_weight": (L, l, O), "out_bias": (L, O)}
        # at level 1 only the way is asked for
        case |= {f"leaf_{name}": draw(shape) for name, shape in shapes.items() if level > 1}
    else:
        K, M = width, 2 ** (depth + 1) - 1
        case |= {"in_weight": draw((K, M, I), coarse=True), "in_bias": draw((K, M), coarse=True)}
        case |= {"out_weight": draw((K, M, O))} if level > 1 else {}
    return _prepared(case | _of_level(level, spec, draw), spec)


def _of_level(level, spec, draw):
    """What a level needs beyond the layer and its input."""
    B, _, O, depth, _ = spec.sizes  # noqa: E741
    case = {"dy": draw((B, O))} if level == 4 else {"target": draw((B, O))} if level == 5 else {}
    if level >= 3 and spec.layer == "leaf":
        case["temperature"] = Array(spec.dtype, (), [0.5 if "temperature" in spec.options else 1.0])
        if "transposed" in spec.options:
            marks = [int(mark > 0) for mark in draw((B, 2**depth - 1)).values]  # about half of the nodes
            case["transposed"] = Array("int32", (B, 2**depth - 1), marks)
    if level >= 4 and spec.layer == "leaf":
        case["entropy_weight"] = Array(spec.dtype, (), [0.25 if "hardening" in spec.options else 0.0])
    if level == 5:
        # 0.02 as the dtype has it: the port reads the same number
        case["rate"] = Array(spec.dtype, (), [rounded(spec.dtype, 0.02)])
    return case


def _drawer(generator, spec):
    """A function that draws an array: numbers of three decimals, or multiples of 1/8 (coarse: of 1/2)."""

    def draw(shape, coarse=False):
        """Whole numbers of steps, then rounded to the case's dtype."""
        # powers of 2 are exact in binary, thousandths are not
        steps = 1000 if "dyadic" not in spec.options else 2 if coarse else 8
        # -1 to 1, both included
        drawn = (math.floor(generator.random() * (2 * steps + 1)) - steps for _ in range(math.prod(shape)))
        return Array(spec.dtype, shape, [rounded(spec.dtype, whole / steps) for whole in drawn])

    return draw


def _prepared(case, spec):
    """The case with what its options ask for."""
    x, I = case["x"].values, spec.sizes[1]  # noqa: E741
    weight, bias = (case[name].values for name in STRUCTURE[spec.layer])
    if "nan" in spec.options:
        x[I + 1] = math.nan  # row 1; the second input of it
    if "inf" in spec.options:
        x[3 * I] = math.inf  # row 3
    if "near-tie" in spec.options:
        bias[0] = rounded(spec.dtype, -algorithms.dot(x[:I], weight[:I]))  # row 0, at the root
    if "all-ties" in spec.options:
        weight[:], bias[:] = [0.0] * len(weight), [0.0] * len(bias)  # every logit is exactly 0
    if "saturated" in spec.options:
        weight[I:] = [400 * value for value in weight[I:]]  # all but the root's
    if "kink" in spec.options:
        case["leaf_in_weight"].values[:I] = [0.0] * I  # the first neuron of leaf 0
        case["leaf_in_bias"].values[0] = 0.0
    if "no-output-bias" in spec.options:
        case["leaf_out_bias"].values[:] = [0.0] * len(case["leaf_out_bias"].values)
    return case


def main(arguments):
    """Write the vectors to the folder that the arguments name."""
    if len(arguments) != 1:
        sys.exit(__doc__)
    write(arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])

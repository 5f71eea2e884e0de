"""The list of test cases, and what their flags mean. The first digit of a case's number is its level."""

from typing import NamedTuple

LEVELS = {
    1: "route",
    2: "hard forward",
    3: "soft forward and entropy",
    4: "backward",
    5: "ten steps of SGD",
}
LAYERS = ("leaf", "path")
ACTIVATIONS = ("identity", "relu", "gelu", "tanh")  # numbered from 0 in the files

FLAGS = {
    "leaf": "LeafFFF, the layer of the first paper: a tree of choices over leaves.",
    "path": "PathFFF, the layer of the second paper (UltraFastBERT): every neuron on the path speaks.",
    "float32": "Inputs are float32 numbers; answers are compared to 1e-5 of the largest.",
    "float64": "Inputs are float64 numbers; answers are compared to 1e-12 of the largest.",
    "identity": "No activation.",
    "relu": "max(z, 0), with derivative 0 at z = 0.",
    "gelu": "The exact form, z (1 + erf(z / sqrt 2)) / 2.",
    "tanh": "The hyperbolic tangent.",
    "dyadic": "Every number is exact in float32 in any order of summation: answers are compared bit for bit.",
    "tie": "Some logits are exactly 0. Right in a LeafFFF (logit >= 0), left in a PathFFF (logit > 0 goes right).",
    "near-tie": "Some logits are within rounding of 0: those rows may go either way and are not compared.",
    "nan": "One row has a NaN. Its logits are NaN and turn left; all other rows are as if it were not there.",
    "inf": "One row has an infinity. Neurons that it does not visit must not matter: 0 times inf is NaN.",
    "depth-0": "No choice at all: one leaf, or one neuron a tree.",
    "one": "A batch of one row; it keeps its axis.",
    "none": "A batch of no rows; the answer has none, and gradients are 0.",
    "forest": "Several trees; their outputs are summed.",
    "two-inputs": "Two inputs, for ports that draw the plane.",
    "no-output-bias": "The output biases of all leaves are 0.",
    "temperature": "Logits of the choices are divided by a temperature other than 1.",
    "transposed": "At marked rows and nodes, c becomes 1 - c (randomised child transposition).",
    "saturated": "Logits of hundreds: entropy is 0 there, and neither NaN nor inf.",
    "hardening": "The loss has the entropy of the choices in it, with a weight.",
    "kink": "Some neurons of leaves or paths have a logit of exactly 0, where relu has a kink.",
    "binary": "A big case, in a binary file.",
}


class Spec(NamedTuple):
    """What a case is drawn from: sizes are B, I, O, depth, and l (leaf) or K (path)."""

    layer: str
    sizes: tuple
    activation: str = "relu"
    dtype: str = "float64"
    options: tuple = ()


DYADIC = ("float32", ("dyadic",))
# By number; the first digit is the level.
SPECS = {
    101: Spec("leaf", (3, 4, 2, 0, 1), "", *DYADIC),
    102: Spec("leaf", (9, 2, 2, 1, 1), "", *DYADIC),
    103: Spec("leaf", (16, 2, 2, 3, 1), "", *DYADIC),
    104: Spec("leaf", (7, 3, 2, 2, 1)),
    105: Spec("leaf", (12, 7, 2, 5, 1), "", "float32"),
    106: Spec("leaf", (6, 5, 2, 11, 1), "", "float32", ("binary",)),
    107: Spec("leaf", (0, 3, 2, 3, 1)),
    108: Spec("leaf", (1, 5, 2, 4, 1), "", *DYADIC),
    109: Spec("leaf", (5, 4, 2, 3, 1), "", "float32", ("nan", "inf")),
    110: Spec("leaf", (6, 3, 2, 2, 1), "", "float32", ("near-tie",)),
    111: Spec("path", (3, 4, 2, 0, 1), "", *DYADIC),
    112: Spec("path", (9, 2, 2, 1, 1), "", *DYADIC),
    113: Spec("path", (8, 3, 2, 3, 3), "", *DYADIC),
    114: Spec("path", (7, 5, 2, 4, 2)),
    115: Spec("path", (6, 5, 2, 11, 1), "", "float32", ("binary",)),
    116: Spec("path", (0, 3, 2, 2, 2)),
    117: Spec("path", (1, 3, 2, 5, 1), "", *DYADIC),
    118: Spec("path", (5, 3, 2, 2, 2), "", "float32", ("nan", "inf")),
    119: Spec("path", (6, 3, 2, 2, 1), "", "float32", ("near-tie",)),
    201: Spec("leaf", (4, 3, 2, 0, 3), "relu", *DYADIC),
    202: Spec("leaf", (9, 2, 3, 1, 2), "identity", *DYADIC),
    203: Spec("leaf", (12, 2, 2, 3, 3), "relu", *DYADIC),
    204: Spec("leaf", (7, 3, 5, 2, 4), "gelu"),
    205: Spec("leaf", (5, 5, 3, 4, 2), "tanh"),
    206: Spec("leaf", (8, 7, 4, 5, 3), "gelu", "float32"),
    207: Spec("leaf", (6, 3, 2, 11, 1), "relu", "float32", ("binary",)),
    208: Spec("leaf", (0, 3, 2, 2, 3)),
    209: Spec("leaf", (1, 2, 3, 6, 2), "relu", "float64"),
    210: Spec("leaf", (5, 4, 3, 2, 1), "relu", "float32", ("nan", "inf")),
    211: Spec("leaf", (6, 3, 1, 7, 1), "identity", *DYADIC),
    212: Spec("leaf", (9, 3, 4, 3, 2), "identity", "float32", ("dyadic", "no-output-bias")),
    213: Spec("path", (5, 3, 4, 0, 2), "gelu"),
    214: Spec("path", (9, 2, 3, 2, 1), "relu", *DYADIC),
    215: Spec("path", (8, 4, 4, 3, 3), "identity", *DYADIC),
    216: Spec("path", (6, 7, 5, 5, 2), "gelu", "float32"),
    217: Spec("path", (6, 3, 3, 11, 1), "gelu", "float32", ("binary",)),
    218: Spec("path", (7, 5, 3, 1, 4), "tanh"),
    219: Spec("path", (0, 3, 2, 2, 2), "gelu"),
    220: Spec("path", (1, 4, 3, 9, 1), "gelu", "float32", ("binary",)),
    221: Spec("path", (5, 3, 2, 3, 1), "relu", "float32", ("nan", "inf")),
    222: Spec("path", (6, 2, 2, 10, 1), "relu", "float32", ("dyadic", "binary")),
    301: Spec("leaf", (4, 3, 2, 0, 3), "gelu"),
    302: Spec("leaf", (1, 2, 3, 1, 2), "relu"),
    303: Spec("leaf", (6, 3, 4, 3, 2), "gelu"),
    304: Spec("leaf", (7, 2, 3, 4, 3), "relu", "float32"),
    305: Spec("leaf", (5, 5, 3, 2, 4), "tanh", "float64", ("temperature",)),
    306: Spec("leaf", (6, 3, 2, 3, 2), "identity", "float64", ("transposed",)),
    307: Spec("leaf", (5, 3, 2, 3, 2), "identity", "float32", ("dyadic", "all-ties")),
    308: Spec("leaf", (4, 2, 3, 2, 3), "relu", "float32", ("dyadic", "all-ties")),
    309: Spec("leaf", (6, 2, 3, 3, 2), "relu", "float64", ("saturated",)),
    310: Spec("leaf", (0, 3, 2, 2, 3), "gelu"),
    311: Spec("leaf", (1, 4, 2, 8, 1), "gelu", "float32", ("binary",)),
    312: Spec("leaf", (5, 4, 3, 2, 2), "relu", "float32", ("nan",)),
    401: Spec("leaf", (4, 3, 2, 0, 3), "gelu", "float64", ("hardening",)),
    402: Spec("leaf", (5, 3, 4, 2, 2), "gelu"),
    403: Spec("leaf", (6, 2, 2, 3, 3), "relu", "float64", ("hardening",)),
    404: Spec("leaf", (5, 5, 3, 2, 2), "tanh", "float32", ("hardening",)),
    405: Spec("leaf", (5, 3, 2, 2, 2), "identity", "float64", ("transposed", "temperature", "hardening")),
    406: Spec("leaf", (4, 3, 2, 2, 2), "identity", "float32", ("dyadic", "all-ties")),
    407: Spec("leaf", (5, 2, 3, 2, 3), "relu", "float32", ("dyadic", "all-ties", "hardening", "kink")),
    408: Spec("leaf", (1, 3, 2, 4, 2), "tanh", "float64"),
    409: Spec("leaf", (0, 3, 2, 2, 2), "gelu", "float64", ("hardening",)),
    410: Spec("path", (4, 3, 2, 0, 2), "gelu"),
    411: Spec("path", (6, 3, 4, 3, 2), "gelu"),
    412: Spec("path", (7, 3, 2, 2, 1), "relu", *DYADIC),
    413: Spec("path", (6, 4, 4, 3, 3), "identity", *DYADIC),
    414: Spec("path", (5, 5, 3, 5, 1), "tanh", "float32"),
    415: Spec("path", (1, 3, 2, 3, 2), "relu"),
    416: Spec("path", (0, 3, 2, 1, 2), "gelu"),
    501: Spec("leaf", (5, 3, 2, 0, 3), "tanh"),
    502: Spec("leaf", (6, 3, 2, 2, 2), "gelu"),
    503: Spec("leaf", (6, 2, 3, 3, 2), "relu", "float64", ("hardening",)),
    504: Spec("leaf", (5, 4, 3, 2, 2), "tanh", "float32", ("hardening", "temperature")),
    505: Spec("leaf", (1, 3, 2, 3, 2), "gelu", "float64", ("hardening",)),
    506: Spec("path", (6, 3, 4, 2, 1), "gelu"),
    507: Spec("path", (5, 4, 2, 3, 3), "tanh", "float32"),
    508: Spec("path", (4, 3, 2, 0, 2), "relu"),
}

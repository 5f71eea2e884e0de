"""What a count is: arithmetic of one sample, neurons and parameters stored and engaged, bytes, and Amdahl's law.

The convention. A *multiply-add* is a product added to a sum, as in a dot product: 2 FLOPs. Everything else is
*elementwise*, 1 FLOP for each number that comes out: a bias added, an activation, sigmoid or derivative (however
many instructions it takes), a product or sum that is not part of a dot product. Choosing a child, looking up a row
and updating parameters cost nothing here. FLOPs say how much is computed, not how long it takes.
"""

from dataclasses import dataclass

from .. import checks

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class Work:
    """Arithmetic operations. Sums with `+`, multiples with `*`.

    Attributes
    ----------
    multiply_adds : int
        Products added to a sum.
    elementwise : int
        All else: biases, activations, mixing.
    """

    multiply_adds: int
    elementwise: int = 0

    def __post_init__(self):
        """Refuse what is no count; a difference of two may be below 0."""
        _whole(self, ("multiply_adds", "elementwise"), -float("inf"))

    @property
    def flops(self):
        """2 multiply_adds + elementwise."""
        return 2 * self.multiply_adds + self.elementwise  # a product and a sum are two operations

    def __add__(self, other):
        return Work(self.multiply_adds + other.multiply_adds, self.elementwise + other.elementwise)

    def __mul__(self, times):
        return Work(times * self.multiply_adds, times * self.elementwise)

    __rmul__ = __mul__


@dataclass(frozen=True)
class Count:
    """What a feedforward layer stores and engages, and what one sample costs.

    Attributes
    ----------
    name : str
    n_in, n_out : int
    neurons_stored, neurons_engaged : int
        Routing neurons included. They are the *training size* and the *inference size* of the first paper.
    training_width, inference_width : int
        Neurons with a row of output weights, stored and engaged: the routing nodes of a `LeafFFF` have none.
    parameters, parameters_engaged : int
        Scalars stored; scalars that hard inference of one sample reads.
    inference : Work
        Hard forward pass.
    forward, backward : Work
        Of training; soft for `LeafFFF`. The backward pass yields all parameters' and the input's gradients.

    Notes
    -----
    The first paper defines, for leaves of width l under nodes of one neuron each: training width 2^d l, inference
    width l, training size 2^d l + 2^d - 1, inference size l + d. For a dense layer all four are its width.

    References
    ----------
    Belcak and Wattenhofer, "Fast Feedforward Networks", arXiv 2308.14711, the paragraph on size and width.
    """

    name: str
    n_in: int
    n_out: int
    neurons_stored: int
    neurons_engaged: int
    training_width: int
    inference_width: int
    parameters: int
    parameters_engaged: int
    inference: Work
    forward: Work
    backward: Work

    def __post_init__(self):
        """Refuse what no layer has."""
        # a count of half a neuron would be a mistake upstream: found here, not in a table
        _whole(self, ("n_in", "n_out", "neurons_stored", "neurons_engaged", "training_width", "inference_width",
                      "parameters", "parameters_engaged"), 0)  # fmt: skip
        for name in ("inference", "forward", "backward"):
            if not isinstance(getattr(self, name), Work):
                raise checks.InputTypeError(f"{name} must be a Work, got {checks.shown(getattr(self, name))}")

    @property
    def training_size(self):
        """The first paper's word for `neurons_stored`."""
        return self.neurons_stored

    @property
    def inference_size(self):
        """The first paper's word for `neurons_engaged`."""
        return self.neurons_engaged

    def bytes_stored(self, dtype="float32"):
        """Bytes of all parameters."""
        return self.parameters * itemsize(dtype)

    def bytes_touched(self, dtype="float32"):
        """Bytes of parameters that hard inference of one sample reads."""
        return self.parameters_engaged * itemsize(dtype)

    def speed_up(self, width=None):
        """How many times fewer multiply-adds hard inference takes than a dense layer of `width` neurons.

        Parameters
        ----------
        width : int, optional
            By default as many neurons as are stored here. An upper bound on what a machine may gain as long as it
            is bound by arithmetic, for this layer alone.

        Returns
        -------
        float
        """
        width = self.neurons_stored if width is None else checks.integer("width", width, 1)
        return (self.n_in + self.n_out) * width / self.inference.multiply_adds  # dense: I w + w O multiply-adds


def amdahl(share, factor):
    """Speed-up of a whole of which a `share` becomes `factor` times as fast: 1 / (1 - share + share / factor).

    Parameters
    ----------
    share : float in [0, 1]
        Of the time before; a share of FLOPs is one of time only if all FLOPs take equally long.
    factor : float above 0
        `math.inf` gives the limit, 1 / (1 - share).

    Returns
    -------
    float
        Infinite if all of it becomes infinitely fast.
    """
    share = checks.number("share", share, "[0, 1]")
    factor = checks.number("factor", factor, "(0, inf]")
    rest = 1 - share + share / factor  # time that is left, of 1
    return 1 / rest if rest else float("inf")  # share 1 and factor infinity: nothing is left


def itemsize(dtype):
    """Bytes of one number: of float64, float32, float16, bfloat16 or int8."""
    return BYTES[checks.one_of("dtype", getattr(dtype, "__name__", str(dtype)), tuple(BYTES))]


def _whole(record, names, least):
    """Refuse fields of a record that are no whole numbers of at least `least`."""
    for name in names:
        checks.integer(name, getattr(record, name), least, float("inf"))

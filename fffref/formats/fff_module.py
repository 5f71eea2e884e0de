"""One FF layer of UltraFastBERT alone: the state dict of the authors' module `FFF` to a `PathFFF`, and back.

# I inputs, O outputs, K trees, M = 2^(depth + 1) - 1 neurons of a tree

Reference: https://github.com/pbelcak/UltraFastBERT.
"""

from .. import checks
from ..layers.path_fff import PathFFF
from ..layers.record import aligned
from . import names

MODULE = ("linear_in.weight", "linear_in.bias", "linear_out.weight")  # names of its tensors


def path_fff(tensors, n_trees=1, activation="gelu", prefix=""):
    """Make a `PathFFF` of the weights of the authors' module `FFF`.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Its state dict: `linear_in.weight` (K M, I), `linear_in.bias` (K M,), `linear_out.weight` (O, K M). What begins
        with another prefix is left alone, and what torch.compile and the like put into names is passed over.
    n_trees : int
        K; the state dict does not say it. The depth follows.
    activation : {"gelu", "relu", "tanh", "identity"}
        The module's, which a state dict does not say either; the authors' is gelu.
    prefix : str
        What the names begin with, where the module is part of a larger one, such as "encoder.layers.3.ffn.".

    Returns
    -------
    PathFFF

    Raises
    ------
    InputError
        If a weight is missing, unknown, or does not fit the others or the number of trees.
    """
    weights, n_trees = names.under(tensors, prefix), checks.integer("n_trees", n_trees, 1)
    names.expect(weights, MODULE, (), "UltraFastBERT's FFF", names.prefixes_of(tensors, MODULE[0]), prefix)
    weights = {name: weights[name] for name in MODULE}  # in this order, read once each
    inward, bias, outward = weights.values()  # (K M, I), (K M,), (O, K M)
    dtype = checks.dtype(inward.dtype, allowed=checks.DTYPES[:2])
    checks.array(MODULE[0], inward, (None, None), dtype)
    checks.array(MODULE[1], bias, inward.shape[:1], dtype)
    checks.array(MODULE[2], outward, (None, len(inward)), dtype)
    _check_trees(len(inward), n_trees)
    return of_module(weights, n_trees, activation).aligned()  # copies: the file may go


def _check_trees(neurons, n_trees):
    """Refuse a number of trees of which these neurons are none; say which would do."""

    def complete(n):
        """Whether n trees of one depth have as many neurons: each has 2^(depth + 1) - 1."""
        # 2^D - 1 in binary is D ones
        return neurons % n == 0 and (neurons // n).bit_count() == (neurons // n).bit_length() > 0

    if neurons == 0 or not complete(n_trees):
        possible = [n for n in range(1, min(neurons, 100_000) + 1) if complete(n)]  # bounded: it is for a message
        raise checks.InputError(
            f"{neurons} neurons are not {n_trees} complete tree{'s' * (n_trees > 1)}; "
            f"possible numbers of trees: {', '.join(map(str, possible[:8])) or 'none'}"
        )


def of_module(tensors, n_trees, activation):
    """A PathFFF whose weights towards the input are the given array, turned over towards the output."""
    inward, bias, outward = (tensors[name] for name in MODULE)
    outward = aligned(outward.T)  # (O, K M) -> (K M, O)
    return PathFFF(
        # (K M, I) -> (K, M, I): tree after tree
        inward.reshape(n_trees, -1, inward.shape[1]), bias.reshape(n_trees, -1),
        outward.reshape(n_trees, -1, outward.shape[1]), activation,
    )  # fmt: skip


def module(layer, prefix=""):
    """Return the state dict of the authors' module `FFF` with the weights of a `PathFFF`, a dict of arrays.

    Parameters
    ----------
    layer : PathFFF
    prefix : str
        As in `path_fff`.
    """
    # (K, M, .) -> (K M, .)
    inward, outward = (array.reshape(-1, array.shape[2]) for array in (layer.in_weight, layer.out_weight))
    return {prefix + MODULE[0]: inward, prefix + MODULE[1]: layer.in_bias.reshape(-1), prefix + MODULE[2]: outward.T}

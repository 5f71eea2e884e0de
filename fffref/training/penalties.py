"""What training asks of a layer's class: its forward pass, what it is regularised by, which options it can use.

Each question is a function with one answer per class, `functools.singledispatch`; a class without an answer of its
own gets the default, which is right for a layer that does not choose. So the loop and the tasks know no layer.
"""

import functools

from .. import checks
from ..layers.leaf_fff import LeafFFF
from ..layers.moe import MoE
from ..layers.path_fff import PathFFF
from ..layers.top_leaves import TopLeaves
from . import losses

CHOICES = {"temperature", "noise", "straight_through", "smooth_step", "transpose_prob"}
PENALTIES = {"entropy_weight", "entropy_reduction", "balance_weight", "balance"}
SPECIAL = CHOICES | PENALTIES | {"route_gradient", "gate_noise"}  # fields that only some layers can use

# ---------------------------------------------------------------------- the pass of training


@functools.singledispatch
def forward_training(layer, x, settings, rng):
    """Return output and tape of the pass that training differentiates.

    Parameters
    ----------
    layer : Layer
    x : ndarray (..., n_in)
    settings : Settings
    rng : numpy.random.Generator, or None

    Returns
    -------
    y : ndarray (..., n_out)
    tape
    """
    return layer.forward(x)


@forward_training.register
def _(layer: LeafFFF, x, settings, rng):
    return layer.forward(x, settings.choices, rng)  # soft, with noise and transpositions


@forward_training.register
def _(layer: MoE, x, settings, rng):
    return layer.forward(x, rng if settings.gate_noise else None)  # rng is the noise on the scores


# ---------------------------------------------------------------------- what is minimised beside the loss


@functools.singledispatch
def penalty(layer, tape, settings):
    """What a layer is regularised by.

    Parameters
    ----------
    layer : Layer
    tape
        Of `forward_training`.
    settings : Settings

    Returns
    -------
    value : scalar
        Weights included.
    extra : dict of str to ndarray
        Its gradients, and whatever else to hand to `layer.backward(tape, dy, **extra)`.
    """
    return 0, {}


@penalty.register
def _(layer: LeafFFF, tape, settings):
    """Node entropy, on the logits, and leaf balance, on the mixture."""
    value, extra, of = 0, {}, layer.dtype.type  # weights in the layer's dtype: a float64 would widen all
    if settings.entropy_weight:  # at 0, the pass is spared
        weight, smooth = of(settings.entropy_weight), settings.choices.smooth_step
        entropy, dlogit = losses.node_entropy(tape.logit, settings.entropy_reduction, smooth)
        value, extra["dlogit"] = weight * entropy, weight * dlogit  # (B, N)
    if settings.balance_weight:
        weight = of(settings.balance_weight)
        balance, dmixture = losses.BALANCES[settings.balance](tape.mixture)  # scalar, (B, L)
        value, extra["dmixture"] = value + weight * balance, weight * dmixture  # (B, L)
    return value, extra


@penalty.register
def _(layer: PathFFF, tape, settings):
    """No penalty, but perhaps a gradient of the decisions, which is an option of its backward pass."""
    return 0, {"route_gradient": settings.route_gradient} if settings.route_gradient else {}


@penalty.register(MoE)
@penalty.register(TopLeaves)
def _(layer, tape, settings):
    """Importance, on the gates, and load, if there was noise; the paper weights both by 0.1."""
    if not settings.balance_weight:
        return 0, {}
    value, extra, weight = 0, {}, tape.gates.dtype.type(settings.balance_weight)
    # without noise there is no load
    for name in ("gates", "load") if getattr(tape, "load", None) is not None else ("gates",):
        balance, gradient = losses.expert_balance(getattr(tape, name))
        value, extra[f"d{name}"] = value + weight * balance, weight * gradient  # (B, E)
    return value, extra


# ---------------------------------------------------------------------- which options make sense


@functools.singledispatch
def options_used(model):
    """Return the special fields of `Recipe` that a model can use: of a record of layers, those of any layer."""
    # a record's fields are in its dict; a number has none
    return set().union(*map(options_used, getattr(model, "__dict__", {}).values()))


@options_used.register
def _(parts: tuple):
    return set().union(*map(options_used, parts))


@options_used.register
def _(layer: LeafFFF):
    return CHOICES | PENALTIES


@options_used.register
def _(layer: PathFFF):
    return {"route_gradient"}


@options_used.register
def _(layer: TopLeaves):
    return {"balance_weight"}


@options_used.register
def _(layer: MoE):
    return {"balance_weight", "gate_noise"}


def check_options(model, recipe):
    """Refuse a recipe with options that the model would ignore.

    Parameters
    ----------
    model : Layer or record of layers
    recipe : Recipe

    Raises
    ------
    ValueError
        Naming them.
    """
    idle = _idle(model, recipe)
    if idle:
        raise checks.InputError(
            f"a {type(model).__name__} cannot use {', '.join(idle)}; leave it out of the recipe, "
            "or take what remains: training.fitting(recipe, layer)"
        )


def fitting(recipe, model):
    """Return the recipe less what the model cannot use: a dense net has nothing to harden.

    Parameters
    ----------
    recipe : Recipe
    model : Layer or record of layers

    Returns
    -------
    Recipe
    """
    # defaults are the new recipe's own
    kept = {name: getattr(recipe, name) for name in recipe.changed() if name not in _idle(model, recipe)}
    return type(recipe)(**kept)


def _idle(model, recipe):
    """Fields that a recipe sets and a model would ignore."""
    unused = SPECIAL - options_used(model)
    return [name for name in recipe.changed() if name in unused]  # defaults are never refused


# ---------------------------------------------------------------------- the compiled form


@functools.singledispatch
def compiled(model):
    """Return the model's compiled form, which shares its weights; making one takes microseconds.

    Parameters
    ----------
    model : Layer

    Raises
    ------
    ValueError
        If it has none that can be trained.
    """
    kinds = "PathFFF, LeafFFF and TopLeaves"
    raise checks.InputError(f"fast training is for {kinds}, got {type(model).__name__}; leave Recipe.fast as False")


@compiled.register
def _(layer: PathFFF):
    from ..fast import jit  # imported where needed: Numba takes its time

    return jit(layer)


@compiled.register
def _(layer: LeafFFF):
    from ..fast import jit
    from ..fast.leaf import FastLeaf

    _know(FastLeaf, LeafFFF)
    return jit(layer)


@compiled.register
def _(layer: TopLeaves):
    from ..fast.top_leaves import FastTop

    _know(FastTop, TopLeaves)
    return FastTop(layer)


@functools.cache
def _know(compiled_form, kind):
    """A compiled form is asked as the layer itself is. Once a process, and not before Numba is needed."""
    forward_training.register(compiled_form, forward_training.dispatch(kind))
    penalty.register(compiled_form, penalty.dispatch(kind))

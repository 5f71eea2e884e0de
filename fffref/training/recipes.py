"""Recipes: how to train, every number that matters. `recipe.at(progress)` says what is in force at a moment."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from .. import checks
from ..layers.choices import Choices
from . import losses
from .optim import SGD, Adam, Optimizer
from .schedules import Geometric, Linear, OneCycle, Step, schedule

# Raised whenever the same recipe, seed and data give other weights than before, so that old runs are not taken for new
# ones. 2: weights, held-out samples and epochs have random streams of their own; left masses are exact in float32;
# entropy, as a loss and as a figure, is that of smooth steps where choices are smooth steps.
NUMERICS = 2
LATER = {"gate_noise": True}  # fields that came after runs were recorded, as they were then


@dataclass(frozen=True)
class Settings:
    """What is in force at one moment of training: numbers, no schedules.

    Parameters
    ----------
    learning_rate : float, at least 0
    choices : Choices
        How a `LeafFFF` mixes its leaves.
    entropy_weight : float, at least 0
        Of the hardening loss, h in the first paper.
    entropy_reduction : {"mean", "sum"}
        See `losses.node_entropy`: the two differ by a factor of batch times nodes.
    balance_weight : float, at least 0
        Of the leaf balance; of importance and load for a `MoE`.
    balance : {"importance", "switch"}
        Which leaf balance, of `losses.BALANCES`.
    route_gradient : {None, "straight-through"}
        Whether decisions of a `PathFFF` have a gradient, see its `backward`.
    gate_noise : bool
        Whether there is noise on the scores of a `MoE`.

    Raises
    ------
    TypeError, ValueError
        If one of them has another type or is out of its range.
    """

    learning_rate: float = 0.0
    choices: Choices = field(default_factory=Choices)
    entropy_weight: float = 0.0
    entropy_reduction: str = "mean"
    balance_weight: float = 0.0
    balance: str = "importance"
    route_gradient: str | None = None
    gate_noise: bool = True

    def __post_init__(self):
        checks.settle(self, gate_noise=checks.flag("gate_noise", self.gate_noise))
        checks.one_of("route_gradient", self.route_gradient, (None, "straight-through"))
        checks.instance("choices", self.choices, Choices, "a Choices record")
        checks.one_of("entropy_reduction", self.entropy_reduction, losses.REDUCTIONS)
        checks.one_of("balance", self.balance, tuple(losses.BALANCES))
        numbers = ("learning_rate", "entropy_weight", "balance_weight")
        checks.settle(self, **{name: checks.number(name, getattr(self, name), "[0, inf)") for name in numbers})

    def row(self):
        """Return what the history of a run tells of them."""
        numbers = {"learning_rate": self.learning_rate, "temperature": self.choices.temperature}
        return numbers | {"entropy_weight": self.entropy_weight, "smooth_step": self.choices.smooth_step}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: every number that matters, in one printable record.

    Numbers marked * may be schedules: functions of progress from 0 to 1, such as `schedules.Geometric`. What a layer
    cannot use is refused before the first step, see `penalties.check_options`.

    Parameters
    ----------
    epochs, batch_size : int, at least 1
    optimizer : SGD, Adam or another Optimizer
    learning_rate, entropy_weight, balance_weight : number or schedule *
    entropy_reduction, balance : str
        As in `Settings`.
    temperature, noise : number or schedule *
    straight_through : bool or schedule *
    smooth_step : bool
    transpose_prob : float
        As in `Choices`; these five concern `LeafFFF` only.
    route_gradient : {None, "straight-through"}
        As in `Settings`; it concerns `PathFFF` only.
    gate_noise : bool
        As in `Settings`; it concerns `MoE` only.
    fast : bool
        Compiled forward and backward passes, `fffref.jit`: of `PathFFF`, and of `LeafFFF`, where smooth steps leave
        leaves without mass.

    Raises
    ------
    TypeError, ValueError
        If a field has another type or is out of its range, now or at any point of its schedule that was tried.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: Optimizer = field(default_factory=Adam)
    learning_rate: float | Callable = field(default_factory=lambda: OneCycle(0.01))
    temperature: float | Callable = 1.0
    entropy_weight: float | Callable = 0.0
    entropy_reduction: str = "mean"
    balance_weight: float | Callable = 0.0
    balance: str = "importance"
    transpose_prob: float = 0.0
    noise: float | Callable = 0.0
    straight_through: bool | Callable = False
    smooth_step: bool = False
    route_gradient: str | None = None
    gate_noise: bool = True
    fast: bool = False

    def __post_init__(self):
        checks.settle(
            self,
            epochs=checks.integer("epochs", self.epochs, 1),
            batch_size=checks.integer("batch_size", self.batch_size, 1),
            fast=checks.flag("fast", self.fast),
        )
        checks.instance("optimizer", self.optimizer, Optimizer, "one, such as Adam() or SGD(0.9)")
        if self.fast and self.route_gradient:
            raise checks.InputError(
                "the compiled backward pass has no route gradient; leave fast as False, or route_gradient out"
            )
        # a schedule may be wrong at its end only
        start, _, _ = (self.at(progress) for progress in (0.0, 0.5, 1.0))  # each checks all that it holds
        # what came as NumPy's scalar is kept as Python's, so that JSON takes it; schedules see to their own
        constant = {f.name for f in fields(self) if not callable(getattr(self, f.name))}  # of what is no schedule
        values = vars(start) | vars(start.choices)
        checks.settle(self, **{name: values[name] for name in constant & set(values)})

    def __repr__(self):
        """Whatever differs from `Recipe()`; what identifies a run is `facts`."""
        return f"Recipe({', '.join(f'{name}={getattr(self, name)!r}' for name in self.changed())})"

    def changed(self):
        """Return the names of the fields that differ from those of `Recipe()`."""
        # factories are called: two Adams are equal
        default = {f.name: f.default_factory() if f.default is dataclasses.MISSING else f.default for f in fields(self)}
        return [name for name, value in default.items() if getattr(self, name) != value]

    def at(self, progress):
        """Return the `Settings` in force at this progress."""
        choices = Choices(
            temperature=schedule(self.temperature)(progress),
            noise=schedule(self.noise)(progress),
            straight_through=schedule(self.straight_through)(progress),
            # no schedules: another function in mid-run would be another model
            smooth_step=self.smooth_step,
            transpose_prob=self.transpose_prob,
        )
        return Settings(
            learning_rate=schedule(self.learning_rate)(progress),
            choices=choices,
            entropy_weight=schedule(self.entropy_weight)(progress),
            entropy_reduction=self.entropy_reduction,
            balance_weight=schedule(self.balance_weight)(progress),
            balance=self.balance,
            route_gradient=self.route_gradient,
            gate_noise=self.gate_noise,
        )

    def facts(self):
        """Return every field as JSON can hold it: with `NUMERICS`, data and seed, they decide the result of a run.

        A field that came after runs were recorded counts where it is not as it was then, so that they keep their keys.
        """
        facts = {f.name: _fact(getattr(self, f.name)) for f in fields(self)}
        return {name: fact for name, fact in facts.items() if name not in LATER or fact != LATER[name]}


def _fact(value):
    """A number or name as it is, an optimiser or schedule as its name and fields, any other function by values."""
    if dataclasses.is_dataclass(value):
        return {type(value).__name__: {f.name: _fact(getattr(value, f.name)) for f in fields(value)}}
    if callable(value):  # its repr would be an address, another in every process
        # at 0, 0.1, ... 1: what a lambda does, told by its values
        return {"function": [float(value(tenth / 10)) for tenth in range(11)]}
    return value


def hardening(**changes):
    """Return a recipe that ends hard, with every leaf at work.

    Five things, of which `fffref reproduce ablation` says what each is worth: the temperature falls, so that choices
    sharpen; noise on the logits fades out, so that choices near 1/2 do not pay meanwhile; leaves that get more than
    their share cost something; for the last two fifths choices are rounded, straight-through, so that the leaves end on
    just those samples that they will get; and weights decay, for a leaf sees few samples and learns them by heart:
    that pays the more, the longer the training.

    Parameters
    ----------
    **changes
        Fields of `Recipe` to set otherwise.

    Returns
    -------
    Recipe
    """
    settings = {
        # the mixture ends close to a hard choice
        "batch_size": 256, "temperature": Geometric(1.0, 0.05), "noise": Linear(1.0, 0.0),
        "balance_weight": 3.0, "straight_through": Step(False, True, at=0.6), "optimizer": Adam(weight_decay=0.1),
    }  # fmt: skip
    return Recipe(**settings | changes)


def paper1(**changes):
    """Return the hardening of the first paper: SGD at 0.2, batches of 256, entropy weight 3, summed.

    Parameters
    ----------
    **changes
        Fields of `Recipe` to set otherwise.

    Returns
    -------
    Recipe
    """
    settings = {"optimizer": SGD(), "learning_rate": 0.2, "batch_size": 256}  # plain SGD at a constant rate
    # h = 3, the sum over batch and nodes: as its text has it
    return Recipe(**settings | {"entropy_weight": 3.0, "entropy_reduction": "sum"} | changes)

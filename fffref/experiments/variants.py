"""Recipes of grid and ablation as data: a base, perhaps less or plus one ingredient. Sentences are made where printed.

The knobs of a recipe, its learning rate and weight decay, are turned here too: `tuning` searches them for every arm.
"""

from dataclasses import dataclass, replace

from .. import training
from ..training.optim import SGD, Adam
from ..training.schedules import OneCycle

OURS, PUBLISHED, MILD = "hardening", "paper1", "paper1 with mean entropy"
GRID = (PUBLISHED, MILD, OURS)  # bases, in the order of the tables
OPTIMISER_OF = {OURS: OURS, PUBLISHED: PUBLISHED, MILD: PUBLISHED}  # the base whose optimiser a dense rival gets
SHARED = ("epochs", "batch_size", "optimizer", "learning_rate")  # what a net without a tree can use of a recipe
MOE_BALANCE = 0.1  # weight of importance and load: Shazeer et al., arXiv 1701.06538, appendix C

# Each ingredient as what is set when it is left out.
INGREDIENTS = {
    "annealed temperature": {"temperature": 1.0},
    "leaf balance": {"balance_weight": 0.0},
    "fading noise": {"noise": 0.0},
    "rounding at the end": {"straight_through": False},
    "Adam with decay and a one-cycle rate": {"optimizer": SGD(), "learning_rate": 0.2},
}
DECAY = "weight decay"  # a part of the Adam above: left out alone, but not added to SGD alone
ENTROPY = "entropy loss"
# What neither recipe has, as what is set when it is added.
FURTHER = {
    "straight-through choices throughout": {"straight_through": True},
    "smooth-step choices": {"smooth_step": True},
    "switch balance, weight 3": {"balance": "switch", "balance_weight": 3.0},
    "child transposition, 5 %": {"transpose_prob": 0.05},
}


@dataclass(frozen=True)
class Variant:
    """A recipe, and how it differs from the base that it is held against.

    Attributes
    ----------
    base : str
        One of `GRID`.
    recipe : training.Recipe
    sign : {"", "less", "plus"}
        Empty for the base itself.
    ingredient : str
        What is left out or added.
    """

    base: str
    recipe: training.Recipe
    sign: str = ""
    ingredient: str = ""


def sentence(base, sign="", ingredient=""):
    """Return a variant's name as it is printed."""
    return " ".join(word for word in (base, sign, ingredient) if word)


def bases(**changes):
    """Return the recipes of the grid by name; `changes` are fields of `Recipe` to set otherwise in all of them."""
    published = training.paper1(**changes)
    recipes = {
        PUBLISHED: published,
        # the two readings differ by a factor of batch times nodes
        MILD: replace(published, entropy_reduction="mean"),  # as in the authors' example
        OURS: training.hardening(**changes),
    }
    return {base: Variant(base, recipe) for base, recipe in recipes.items()}


def variants(**changes):
    """Return the ablation: our recipe less each ingredient and plus others, the published one plus each.

    Ingredients are added to the published recipe in its milder reading: beside the summed entropy, nothing matters.

    Parameters
    ----------
    **changes
        Fields of `Recipe` to set otherwise in all of them.

    Returns
    -------
    list of Variant
        A base comes before its variants.
    """
    grid = bases(**changes)
    ours, mild = grid[OURS].recipe, grid[MILD].recipe
    entropy = {name: getattr(mild, name) for name in ("entropy_weight", "entropy_reduction")}

    def vary(base, sign, ingredient, fields):
        """A base's recipe with these fields changed."""
        return Variant(base, replace(grid[base].recipe, **fields), sign, ingredient)

    # our recipe, an ingredient at a time taken out
    less = [vary(OURS, "less", name, without) for name, without in INGREDIENTS.items()]
    less.append(vary(OURS, "less", DECAY, {"optimizer": Adam()}))
    more = [vary(OURS, "plus", name, added) for name, added in FURTHER.items()]
    more.append(vary(OURS, "plus", ENTROPY, entropy))
    # an ingredient, as our recipe has it
    given = {name: {field: getattr(ours, field) for field in without} for name, without in INGREDIENTS.items()}
    plus = [vary(MILD, "plus", name, added) for name, added in (given | FURTHER).items()]
    plus.append(vary(MILD, "less", ENTROPY, {"entropy_weight": 0.0}))  # what is left of the published recipe is SGD
    return [grid[OURS], *less, *more, grid[PUBLISHED], grid[MILD], *plus]


def for_dense(variant):
    """Return the variant as a dense net can follow it: it has nothing to harden, so the options for that go."""
    # the shared fields, everything else as by default
    recipe = training.Recipe(**{name: getattr(variant.recipe, name) for name in SHARED})
    return Variant(OPTIMISER_OF[variant.base], recipe)


def for_experts(variant):
    """Return the variant for a `MoE`: as for a dense net, with the balance of its own paper."""
    dense = for_dense(variant)
    # a balance has no meaning for a dense net
    return replace(dense, recipe=replace(dense.recipe, balance_weight=MOE_BALANCE))


# ---------------------------------------------------------------------- knobs


def knobs(recipe):
    """Return a recipe's settings of what is searched: "learning_rate" (its peak), and "weight_decay" if it has one."""
    rate = recipe.learning_rate
    found = {"learning_rate": rate.peak if isinstance(rate, OneCycle) else rate}  # a number stands for itself
    return found | ({"weight_decay": recipe.optimizer.weight_decay} if isinstance(recipe.optimizer, Adam) else {})


def turned(recipe, learning_rate=None, weight_decay=None):
    """Return the recipe with other settings of its knobs; None leaves one as it is."""
    if learning_rate is not None:
        # the schedule's form stays
        rate = OneCycle(learning_rate) if isinstance(recipe.learning_rate, OneCycle) else learning_rate
        recipe = replace(recipe, learning_rate=rate)
    if weight_decay is not None:
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, weight_decay=weight_decay))
    return recipe

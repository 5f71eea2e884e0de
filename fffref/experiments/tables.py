"""Which runs make the tables: the first paper's grid with the rivals of each tree, longer training, the ablation.

Every function lists arms, a `Run` each with seed 0 and the recipe as it is given; `tuning` searches their learning
rates and weight decays on held-out samples, and `seeded` makes the runs of a table of them.
"""

from dataclasses import replace

from .. import counting
from . import variants
from .runs import GIVEN, N_IN, N_OUT, SEARCHED, THE_TREES, Run
from .variants import MILD, OURS, PUBLISHED

WIDTHS = (16, 32, 64, 128)  # w, training widths of the grid
LEAF_WIDTHS = (8, 4, 2, 1)  # l
QUOTED = ((128, 8), (128, 1))  # (w, l) of the trees that are spoken of most
GATE_FREE, GATE_COUNTED = "experts d + l", "experts d + l, gate counted"


def tree_sizes(width, leaf_width):
    """Depth and leaf width of the grid's tree of this training width w = 2^d l."""
    return {"depth": (width // leaf_width).bit_length() - 1, "leaf_width": leaf_width}  # log2 of the number of leaves


def dense_widths(depth, leaf_width):
    """Widths of the dense nets that a tree is held against.

    Returns
    -------
    dict of str to int
        "training width" 2^d l, "engaged size" d + l, and "parameters": as many, to the nearest neuron.
    """
    tree = counting.leaf_fff(N_IN, N_OUT, depth, leaf_width)
    # parameters are linear in the width: two points give the line
    one, two = (counting.dense_ff(N_IN, N_OUT, width).parameters for width in (1, 2))
    parameters = 1 + round((tree.parameters - one) / (two - one))
    return {"training width": tree.training_width, "engaged size": tree.neurons_engaged, "parameters": parameters}


def experts_sizes(depth, leaf_width):
    """Sizes of the mixtures of experts that engage as much as a tree, two experts a sample.

    Returns
    -------
    dict of str to dict
        "experts d + l": as many neurons engaged as the tree has, nodes included, and about as many stored as its
        leaves hold; the gate comes on top. "experts d + l, gate counted": the gate's scores are counted as the tree's
        nodes are, E + 2 e = d + l.
    """
    engaged = depth + leaf_width
    width = -(-engaged // 2)  # half of the engaged neurons, rounded up: two experts compute
    few = 4 if engaged % 2 == 0 else 5  # E = few makes E + 2 e even or odd, as d + l is
    return {
        GATE_FREE: {"n_experts": max(2, round(2**depth * leaf_width / width)), "expert_width": width, "k": 2},
        GATE_COUNTED: {"n_experts": few, "expert_width": max(1, (engaged - few) // 2), "k": 2},
    }


def cases(data):
    """Return the trees of ablation and longest training for a data set, as (data, depth, leaf width)."""
    return [(data, 4, 8)] + ([] if data == "fashion-mnist" else [(data, 7, 1)])


def table1(data, quoted=False, bases=variants.GRID, **changes):
    """List the arms of the first paper's table 1: the grid, and the rivals of each tree.

    Parameters
    ----------
    data : str
    quoted : bool
        Only the trees of `QUOTED`; these are held against mixtures of experts too, and the published recipe in its
        milder reading is there a second time, with a learning rate that was searched as ours was.
    bases : sequence of str
        Which recipes, of `variants.GRID`.
    **changes
        Fields of all recipes to set otherwise.

    Returns
    -------
    list of Run
        A dense net that is several trees' rival is there once.
    """
    recipes = {name: recipe for name, recipe in variants.bases(**changes).items() if name in bases}
    grid = QUOTED if quoted else [(width, leaf_width) for width in WIDTHS for leaf_width in LEAF_WIDTHS]  # w = 2^d l
    trees = [tree_sizes(*size) for size in grid]
    arms = [_tree(data, sizes, recipe) for sizes in trees for recipe in recipes.values()]
    if quoted:
        arms += [replace(arm, rates=SEARCHED) for arm in arms if arm.variant.base == MILD]
    # several trees may have the same rival
    widths = sorted({width for sizes in trees for width in dense_widths(**sizes).values()})
    # by base: two readings of one recipe have one rival
    rivals = {recipe.base: recipe for recipe in map(variants.for_dense, recipes.values())}
    arms += [
        Run(data, "DenseFF", {"width": width}, rival, rates=SEARCHED) for rival in rivals.values() for width in widths
    ]
    names = (GATE_COUNTED, GATE_FREE) if quoted and OURS in recipes else ()
    return arms + _experts(data, trees, recipes.get(OURS), names)


def longer(data, epochs):
    """List the arms that say what more epochs are worth: our trees of `cases`, and what engages no more.

    Parameters
    ----------
    data : str
    epochs : int

    Returns
    -------
    list of Run
        The dense net is there twice: with a learning rate and weight decay of its own, and with the tree's.
    """
    ours = variants.bases(epochs=epochs)[OURS]
    trees = [{"depth": depth, "leaf_width": leaf_width} for _, depth, leaf_width in cases(data)]
    arms = [_tree(data, sizes, ours) for sizes in trees]
    for sizes in trees:
        dense = {"width": dense_widths(**sizes)["engaged size"]}
        arms += [Run(data, "DenseFF", dense, variants.for_dense(ours), rates=rates) for rates in (SEARCHED, THE_TREES)]
    return arms + _experts(data, trees, ours, (GATE_COUNTED,))


def ablation(data, **changes):
    """List the arms of the ablation: on each tree of `cases`, our recipe less each ingredient, the published one plus.

    Parameters
    ----------
    data : str
    **changes
        Fields of all recipes to set otherwise.

    Returns
    -------
    list of Run
        The bases are those of `table1`, not to be computed twice.
    """
    return [
        Run(data, "LeafFFF", {"depth": depth, "leaf_width": leaf_width}, variant, rates=SEARCHED)
        for _, depth, leaf_width in cases(data)
        for variant in variants.variants(**changes)
        if variant.base != PUBLISHED
    ]


def _tree(data, sizes, variant):
    """A tree by a recipe: ours searched, the published one with the rate that was published."""
    return Run(data, "LeafFFF", sizes, variant, rates=SEARCHED if variant.base == OURS else GIVEN)


def _experts(data, trees, ours, names):
    """The mixtures of experts of these names that trees are held against."""
    sizes = [experts_sizes(**tree)[name] for tree in trees for name in names]
    return [Run(data, "MoE", each, variants.for_experts(ours), rates=SEARCHED) for each in sizes]


def tree_of(arm, arms):
    """Return the tree among the arms that a dense net of engaged size is the rival of."""
    trees = (tree for tree in arms if (tree.data, tree.layer, tree.variant.base) == (arm.data, "LeafFFF", OURS))
    return next(tree for tree in trees if dense_widths(**tree.sizes)["engaged size"] == arm.sizes["width"])


def seeded(arms, seeds, choose, folder=None):
    """Make the runs of a table.

    Parameters
    ----------
    arms : list of Run
    seeds : int
        Seeds 0 to seeds - 1.
    choose : callable
        From an arm to its recipe with the learning rate and weight decay that were searched for it.
    folder : str, optional
        Where the data is.

    Returns
    -------
    list of Run
    """

    def settled(arm):
        """The arm with its recipe as it is to be trained."""
        if arm.rates == GIVEN:  # as published: nothing was searched for it
            return arm
        if arm.rates == THE_TREES:
            knobs = variants.knobs(choose(tree_of(arm, arms)))  # the dense net with what was found for the tree
            recipe = variants.turned(arm.recipe, **knobs)
        else:
            recipe = choose(arm)
        return replace(arm, variant=replace(arm.variant, recipe=recipe))

    return [replace(arm, seed=seed, folder=folder) for arm in map(settled, arms) for seed in range(seeds)]

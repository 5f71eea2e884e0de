"""Every figure, drawn from plain arrays. Each function returns a matplotlib Figure; `save` writes it."""

from .accuracy import accuracy_grids, error_by_recipe, error_by_size
from .claims import claimed_and_found, claims_for_a_layer, time_and_gain
from .costs import model_speed_ups
from .drawings import transformer_block, tree_walk
from .family import family_tree, look_up_errors
from .paths import accuracy_by_engaged, turns
from .style import COLOURS, PACK, STYLE, alternative_text, save, use_in_notebook
from .training import gradient_errors, leaf_usage, learning_curves, node_entropies, node_weights

__all__ = [
    "COLOURS",
    "PACK",
    "STYLE",
    "accuracy_by_engaged",
    "accuracy_grids",
    "alternative_text",
    "claimed_and_found",
    "claims_for_a_layer",
    "error_by_recipe",
    "error_by_size",
    "family_tree",
    "gradient_errors",
    "leaf_usage",
    "learning_curves",
    "look_up_errors",
    "model_speed_ups",
    "node_entropies",
    "node_weights",
    "save",
    "time_and_gain",
    "transformer_block",
    "tree_walk",
    "turns",
    "use_in_notebook",
]

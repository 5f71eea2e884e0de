"""Every figure, drawn from plain arrays. Each function returns a matplotlib Figure; `save` writes it."""

from .accuracy import accuracy_grids, error_by_recipe, error_by_size
from .costs import model_speed_ups
from .drawings import transformer_block, tree_walk
from .family import family_tree, look_up_errors
from .style import COLOURS, PACK, STYLE, alternative_text, save, use_in_notebook
from .training import gradient_errors, leaf_usage, learning_curves, node_entropies, node_weights

__all__ = [
    "COLOURS",
    "PACK",
    "STYLE",
    "accuracy_grids",
    "alternative_text",
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
    "transformer_block",
    "tree_walk",
    "use_in_notebook",
]

"""Training: losses, optimisers, schedules, recipes and the loop."""

from .loop import Recipe, evaluate, hardening, moe_objective, objective, paper1, train
from .optim import SGD, Adam

__all__ = ["SGD", "Adam", "Recipe", "evaluate", "hardening", "moe_objective", "objective", "paper1", "train"]

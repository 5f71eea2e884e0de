"""Training: a model, a task, a recipe and a seed.

>>> layer, history = train(layer, Classification(x, labels), hardening(epochs=12), seed=1)
"""

from .evaluation import evaluate, evaluate_regression, last_choices
from .loop import Diverged, stream, train
from .optim import SGD, Adam
from .penalties import fitting
from .recipes import NUMERICS, Recipe, Settings, hardening, paper1
from .tasks import Classification, Regression, RelativeRegression, objective

__all__ = [
    "NUMERICS", "SGD", "Adam", "Classification", "Diverged", "Recipe", "Regression", "RelativeRegression", "Settings",
    "evaluate", "evaluate_regression", "fitting", "hardening", "last_choices", "objective", "paper1", "stream", "train",
]  # fmt: skip

"""A real task for embeddings: which of WordNet's 45 categories does a definition belong to?

Two classifiers are fitted to the original's embeddings and stay as they are: the nearest of the training glosses, and
logistic regression. A carved encoder is judged by how often they are right on its embeddings of other glosses.

# n training glosses, m test glosses, H width of an embedding, C categories
"""

from typing import NamedTuple

import numpy as np

from ..training.losses import cross_entropy

TRAIN, TEST = 4000, 2000  # glosses
PENALTY = 3e-5  # of 1e-3, 1e-4, 3e-5 and 1e-5 the best for MiniLM, in fivefold cross-validation on the training glosses
STEPS = 1000  # of the optimiser, at most; some hundred are enough


class Classifiers(NamedTuple):
    """What was fitted to the original's embeddings."""

    embeddings: np.ndarray  # of the training glosses, (n, H)
    labels: np.ndarray
    weights: np.ndarray  # of the logistic regression, (H + 1, C), biases last

    @classmethod
    def fit(cls, embeddings, labels):
        """Fit both."""
        return cls(embeddings, labels, logistic(embeddings, labels))

    def accuracy(self, embeddings, answers):
        """How often each is right: a dict with "nearest" and "logistic".

        Parameters
        ----------
        embeddings : ndarray (m, H)
            Of an encoder that may be another.
        answers : ndarray of int (m,)
        """
        found = {
            "nearest": self.labels[(embeddings @ self.embeddings.T).argmax(1)],  # unit vectors: (m, n) cosines
            "logistic": (with_ones(embeddings) @ self.weights).argmax(1),
        }
        return {name: round(float((labels == answers).mean()), 5) for name, labels in found.items()}


def logistic(x, labels, penalty=PENALTY):
    """Multinomial logistic regression.

    Parameters
    ----------
    x : ndarray (n, H)
    labels : ndarray of int (n,)
    penalty : float

    Returns
    -------
    ndarray (H + 1, C)
        Biases are the last row.

    Notes
    -----
    Minimises the mean of -log softmax(x W + b)[label], plus penalty / 2 |W|^2.
    """
    from scipy.optimize import minimize  # imported where needed

    x, shape = with_ones(x).astype(np.float64), (x.shape[1] + 1, labels.max() + 1)
    free = np.r_[np.ones(shape[0] - 1), 0][:, None]

    def objective(flat):
        """What is minimised, and its gradient."""
        weights = flat.reshape(shape)
        value, dlogits = cross_entropy(x @ weights, labels)
        shrunk = weights * free  # biases are not drawn to 0
        return value + penalty / 2 * (shrunk**2).sum(), (x.T @ dlogits + penalty * shrunk).ravel()

    found = minimize(objective, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return found.x.reshape(shape)


def with_ones(x):
    """A column of ones behind: (n, H) -> (n, H + 1)."""
    return np.c_[x, np.ones(len(x), x.dtype)]

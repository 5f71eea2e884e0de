"""Exercises that check themselves: `check("01.1", answer_1)` says right, not yet, or what kind of mistake it sees.

A checker is a function of the answer. It returns None if the answer is right, and otherwise a sentence that says what is
wrong without saying what would be right. It makes its own inputs, so that it needs nothing of the notebook.
"""

import numpy as np

_CHECKERS = {}


def exercise(name):
    """Register a checker under notebook and number, such as "01.1"."""

    def register(checker):
        if name in _CHECKERS:
            raise ValueError(f"exercise {name} has a checker already")
        _CHECKERS[name] = checker
        return checker

    return register


def names():
    """All exercises that have a checker, in order."""
    return sorted(_CHECKERS)


def check(name, answer):
    """Print what there is to say about an answer; return True, False, or None if there is none yet."""
    number = f"Exercise {int(name.partition('.')[2])}"
    if answer is None:
        print(f"{number}: not yet")
        return None
    try:
        mistake = _CHECKERS[name](answer)
    except Exception as error:  # the answer is somebody's code, and may do anything
        mistake = f"the checker cannot use this answer. {type(error).__name__}: {error}"
    print(
        f"{number}: right" if mistake is None else f"{number}: not right yet. {mistake}"
    )
    return mistake is None


def compare(given, right, mistakes=None, otherwise="", rtol=1e-6, atol=1e-9):
    """Return None where `given` is close to `right`, else the sentence of the mistake whose value it has."""
    given, right = np.asarray(given), np.asarray(right)
    if given.shape != right.shape:
        return f"The shape should be {right.shape}; it is {given.shape}."

    def close(value):
        return np.allclose(given, value, rtol=rtol, atol=atol)

    if close(right):
        return None
    return next(
        (text for text, value in (mistakes or {}).items() if close(value)),
        otherwise or "The numbers differ.",
    )


from . import carving, costs, family, layers, trees  # noqa: E402, F401 - they register their checkers

"""Bad input is refused here, with a message that says what was expected, what came and what to do."""

import numbers

import numpy as np

DTYPES = ("float32", "float64", "complex128")  # the last for complex-step derivatives only


def integer(name, value, least, most=None):
    """Return `value` as an int of at least `least` (and at most `most`); refuse floats, booleans and strings."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}; pass a whole number such as {max(least, 1)}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}")
    return int(value)


def number(name, value, interval):
    """Return `value` as a float inside `interval`, written as in "[0, 1)"; NaN is inside none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    least, most = map(float, interval[1:-1].split(","))
    above = value > least or (interval[0] == "[" and value == least)
    below = value < most or (interval[-1] == "]" and value == most)
    if not (above and below):
        raise ValueError(f"{name} must lie in {interval}, got {value}")
    return float(value)


def flag(name, value):
    """Return `value` as a bool; refuse what only counts as true or false, such as "no"."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def number_or_flag(name, value, interval):
    """Return `value` as a bool if it is one, else as `number` does."""
    return bool(value) if isinstance(value, (bool, np.bool_)) else number(name, value, interval)


def instance(name, value, classes, example):
    """Return `value` if it belongs to one of `classes`; `example` says what to write instead."""
    if not isinstance(value, classes):
        raise TypeError(f"{name} must be {example}, got {type(value).__name__} {value!r}"[:300])
    return value


def settle(record, **values):
    """Set checked values of a frozen dataclass, while it is being made: plain numbers instead of NumPy's."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def finite(name, value):
    """Refuse NaN and inf, with the place of the first."""
    wrong = ~np.isfinite(value)
    if wrong.any():
        place = np.unravel_index(np.argmax(wrong), wrong.shape)
        what = "NaN" if np.isnan(value[place]) else "infinity"
        raise ValueError(f"{name} holds {what}, first at {list(map(int, place))}; fill or drop it")
    return value


def one_of(name, value, choices):
    """Return `value` if it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def dtype(value, allowed=DTYPES):
    """Return `value` as a NumPy dtype if layers can have it."""
    try:
        found = np.dtype(value)
    except TypeError:
        found = None
    if found is None or found.name not in allowed:
        raise TypeError(f"dtype must be one of {', '.join(allowed)}, got {value!r}")
    if not found.isnative:
        raise TypeError(
            f"dtype must have this machine's byte order, got {value!r}; convert with .astype(np.{found.name})"
        )
    return found


def array(name, value, shape, dtype):
    """Return `value` as an array of this `dtype` whose shape matches `shape`, where None matches any length.

    A leading Ellipsis in `shape` stands for any number of leading axes.
    """
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):  # np.asarray would drop the mask without a word
        raise TypeError(f"{name} must be a plain NumPy array, got {type(value).__name__}; fill it, or np.asarray it")
    value = np.asarray(value)
    if value.dtype != dtype:
        raise TypeError(
            f"{name} must have dtype {np.dtype(dtype)}, got {value.dtype}; "
            f"convert it with .astype(np.{np.dtype(dtype)}), or convert the other side (layer.astype)"
        )
    tail = shape[1:] if shape[:1] == (...,) else shape
    found = value.shape[value.ndim - len(tail) :] if shape[:1] == (...,) else value.shape
    if len(found) != len(tail) or any(w not in (None, f) for w, f in zip(tail, found, strict=True)):
        wanted = ", ".join("..." if w is ... else "any" if w is None else str(w) for w in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {value.shape}")
    return value


def labels(value, shape, n_classes):
    """Return `value` as an integer array of this `shape` with entries in `[0, n_classes)`."""
    value = np.asarray(value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {value.dtype}; pass class numbers 0 to {n_classes - 1}")
    if value.shape != shape:
        raise ValueError(f"labels must have shape {shape}, one per output row, got {value.shape}")
    wrong = (value < 0) | (value >= n_classes)
    if wrong.any():
        raise ValueError(f"labels must lie in 0 to {n_classes - 1}, got {value[wrong].flat[0]}")
    return value


def generator(name, value):
    """Return `value` if it is a NumPy Generator: randomness is always handed in, never hidden."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{name} must be a numpy.random.Generator, got {value!r}; pass np.random.default_rng(0)")
    return value


def floating(name, value):
    """Refuse what is no NumPy array of a dtype that layers can have."""
    if not isinstance(value, np.ndarray) or value.dtype.name not in DTYPES:
        found = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name} must be a NumPy array of {', '.join(DTYPES)}, got {found}")

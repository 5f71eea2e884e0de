"""Bad input is refused here, with a message that says what was expected, what came and what to do.

`InputError` is what bad input raises everywhere in the package: a `ValueError`, and where a value is of the wrong
type an `InputTypeError`, which is a `TypeError` too. The command line shows these as one line. Whatever else is raised
is a mistake of this package, and shows its traceback.
"""

import numbers

import numpy as np

DTYPES = ("float32", "float64", "complex128")  # the last for complex-step derivatives only
LARGEST = 2**63 - 1  # of what counts things: NumPy's integers end here


class InputError(ValueError):
    """What a caller handed in cannot be used; the message says why, and what to do."""


class InputTypeError(InputError, TypeError):
    """What a caller handed in is of the wrong type."""


def integer(name, value, least, most=LARGEST):
    """Return `value` as an int of at least `least` and at most `most`; refuse floats, booleans and strings."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):  # True is an Integral
        raise InputTypeError(
            f"{name} must be an integer, got {shown(value)}; pass a whole number such as {max(least, 1)}"
        )
    if value < least:
        raise InputError(f"{name} must be at least {least}, got {value}")
    if value > most:
        raise InputError(f"{name} must be at most {most}, got {shown(value)}")
    return int(value)


def number(name, value, interval):
    """Return `value` as a float inside `interval`, written as in "[0, 1)"; NaN is inside none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise InputTypeError(f"{name} must be a number, got {shown(value)}")
    least, most = map(float, interval[1:-1].split(","))
    try:
        float(value)
    except OverflowError:
        raise InputError(f"{name} must lie in {interval}, got {shown(value)}, which no float can hold") from None
    above = value > least or (interval[0] == "[" and value == least)  # NaN is above nothing
    below = value < most or (interval[-1] == "]" and value == most)
    if not (above and below):
        raise InputError(f"{name} must lie in {interval}, got {shown(value)}")
    return float(value)


def flag(name, value):
    """Return `value` as a bool; refuse what only counts as true or false, such as "no"."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def number_or_flag(name, value, interval):
    """Return `value` as a bool if it is one, else as `number` does."""
    return bool(value) if isinstance(value, (bool, np.bool_)) else number(name, value, interval)


def instance(name, value, classes, example):
    """Return `value` if it belongs to one of `classes`; `example` says what to write instead."""
    if not isinstance(value, classes):
        raise InputTypeError(f"{name} must be {example}, got {type(value).__name__} {shown(value)}")
    return value


def settle(record, **values):
    """Set checked values of a frozen dataclass, while it is being made: plain numbers instead of NumPy's."""
    for name, value in values.items():
        object.__setattr__(record, name, value)  # the one way past `frozen`, within __post_init__


def one_of(name, value, choices):
    """Return `value` if it is one of `choices`."""
    # an array would compare entry by entry
    if not isinstance(value, (str, int, float, type(None))) or value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(repr, choices))}, got {shown(value)}")
    return value


def dtype(value, allowed=DTYPES):
    """Return `value` as a NumPy dtype if layers can have it: one of `allowed`, in this machine's byte order."""
    try:
        kind = np.dtype(value)
    except (TypeError, ValueError, SyntaxError):
        kind = None
    if kind is None or kind.name not in allowed:
        raise InputTypeError(f"dtype must be one of {', '.join(allowed)}, got {shown(value)}")
    if not kind.isnative:  # arithmetic would work, and compiled code read nonsense
        raise InputTypeError(
            f"dtype must be in this machine's byte order, got {kind}; convert arrays with .astype(np.{kind.name})"
        )
    return kind


def array(name, value, shape, dtype):
    """Return `value` as an array of this `dtype` whose shape matches `shape`, where None matches any length.

    A leading Ellipsis in `shape` stands for any number of leading axes.
    """
    value = plain(name, value)
    if value.dtype != dtype:
        advice = f"convert it with .astype(np.{np.dtype(dtype).name})"
        if value.dtype.name != np.dtype(dtype).name:
            advice += ", or convert the other side (layer.astype)"
        raise InputTypeError(f"{name} must have dtype {np.dtype(dtype)}, got {value.dtype}; {advice}")
    tail = shape[1:] if shape[:1] == (...,) else shape  # the axes that are fixed
    # as many from the end; fewer where there are not so many
    lengths = value.shape[max(value.ndim - len(tail), 0) :] if shape[:1] == (...,) else value.shape
    if len(lengths) != len(tail) or any(w not in (None, n) for w, n in zip(tail, lengths, strict=True)):
        wanted = ", ".join("..." if w is ... else "any" if w is None else str(w) for w in shape)
        raise InputError(f"{name} must have shape ({wanted}), got {value.shape}")
    return value


def plain(name, value):
    """Return `value` as an ndarray; refuse masked arrays and `np.matrix`, whose arithmetic is another."""
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        kind = type(value).__name__
        advice = ".filled(...)" if isinstance(value, np.ma.MaskedArray) else "np.asarray(...)"
        raise InputTypeError(
            f"{name} must be a plain NumPy array, got a {kind}, which computes otherwise; pass {advice}"
        )
    try:
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:  # ragged lists, for one
        raise InputTypeError(f"{name} must be a NumPy array, got what makes none ({error})") from error


def finite(name, value):
    """Refuse NaN and inf, with the place of the first."""
    wrong = ~np.isfinite(value)
    if wrong.any():
        place = np.unravel_index(np.argmax(wrong), wrong.shape)  # the first, in C order
        what = "NaN" if np.isnan(value[place]) else "infinity"
        raise InputError(f"{name} holds {what}, first at {list(map(int, place))}; fill or drop it")
    return value


def labels(value, shape, n_classes):
    """Return `value` as an integer array of this `shape` with entries in `[0, n_classes)`."""
    value = plain("labels", value)
    if value.dtype.kind not in "iu":
        raise InputTypeError(f"labels must be integers, got {value.dtype}; pass class numbers 0 to {n_classes - 1}")
    if value.shape != shape:
        raise InputError(f"labels must have shape {shape}, one per output row, got {value.shape}")
    wrong = (value < 0) | (value >= n_classes)
    if wrong.any():
        raise InputError(f"labels must lie in 0 to {n_classes - 1}, got {value[wrong].flat[0]}")
    return value


def generator(name, value):
    """Return `value` if it is a NumPy Generator: randomness is always handed in, never hidden."""
    if not isinstance(value, np.random.Generator):
        raise InputTypeError(
            f"{name} must be a numpy.random.Generator, got {shown(value)}; pass np.random.default_rng(0)"
        )
    return value


def floating(name, value):
    """Refuse what is no NumPy array of a dtype that layers can have."""
    if not isinstance(value, np.ndarray) or value.dtype.name not in DTYPES:
        kind = getattr(value, "dtype", type(value).__name__)
        raise InputTypeError(f"{name} must be a NumPy array of {', '.join(DTYPES)}, got {kind}")
    dtype(plain(name, value).dtype)


def shown(value):
    """A value's repr for a message, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # an object's own fault: its type says enough
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."  # a message is one line

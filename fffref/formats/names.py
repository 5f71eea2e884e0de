"""Names of weights in other people's files: what wrappers put before them, and how a message lists them."""

import re
from collections.abc import Mapping

from .. import checks

# torch.compile, DataParallel and its kin, and shards write these; the second is a wrapper at the beginning only.
WRAPPERS = re.compile(r"^(?:module\.)+|(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


class Renamed(Mapping):
    """The same arrays under other names; still made when they are asked for.

    Parameters
    ----------
    tensors : mapping of str to ndarray
    names : dict of str to str
        The new name: the old one.
    """

    def __init__(self, tensors, names):
        self._tensors, self._names = tensors, names

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)

    def __contains__(self, name):
        return name in self._names

    def __getitem__(self, name):
        return self._tensors[self._names[name]]


def unwrapped(tensors):
    """The arrays under the names that they had before `torch.compile` and the like wrapped their module.

    Parameters
    ----------
    tensors : mapping of str to ndarray

    Returns
    -------
    mapping of str to ndarray

    Raises
    ------
    InputError
        If two names become one.
    """
    names = {}
    for name in checked(tensors):
        # two tensors under one name: which of them counts would be a guess
        new = bare(name)
        if new in names:
            raise checks.InputError(f"{name} and {names[new]} are one name but for what wrappers add; take one out")
        names[new] = name
    return Renamed(tensors, names)


def checked(tensors):
    """Return `tensors` if it is a mapping of names to arrays."""
    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in tensors):
        raise checks.InputTypeError(f"tensors must be a dict of arrays by name, got {checks.shown(tensors)}")
    return tensors


def bare(name):
    """A name without what wrappers add: "module._orig_mod.head.w1s" is "head.w1s"."""
    while (shorter := WRAPPERS.sub("", name)) != name:  # wrappers of wrappers: what one hid comes to the front
        name = shorter
    return name


def under(tensors, prefix):
    """Those arrays whose names begin with a prefix, without it; wrappers' names in the prefix count for nothing."""
    prefix = bare(checks.instance("prefix", prefix, str, "a text such as 'head.'"))
    tensors = unwrapped(tensors)  # prefix and names alike, so that either may be wrapped
    return Renamed(tensors, {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)})


def prefixes_of(tensors, name):
    """What stands before `name` in the names of a file, wherever it occurs."""
    # after a dot only: "xa" does not end in the name "a"
    ends = (found for found in unwrapped(tensors) if found == name or found.endswith(f".{name}"))
    return sorted(found.removesuffix(name) for found in ends)


def listed(title, names):
    """A few names of many, as text; nothing of none."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{title} {', '.join(name[:200] for name in names[:4])}{more}" if names else ""


def expect(tensors, needed, allowed=(), what="the module", marker=None, prefix=""):
    """Refuse a state dict that lacks a name or has one that nobody knows; say under which prefix it would fit.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        As `under` gives them.
    needed, allowed : collection of str
    what : str
        For the message.
    marker : iterable of str, optional
        Prefixes under which such a module was seen in the file.
    prefix : str
        The one that was asked for.
    """
    missing = [name for name in needed if name not in tensors]
    unknown = [name for name in tensors if name not in {*needed, *allowed}]
    if missing or unknown:
        lists = "; ".join(filter(None, (listed("missing", missing), listed("unknown", unknown))))
        others = [repr(other) for other in marker or () if other != bare(prefix)]
        advice = f"; it is there under the prefix {' or '.join(others[:4])}, ask for that" if others else ""
        raise checks.InputError(f"these are no weights of {what} under the prefix {prefix!r}: {lists}{advice}")

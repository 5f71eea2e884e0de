"""Faults planted in the source, one at a time: the broken module runs beside the good one, never in its place.

A test file has a function `verify_NAME(module)` for every module that it breaks, a dict `FAULTS` from what is wrong
to (module, a piece of its text, what stands there instead), and one line that makes tests of both.
"""

import importlib.util
import inspect
import pathlib
import sys

import numba
import numpy as np
import pytest

import fffref
from fffref import gradcheck

FOLDER = pathlib.Path(fffref.__file__).parent
FOUND = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
FOUND += (pytest.fail.Exception,)  # what a check may say


def module_with(name, old=None, new=None):
    """The module `name` of the package, with `old` replaced by `new` in its text."""
    file = min(FOLDER.rglob(f"{name}.py"), key=lambda file: len(file.parts))  # a command has the name of what it runs
    text = file.read_text()
    if old is not None:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {name}.py"
        text = text.replace(old, new)
    mutant = ".".join(["fffref", *file.parent.relative_to(FOLDER).parts, f"{name}_mutant"])
    spec = importlib.util.spec_from_loader(mutant, loader=None)
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(file)
    sys.modules[mutant] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", name == "kernels")  # as plain Python
        try:
            exec(compile(text, mutant, "exec"), vars(module))
        finally:
            del sys.modules[mutant]
    return module


def make_tests(names, faults):
    """Two tests of a file: its checks pass on the source as it is, and find each of the faults.

    `names` are those of the file (`globals()`). A check that takes a folder besides the module gets an empty one.
    """
    checks = {name.removeprefix("verify_"): check for name, check in names.items() if name.startswith("verify_")}

    def verify(name, module, folder):
        check = checks[name]
        check(module, folder) if "folder" in inspect.signature(check).parameters else check(module)

    @pytest.mark.parametrize("name", checks)
    def test_the_source_as_it_is_passes(name, tmp_path):
        verify(name, module_with(name), tmp_path)

    @pytest.mark.parametrize("fault", faults)
    def test_a_planted_fault_is_found(fault, tmp_path):
        name, old, new = faults[fault]
        module = module_with(name, old, new)
        with pytest.raises(FOUND):
            verify(name, module, tmp_path)

    return test_the_source_as_it_is_passes, test_a_planted_fault_is_found


def near(found, expected):
    """The same numbers, to rounding."""
    np.testing.assert_allclose(found, np.array(expected).reshape(np.shape(found)), rtol=1e-10, atol=1e-12)


def gradients_hold(value, layer, x, grads, dx):
    """By complex step, every field."""
    for report in gradcheck.check_layer(value, layer, x, grads, dx, "complex").values():
        report.expect()

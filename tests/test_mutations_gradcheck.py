"""Does anybody check the checker? `gradcheck` and its helpers are broken, one piece at a time, and each time it shows."""

import numpy as np
import pytest
from mutants import module_with, near

from fffref import gradcheck, probes, reports, verdicts


def checker(monkeypatch, name, module):
    """`gradcheck`, with what it and its helpers import from the module `name` taken from this one."""
    for other in (probes, verdicts, reports, gradcheck):
        for label in vars(module):
            if label in vars(other) and getattr(vars(other)[label], "__module__", "") == f"fffref.{name}":
                monkeypatch.setattr(other, label, vars(module)[label])
    return module if name == "gradcheck" else gradcheck


def softmax_sum(z):
    e = np.exp(z - z.real.max())
    return (e / e.sum()).sum()


def verify_checks_of_gradients(check):
    """Right, wrong and unresolvable claims, each of which needs another part of the machinery."""
    x = np.random.default_rng(0).uniform(0.5, 2, 4)
    kink = lambda z: np.where(z.real > 0, z, 0).sum()  # noqa: E731
    right = [
        (lambda z: (z**3).sum(), x, 3 * x**2), (softmax_sum, x, 0 * x), (lambda z: np.sin(300 * z).sum(), x, 300 * np.cos(300 * x)),
        (lambda z: (z**2).sum(), 1e-9 * x, 2e-9 * x), (lambda z: np.log(z).sum(), 1e8 * x, 1e-8 / x),
        (lambda z: ((z + 1e6) - 1e6).sum(), x, np.ones(4)), (kink, np.array([1e-7, -1e-7]), np.array([1.0, 0.0])),
        (lambda z: (z * z).mean(), np.float32([3e5, 3.1e5]), np.float32([3e5, 3.1e5])),
        (lambda z: 1e6 + (z**2).sum(), 1e-3 * x, 2e-3 * x),
        (lambda z: np.exp(z).sum(), np.zeros(2), np.ones(2)), (lambda z: np.floor(z.real * 1e3).sum() + 0 * z.sum(), x, 0 * x),
    ]  # fmt: skip
    for f, at, claim in right:
        report = check.check(f, at, claim)
        assert report.passed and report.error < 1e-2, report
        assert check.check_projection(f, at, claim, np.random.default_rng(1)).passed
        if np.any(claim):
            for wrong in (1.0005 if at.dtype == np.float64 else 1.01) * claim, -claim, 0 * claim:
                assert check.check(f, at, wrong).wrong == np.count_nonzero(claim)
                assert check.check_projection(f, at, wrong, np.random.default_rng(1)).wrong
    assert check.check(lambda z: (z**3).sum(), x, (3 * x**2)[::-1], method="complex").wrong == 4
    exchanged = (3 * x**2)[[1, 0, 2, 3]]
    assert all(
        check.check_projection(lambda z: (z**3).sum(), x, exchanged, np.random.default_rng(s)).wrong for s in range(20)
    )
    small = lambda z: 1e3 * z[0] ** 4 + z[1] ** 2  # noqa: E731
    report = check.check(small, np.array([10.0, 1e-3]), np.array([4e6, -2e-3]))
    assert (report.index, report.wrong, report.agree) == ((1,), 1, 1) and report.error < 1e-6
    for at, f, word in ((0.0, kink, "kink"), (0.0, lambda z: np.where(z >= 0, z + 1, z).sum(), "jump")):
        report = check.check(f, np.array([at]), np.ones(1))
        assert report.verdict == "cannot be resolved" and word in report.warnings[0], report
    assert check.check(kink, np.zeros(1), -np.ones(1)).wrong == 1
    dice = np.random.default_rng(0)
    assert "random" in check.check(lambda z: dice.random() + z.sum(), x, 1 + 0 * x).warnings[0]
    absolute = lambda z: (z * np.abs(z)).sum()  # noqa: E731
    report = check.check(absolute, -x, x, method="complex")
    assert report.wrong == 4 and "not analytic" in report.warnings[0]
    assert check.check(lambda z: np.exp(z).sum(), x, np.exp(x), method="complex").method == "complex"
    gradient, bars = check.numeric_gradient(lambda z: np.exp(z).sum(), x, bars=True)
    assert np.all(np.abs(gradient - np.exp(x)) <= bars) and bars.max() < 1e-9 and bars.min() > 1e-13
    assert np.abs(gradient / np.exp(x) - 1).max() < 3e-12
    plain = check.numeric_gradient(lambda z: (z**3).sum(), x, step=1e-2)
    near(check.numeric_gradient(lambda z: z.astype(float).sum(), np.float32([1, 1.5]), step=1e-6), [1, 1])
    near((plain - 3 * x**2) / np.maximum(1, x) ** 2, np.full(4, 1e-4))


CHECKER_FAULTS = {
    # differences
    "no rounding": ("differences", "delta = max(self.rounding, self.eps", "delta = 0 * max(self.rounding, self.eps"),
    "rounding from |f| alone": ("differences", "return max(2 * float((thirds * noisy).max()) / np.sqrt(20), eps * abs(here)), eps", "return eps * abs(here), eps"),
    "rounding far too large": ("differences", "SAFETY = 10", "SAFETY = 1e9"),
    "half a central difference": ("differences", "(above - below) / (2 * h), (rise", "(above - below) / h, (rise"),
    "extrapolation, sign": ("differences", "row[-1] + (row[-1] - rows[-1][order - 1]) / (ratio - 1)", "row[-1] - (row[-1] - rows[-1][order - 1]) / (ratio - 1)"),
    "gap, sign": ("differences", "(rise - fall) / h, SAFETY", "(rise + fall) / h, SAFETY"),
    "finer steps not asked": ("differences", "for j in range(k + 1, len(slopes)):", "for j in ():"),
    # verdicts
    "everything agrees at once": ("verdicts", "if _at_once(line, question):", "if True:"),
    "kinks not seen": ("verdicts", "return kind\n", "return ''\n"),
    "kinks forgive everything": ("verdicts", "rough == KINK and question.miss", "rough == KINK and 0 * question.miss"),
    "wrong without being confirmed": ("verdicts", "estimate = _confirm(line, question, estimate)", "pass"),
    "never coarser": ("verdicts", "return h if h >= RATIO / 2 * estimate.step else None", "return None"),
    "agrees and wrong exchanged": ("verdicts", "Verdict(AGREES if question.miss(estimate) <=", "Verdict(AGREES if question.miss(estimate) >"),
    # probes
    "absolute steps": ("probes", "self.scales = np.where(size > 0, size, self.typical)", "self.scales = np.ones(size.shape)"),
    "asked steps, not those taken": ("probes", "step = (high.astype(np.float64) - low) / 2", "step = h * direction.vector"),
    "randomness not looked for": ("probes", "if not self.trouble and self.here != again:", "if False:"),
    "a complex step without its i": ("probes", "+ 1j * h * direction.vector", "+ h * direction.vector * (1 + 0j)"),
    # reports
    "analyticity assumed": ("reports", "and not probe.analytic()", "and False"),
    "wrong counted as agreeing": ("reports", "for kind in (AGREES, WRONG, UNRESOLVED))", "for kind in (WRONG, AGREES, UNRESOLVED))"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted({name for name, _, _ in CHECKER_FAULTS.values()}))
def test_the_checker_as_it_is_passes(name, monkeypatch):
    verify_checks_of_gradients(checker(monkeypatch, name, module_with(name)))


@pytest.mark.parametrize("fault", CHECKER_FAULTS)
def test_a_fault_planted_in_the_checker_is_found(fault, monkeypatch):
    name, old, new = CHECKER_FAULTS[fault]
    module = checker(monkeypatch, name, module_with(name, old, new))
    with pytest.raises((AssertionError, ValueError, IndexError)):
        verify_checks_of_gradients(module)

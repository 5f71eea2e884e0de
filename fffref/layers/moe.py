"""MoE, noisy top-k mixture of experts: the first paper's other baseline.

A linear gate scores all experts, the k best compute, and the rest do not. Noise on the scores, in training only,
keeps the gate from settling on the experts that it liked first.

# B batch, I inputs, O outputs, E experts, e expert width, k experts per sample

Reference: N. Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
arXiv 1701.06538, 2017; equation numbers below are theirs.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import checks
from . import activations, gate, tapes
from .gate import MoETape
from .record import Layer, uniform


@dataclass(frozen=True, eq=False)
class MoE(Layer):
    """A gate over E feedforward nets of `e` neurons each, k of which compute.

    Parameters
    ----------
    gate_weight, noise_weight : ndarray (E, n_in), (E, n_in)
        W_g and W_noise, an expert a row; the gate has no bias.
    expert_in_weight, expert_in_bias : ndarray (E, e, n_in), (E, e)
    expert_out_weight, expert_out_bias : ndarray (E, e, n_out), (E, n_out)
        A neuron is a row.
    k : int from 1 to E
        Experts per sample.
    activation : {"relu", "gelu", "tanh", "identity"}

    Raises
    ------
    TypeError, ValueError
        If the arrays differ in dtype or do not fit together, or k is out of its range. So do the methods, if what they
        are given does not fit.

    Notes
    -----
    With standard normal noise n and sigma(x)_i = softplus((W_noise x)_i) + 0.01,

        y = sum_i G(x)_i f_i(x)                                        (1)
        G(x) = softmax(KeepTopK(H(x), k))                              (3, 5)
        H(x)_i = (W_g x)_i + n_i sigma(x)_i                            (4)
        P(x, i) = Phi(((W_g x)_i - kth_excluding(H(x), k, i)) / sigma(x)_i)     (9)

    where KeepTopK sets all but the k largest to -inf, and kth_excluding is the k-th largest of the others' scores.

    References
    ----------
    Shazeer et al., arXiv 1701.06538, sections 2 and 4 and appendix A.
    """

    gate_weight: np.ndarray
    noise_weight: np.ndarray
    expert_in_weight: np.ndarray
    expert_in_bias: np.ndarray
    expert_out_weight: np.ndarray
    expert_out_bias: np.ndarray
    k: int = 2
    activation: str = "relu"

    SHAPES: ClassVar[dict[str, str]] = {
        "gate_weight": "EI", "noise_weight": "EI",
        "expert_in_weight": "EeI", "expert_in_bias": "Ee",
        "expert_out_weight": "EeO", "expert_out_bias": "EO",
    }  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        checks.integer("k", self.k, 1, most=self.n_experts)  # E experts, of which k compute

    @classmethod
    def init(cls, rng, n_in, n_out, n_experts, expert_width, k=2, activation="relu", dtype=np.float32):
        """Draw a layer: experts uniform within 1/sqrt(fan in), biases included; both gate arrays 0.

        A gate of zeros leaves the choice to the noise, so that all experts start with the same load (appendix A).

        Parameters
        ----------
        rng : numpy.random.Generator
        n_in, n_out, n_experts, expert_width : int, at least 1
        k : int from 1 to n_experts
        activation : {"relu", "gelu", "tanh", "identity"}
        dtype : float32 or float64

        Returns
        -------
        MoE
        """
        checks.generator("rng", rng)
        sizes = {"n_in": n_in, "n_out": n_out, "n_experts": n_experts, "expert_width": expert_width}
        n_in, n_out, E, e = (checks.integer(name, value, 1) for name, value in sizes.items())
        inward, outward = 1 / np.sqrt(n_in), 1 / np.sqrt(e)  # fan in of an expert's neurons, of its outputs
        return cls(
            gate_weight=uniform(rng, 0, (E, n_in), dtype),  # uniform within 0: zeros
            noise_weight=uniform(rng, 0, (E, n_in), dtype),
            expert_in_weight=uniform(rng, inward, (E, e, n_in), dtype),
            expert_in_bias=uniform(rng, inward, (E, e), dtype),
            expert_out_weight=uniform(rng, outward, (E, e, n_out), dtype),
            expert_out_bias=uniform(rng, outward, (E, n_out), dtype),
            k=checks.integer("k", k, 1),
            activation=activation,
        )

    @property
    def n_experts(self):
        """Number of experts."""
        return len(self.gate_weight)

    @property
    def neurons_stored(self):
        """E experts of e neurons; the gate, which scores and has no outputs, is not counted among them."""
        return self.expert_in_bias.size

    @property
    def neurons_engaged(self):
        """k experts of e neurons; for each sample, inference computes the E scores of the gate besides."""
        return self.k * self.expert_in_bias.shape[1]

    def forward(self, x, rng=None):
        """Mix the k experts of the highest scores.

        Parameters
        ----------
        x : ndarray (..., n_in)
        rng : numpy.random.Generator, optional
            Draws the noise of training; without it, there is none.

        Returns
        -------
        y : ndarray (..., n_out)
        tape : MoETape
        """
        x, lead = self.as_rows(x)  # (B, I)
        clean, noise_logit, noise, score = self._scores(x, rng)  # (B, I) -> four of (B, E)
        order = np.argsort(-score.real, axis=1, kind="stable")  # of equals, the first; NaN last
        gates = gate.top_softmax(score, order[:, : self.k])  # (B, E), 0 but for the k best
        # (B, E), for a loss alone
        load = None if noise is None else gate.load(clean, noise_logit, score, order, self.k)

        logit = np.empty((len(x), self.k, self.expert_in_bias.shape[1]), self.dtype)  # (B, k, e)
        hidden, y = np.empty_like(logit), np.zeros((len(x), self.n_out), self.dtype)  # (B, k, e), (B, O)
        for j, row, place in self._visits(order):  # an expert at a time, with the b rows that chose it
            logit[row, place] = x[row] @ self.expert_in_weight[j].T + self.expert_in_bias[j]  # (b, I) -> (b, e)
            hidden[row, place] = activations.get(self.activation).function(logit[row, place])
            out = hidden[row, place] @ self.expert_out_weight[j] + self.expert_out_bias[j]  # (b, e) -> (b, O)
            y[row] += gates[row, j, None] * out  # equation 1; a row comes once an expert
        tape = MoETape(x, lead, clean, noise_logit, noise, order, score, gates, load, logit, hidden)
        return y.reshape(*lead, self.n_out), tape

    def backward(self, tape, dy, dgates=None, dload=None, input_gradient=True):
        """Gradients of a loss, as `LeafFFF.backward` gives them; the choice of the experts itself has none.

        Parameters
        ----------
        tape, dy, input_gradient
            As there; the tape is a `MoETape`.
        dgates, dload : ndarray (B, E), optional
            Gradients of further losses with respect to `tape.gates` and `tape.load`; see `losses.expert_balance`.
        """
        self._check_tape(tape)
        dy = self.gradient_rows(dy, tape.lead)  # (B, O)
        experts, dgate, dx = self._backward_experts(tape, dy)  # dy by way of the outputs; dict, (B, E), (B, I)
        dgate = dgate + tapes.further("dgates", dgates, tape.gates)  # importance
        dscore = gate.top_softmax_backward(tape.gates, dgate)  # (B, E)
        dclean = dsigma = 0
        if dload is not None:
            if tape.load is None:
                raise checks.InputError(
                    "without noise there is no load to differentiate; give rng to forward, or no dload"
                )
            dload = tapes.further("dload", dload, tape.load)
            dclean, dsigma, dthreshold = gate.load_backward(tape, dload, self.k)  # (B, E) each
            dscore = dscore + dthreshold  # a threshold is another expert's noisy score
        dclean, dnoise = dclean + dscore, np.zeros_like(dscore)  # score = clean + noise deviation(noise_logit)
        if tape.noise is not None:
            # softplus' = sigmoid: (B, E)
            dnoise = (dsigma + dscore * tape.noise) * activations.sigmoid(tape.noise_logit)
        grads = MoE(
            gate_weight=dclean.T @ tape.x, noise_weight=dnoise.T @ tape.x,  # (E, B) @ (B, I)
            **experts, k=self.k, activation=self.activation,
        )  # fmt: skip
        if not input_gradient:
            return grads, None
        dx = dx + dclean @ self.gate_weight + dnoise @ self.noise_weight  # (B, E) @ (E, I)
        return grads, dx.reshape(*tape.lead, self.n_in)

    def forward_hard(self, x):
        """The output of `forward` without noise: inference.

        Parameters
        ----------
        x : ndarray (..., n_in)
        """
        return self.forward(x)[0]

    def route(self, x):
        """Return the experts that compute without noise, the best first.

        Parameters
        ----------
        x : ndarray (..., n_in)

        Returns
        -------
        expert : ndarray of int (..., k)
            Of equal scores, the lower number; a score of NaN comes last.
        """
        x, lead = self.as_rows(x)
        score = (x @ self.gate_weight.T).real  # (B, E), without noise; a complex step must not change the order
        return np.argsort(-score, axis=1, kind="stable")[:, : self.k].reshape(*lead, self.k)

    # ------------------------------------------------------------------ helpers

    def _scores(self, x, rng):
        """Equation 4: scores without noise, what decides its deviation, the draws, and scores with it."""
        clean = x @ self.gate_weight.T  # (B, I) -> (B, E)
        if rng is None:
            return clean, None, None, clean
        noise_logit = x @ self.noise_weight.T  # (B, E)
        # float64 draws, so that both dtypes see the same
        noise = checks.generator("rng", rng).standard_normal(clean.shape).astype(clean.real.dtype)
        return clean, noise_logit, noise, clean + noise * gate.deviation(noise_logit)  # H(x) of equation 4

    def _visits(self, order):
        """For each expert, its number, the rows that chose it, and at which place."""
        for j in range(self.n_experts):
            row, place = np.nonzero(order[:, : self.k] == j)  # (b,), (b,): samples, and at which of k places j stands
            if len(row):  # an expert that nobody chose costs nothing
                yield j, row, place

    def _backward_experts(self, tape, dy):
        """Gradients of the experts' arrays, of the gates, and of x by way of the experts."""
        grads = {name: np.zeros_like(array) for name, array in self.arrays().items() if name.startswith("expert")}
        dgates, dx = np.zeros_like(tape.gates), np.zeros_like(tape.x)
        for j, row, place in self._visits(tape.order):
            hidden, share = tape.hidden[row, place], tape.gates[row, j, None]  # (b, e), (b, 1)
            dhidden = dy[row] @ self.expert_out_weight[j].T  # (b, O) -> (b, e), not yet times the gate
            dgates[row, j] = (dhidden * hidden).sum(1) + dy[row] @ self.expert_out_bias[j]  # dy . f_j: (b,)
            dlogit = share * dhidden * activations.get(self.activation).derivative(tape.logit[row, place])  # (b, e)
            grads["expert_out_weight"][j] = (share * hidden).T @ dy[row]  # (e, b) @ (b, O)
            grads["expert_out_bias"][j] = (share * dy[row]).sum(0)  # (O,)
            grads["expert_in_weight"][j] = dlogit.T @ tape.x[row]  # (e, b) @ (b, I)
            grads["expert_in_bias"][j] = dlogit.sum(0)  # (e,)
            dx[row] += dlogit @ self.expert_in_weight[j]  # (b, e) @ (e, I)
        return grads, dgates, dx

    def _check_tape(self, tape):
        """Refuse what `forward` of this layer did not return."""
        tapes.check(self, tape, MoETape, k=self.k)
        tapes.check_range("order", tape.order, self.n_experts)
        if len({part is None for part in (tape.noise_logit, tape.noise, tape.load)}) > 1:
            raise checks.InputError(f"the tape must have all of noise_logit, noise and load, or none; {tapes.ADVICE}")
        if len(tape.x):
            j = tape.order[0, 0]
            tapes.check_origin(tape, self.expert_in_weight[j, 0], self.expert_in_bias[j, 0], tape.logit)

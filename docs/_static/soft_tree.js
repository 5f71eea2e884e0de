/* A soft tree with two inputs: fffref's LeafFFF in plain JavaScript, in double precision.

   tests/test_playground.py holds it against NumPy's; the playground draws it.
   N = 2^depth - 1 nodes and L = N + 1 leaves of `width` relu neurons, `classes` outputs; leaf j is "node" N + j.
   Arrays are flat, in NumPy's order, under the names that the fields of LeafFFF have. */
"use strict";

const SoftTree = {
  init(depth, width, classes, random) {
    const N = 2 ** depth - 1, L = N + 1;
    const draw = (size, bound) => Float64Array.from({ length: size }, () => bound * (2 * random() - 1));
    return {
      N, L, width, classes,
      arrays: {
        node_weight: draw(N * 2, 2), node_bias: draw(N, 0.7),
        leaf_in_weight: draw(L * width * 2, 1), leaf_in_bias: draw(L * width, 1),
        leaf_out_weight: draw(L * width * classes, 0.7), leaf_out_bias: draw(L * classes, 0.7),
      },
    };
  },

  /* What one pass keeps; made once, used again. */
  tape({ N, L, width, classes }) {
    const zeros = (size) => new Float64Array(size);
    return {
      logit: zeros(N), choice: zeros(N), mass: zeros(N + L), dmass: zeros(N + L),
      hidden: zeros(L * width), y: zeros(classes), dy: zeros(classes),
    };
  },

  logit(layer, n, x1, x2) {
    const { node_weight, node_bias } = layer.arrays;
    return node_weight[2 * n] * x1 + node_weight[2 * n + 1] * x2 + node_bias[n];
  },

  /* y += mass * f_j(x) */
  leaf(layer, tape, j, x1, x2, mass) {
    const { width, classes, arrays: a } = layer;
    for (let o = 0; o < classes; o++) tape.y[o] += mass * a.leaf_out_bias[j * classes + o];
    for (let k = j * width; k < (j + 1) * width; k++) {
      tape.hidden[k] = Math.max(0, a.leaf_in_weight[2 * k] * x1 + a.leaf_in_weight[2 * k + 1] * x2 + a.leaf_in_bias[k]);
      for (let o = 0; o < classes; o++) tape.y[o] += mass * tape.hidden[k] * a.leaf_out_weight[k * classes + o];
    }
  },

  /* The mixture of all leaves: a child's mass is its parent's times c (right) or 1 - c (left). */
  forward(layer, tape, x1, x2, temperature) {
    const { N, L } = layer, { logit, choice, mass } = tape;
    mass[0] = 1;
    for (let n = 0; n < N; n++) {
      logit[n] = SoftTree.logit(layer, n, x1, x2) / temperature;
      choice[n] = 1 / (1 + Math.exp(-logit[n]));
      mass[2 * n + 1] = mass[n] * (1 - choice[n]);
      mass[2 * n + 2] = mass[n] * choice[n];
    }
    tape.y.fill(0);
    for (let j = 0; j < L; j++) SoftTree.leaf(layer, tape, j, x1, x2, mass[N + j]);
    return tape.y;
  },

  /* Right if the logit is at least 0. */
  route(layer, x1, x2) {
    let n = 0;
    while (n < layer.N) n = 2 * n + 1 + (SoftTree.logit(layer, n, x1, x2) >= 0);
    return n - layer.N;
  },

  /* One leaf alone. */
  forwardHard(layer, tape, x1, x2) {
    tape.y.fill(0);
    SoftTree.leaf(layer, tape, SoftTree.route(layer, x1, x2), x1, x2, 1);
    return tape.y;
  },

  answer(layer, tape, x1, x2, temperature, hard) {
    return hard ? SoftTree.forwardHard(layer, tape, x1, x2) : SoftTree.forward(layer, tape, x1, x2, temperature);
  },

  /* Which share of the points comes to each node and leaf, one number a class: N + L rows. Soft, a point is divided
     by its masses; hard, it is at every node of its path. */
  shares(layer, tape, points, temperature, hard) {
    const { N, L, classes } = layer, share = new Float64Array((N + L) * classes), one = 1 / points.length;
    for (const { x1, x2, label } of points) {
      if (hard)
        for (let n = N + SoftTree.route(layer, x1, x2); n >= 0; n = (n - 1) >> 1) share[n * classes + label] += one;
      else {
        SoftTree.forward(layer, tape, x1, x2, temperature);
        tape.mass.forEach((mass, n) => (share[n * classes + label] += one * mass));
      }
    }
    return share;
  },

  softmax(y, out) {
    let top = y[0], total = 0;
    for (let o = 1; o < y.length; o++) if (y[o] > top) top = y[o];
    for (let o = 0; o < y.length; o++) total += out[o] = Math.exp(y[o] - top);
    for (let o = 0; o < y.length; o++) out[o] /= total;
    return out;
  },

  /* Cross-entropy + weight * entropy of the choices, both means, and the gradient of every array. */
  loss(layer, tape, points, temperature, weight) {
    const { N } = layer, B = points.length, grads = {};
    for (const name in layer.arrays) grads[name] = new Float64Array(layer.arrays[name].length);
    let crossEntropy = 0, entropy = 0;
    for (const { x1, x2, label } of points) {
      SoftTree.softmax(SoftTree.forward(layer, tape, x1, x2, temperature), tape.dy);
      crossEntropy -= Math.log(tape.dy[label]) / B;
      tape.dy[label] -= 1;
      for (let n = 0; n < N; n++) {
        const size = Math.abs(tape.logit[n]), e = Math.exp(-size);
        entropy += (Math.log1p(e) + (size * e) / (1 + e)) / (B * N);
      }
      SoftTree.backward(layer, tape, x1, x2, temperature, 1 / B, weight / (B * N), grads);
    }
    return { value: crossEntropy + weight * entropy, crossEntropy, entropy, grads };
  },

  /* Add one point's gradient, scaled; dy in the tape. From the leaves up: dp = (1 - c) dleft + c dright. */
  backward(layer, tape, x1, x2, temperature, scale, entropyScale, grads) {
    const { N, L, width, classes, arrays: a } = layer, { logit, choice, mass, dmass, hidden, dy } = tape;
    for (let j = 0; j < L; j++) {
      dmass[N + j] = 0;
      for (let o = 0, i = j * classes; o < classes; o++, i++) {
        dmass[N + j] += scale * dy[o] * a.leaf_out_bias[i];
        grads.leaf_out_bias[i] += scale * mass[N + j] * dy[o];
      }
      for (let k = j * width; k < (j + 1) * width; k++) {
        let dhidden = 0;
        for (let o = 0, i = k * classes; o < classes; o++, i++) {
          dhidden += scale * dy[o] * a.leaf_out_weight[i];
          grads.leaf_out_weight[i] += scale * mass[N + j] * hidden[k] * dy[o];
        }
        dmass[N + j] += dhidden * hidden[k];
        if (hidden[k] > 0) add(grads.leaf_in_weight, grads.leaf_in_bias, k, mass[N + j] * dhidden);
      }
    }
    for (let n = N - 1; n >= 0; n--) {
      const c = choice[n], slope = c * (1 - c), left = dmass[2 * n + 1], right = dmass[2 * n + 2];
      dmass[n] = (1 - c) * left + c * right;
      const dlogit = mass[n] * (right - left) * slope - entropyScale * logit[n] * slope;
      add(grads.node_weight, grads.node_bias, n, dlogit / temperature);
    }
    function add(weight, bias, neuron, d) {
      weight[2 * neuron] += d * x1;
      weight[2 * neuron + 1] += d * x2;
      bias[neuron] += d;
    }
  },

  /* One step of Adam; the state is a dict that starts empty. */
  adam(layer, grads, state, rate) {
    state.t = (state.t ?? 0) + 1;
    const step = (rate * Math.sqrt(1 - 0.999 ** state.t)) / (1 - 0.9 ** state.t);
    for (const name in grads) {
      const array = layer.arrays[name], g = grads[name];
      const [m, v] = (state[name] ??= [new Float64Array(g.length), new Float64Array(g.length)]);
      for (let i = 0; i < g.length; i++) {
        m[i] += 0.1 * (g[i] - m[i]);
        v[i] += 0.001 * (g[i] ** 2 - v[i]);
        array[i] -= (step * m[i]) / (Math.sqrt(v[i]) + 1e-8);
      }
    }
  },
};

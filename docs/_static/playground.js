/* A soft tree with two inputs, to play with: fffref's LeafFFF in plain JavaScript, in double precision.

   First the layer, which tests/test_playground.py holds against NumPy's, then what one sees and touches.
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

/* ------------------------------------------------------------------------------------------------ to see and touch */

function playground(root) {
  const COLOURS = [[0, 114, 178], [213, 94, 0], [0, 158, 115]]; // Okabe and Ito's blue, vermilion, green
  const WIDTH = 2, CELLS = 90, STEPS = 6, RATE = 0.02, FRAMES = 3600;
  const $ = (name) => root.elements[name];
  const canvas = root.querySelector("canvas"), pen = canvas.getContext("2d"), report = root.querySelector("output");
  const cells = Object.assign(document.createElement("canvas"), { width: CELLS, height: CELLS });
  let points, layer, tape, adam, temperature, weight, held = -1, cooling = false, background = "", visible = true;
  let seed = 1, frames = FRAMES, dirty = true, playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;

  function random() { // mulberry32
    let t = (seed = (seed + 0x6d2b79f5) | 0);
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  const polar = (radius, angle) => [radius * Math.cos(angle), radius * Math.sin(angle)];
  const EXAMPLES = { // where a point of a class is; t is between 0 and 1
    pinwheel: (label, t) => polar(0.1 + 0.8 * t, 2.1 * label + 2.2 * t),
    rings: (label, t) => polar(0.12 + 0.32 * label, 2 * Math.PI * t),
    checkers: (label, t) => [(label + Math.floor(3 * t)) % 3, Math.floor(3 * t)].map((i) => 0.62 * (i - 1) + 0.3 * (random() - 0.5)),
  };

  function example() {
    points = Array.from({ length: 120 }, (_, i) => {
      const [x1, x2] = EXAMPLES[$("example").value](i % 3, random()).map((x) => x + 0.09 * (random() - 0.5));
      return { x1, x2, label: i % 3 };
    });
  }

  function newTree() {
    layer = SoftTree.init(+$("depth").value, WIDTH, 3, random);
    tape = SoftTree.tape(layer);
    adam = {};
  }

  function train(steps) {
    for (let i = 0; i < steps && points.length; i++)
      SoftTree.adam(layer, SoftTree.loss(layer, tape, points, temperature, weight).grads, adam, RATE);
  }

  function cool() { // some four seconds from temperature 1 to the lowest
    if (!cooling) return;
    $("temperature").valueAsNumber -= 0.01;
    cooling = $("temperature").valueAsNumber > -1.7;
    read();
  }

  function output(x1, x2, hard) {
    return hard ? SoftTree.forwardHard(layer, tape, x1, x2) : SoftTree.forward(layer, tape, x1, x2, temperature);
  }

  /* -------------------------------------------------------------- drawing */

  const toCanvas = ([x1, x2]) => [((1 + x1) * canvas.width) / 2, ((1 - x2) * canvas.width) / 2];

  function draw() {
    const pixels = Math.round(canvas.clientWidth * devicePixelRatio);
    if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
    const paper = background.match(/\d+/g).map(Number), ink = paper[0] > 127 ? "20,20,20" : "240,240,240";
    const picture = new ImageData(CELLS, CELLS), p = tape.dy, hard = $("view").value === "hard";
    for (let i = 0, at = 0; i < CELLS; i++)
      for (let j = 0; j < CELLS; j++, at += 4) {
        SoftTree.softmax(output((2 * j + 1) / CELLS - 1, 1 - (2 * i + 1) / CELLS, hard), p);
        for (let rgb = 0; rgb < 3; rgb++)
          picture.data[at + rgb] = 0.4 * paper[rgb] + 0.6 * COLOURS.reduce((sum, c, o) => sum + p[o] * c[rgb], 0);
        picture.data[at + 3] = 255;
      }
    cells.getContext("2d").putImageData(picture, 0, 0);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(cells, 0, 0, canvas.width, canvas.width);
    drawNode(0, [[-1, -1], [1, -1], [1, 1], [-1, 1]], ink, hard);
    for (const { x1, x2, label } of points) drawPoint(toCanvas([x1, x2]), label);
  }

  /* The choice of a node within its region, a convex polygon: a line, and around it the band where c is undecided. */
  function drawNode(n, region, ink, hard) {
    if (n >= layer.N || region.length < 3) return;
    const logits = region.map(([x1, x2]) => SoftTree.logit(layer, n, x1, x2)), sides = [[], []], ends = [];
    region.forEach((corner, i) => {
      const next = (i + 1) % region.length, a = logits[i], b = logits[next];
      sides[+(a >= 0)].push(corner);
      if (a >= 0 === b >= 0) return;
      const cut = corner.map((x, axis) => x + (a / (a - b)) * (region[next][axis] - x));
      ends.push(cut), sides[0].push(cut), sides[1].push(cut);
    });
    if (ends.length === 2) {
      const [w1, w2] = layer.arrays.node_weight.slice(2 * n, 2 * n + 2), steepness = Math.hypot(w1, w2);
      pen.save();
      trace(region), pen.clip();
      trace([-3, 3].map((far) => [ends[0][0] - (far * w2) / steepness, ends[0][1] + (far * w1) / steepness]));
      stroke(hard ? 0 : (temperature / steepness) * canvas.width, `rgba(${ink},0.13)`); // |logit| < temperature
      stroke(devicePixelRatio * Math.max(1, 3 - Math.log2(n + 1) / 2), `rgba(${ink},0.75)`);
      pen.restore();
    }
    sides.forEach((side, right) => drawNode(2 * n + 1 + right, side, ink, hard));
  }

  function trace(corners) {
    pen.beginPath();
    corners.forEach((corner) => pen.lineTo(...toCanvas(corner)));
    pen.closePath();
  }

  function stroke(width, style) {
    Object.assign(pen, { lineWidth: width, strokeStyle: style });
    if (width) pen.stroke();
  }

  function drawPoint([x, y], label) { // a circle, a triangle, a square: not by colour alone
    const r = 4.5 * devicePixelRatio, turn = [0, Math.PI / 2, Math.PI / 4][label];
    pen.beginPath();
    if (label === 0) pen.arc(x, y, r, 0, 7);
    for (let i = 0, n = label + 2; label && i < n; i++) {
      const angle = (2 * Math.PI * i) / n - turn;
      pen.lineTo(x + 1.25 * r * Math.cos(angle), y + 1.25 * r * Math.sin(angle));
    }
    pen.closePath();
    pen.fillStyle = `rgb(${COLOURS[label]})`;
    pen.fill();
    stroke(1.5 * devicePixelRatio, "white");
  }

  function tell() {
    const { crossEntropy, entropy } = SoftTree.loss(layer, tape, points, temperature, 0);
    const right = (hard) => points.filter(({ x1, x2, label }) => {
      const y = output(x1, x2, hard);
      return y[label] === Math.max(...y);
    }).length;
    const percent = (count) => `${Math.round((100 * count) / points.length)} %`;
    const used = new Set(points.map(({ x1, x2 }) => SoftTree.route(layer, x1, x2))).size;
    const engaged = Math.log2(layer.L) + WIDTH, stored = layer.N + layer.L * WIDTH;
    report.innerHTML = points.length === 0 ? "No points: draw some." : [
      `accuracy soft <b>${percent(right(false))}</b>, hard <b>${percent(right(true))}</b>`,
      `loss <b>${crossEntropy.toFixed(3)}</b> nats`, `entropy of a choice <b>${(layer.N && entropy).toFixed(3)}</b> nats`,
      `leaves used <b>${used} of ${layer.L}</b>`, `neurons engaged <b>${engaged} of ${stored}</b>`,
    ].map((part) => `<span>${part}</span>`).join(" ");
  }

  function frame() {
    const paper = getComputedStyle(canvas).backgroundColor; // the theme may have changed
    dirty ||= paper !== background || Math.round(canvas.clientWidth * devicePixelRatio) !== canvas.width;
    background = paper;
    if (visible && playing) cool(), train(STEPS), (dirty = true);
    if (playing && --frames < 0) play(false); // nobody has touched it for a minute
    if (visible && dirty && canvas.clientWidth) draw(), tell(), (dirty = false);
    requestAnimationFrame(frame);
  }

  /* -------------------------------------------------------------- touching */

  function play(on) {
    playing = on;
    $("play").textContent = on ? "Pause" : "Train";
  }

  function read() {
    temperature = 10 ** $("temperature").value;
    weight = +$("weight").value;
    for (const [name, text] of Object.entries({ temperature: temperature.toFixed(2), weight, depth: $("depth").value }))
      $(name).parentElement.querySelector("b").textContent = text;
  }

  function near(x, reach) { // the nearest point within reach, or -1
    let best = -1;
    points.forEach(({ x1, x2 }, i) => {
      const distance = Math.hypot(x[0] - x1, x[1] - x2);
      if (distance < reach) [best, reach] = [i, distance];
    });
    return best;
  }

  function mark(x) { // put a point of the chosen class here, or take away what is here
    const label = +$("pen").value;
    if (label < 3) return points.push({ x1: x[0], x2: x[1], label });
    const i = near(x, 0.09);
    if (i >= 0) points.splice(i, 1);
  }

  function place(event) { // from the window to the plane
    const box = canvas.getBoundingClientRect();
    const x = [(2 * (event.clientX - box.left)) / box.width - 1, 1 - (2 * (event.clientY - box.top)) / box.height];
    return x.map((v) => Math.min(1, Math.max(-1, v)));
  }

  canvas.addEventListener("pointerdown", (event) => {
    const x = place(event), reach = event.pointerType === "touch" ? 0.11 : 0.06;
    canvas.setPointerCapture(event.pointerId);
    held = $("pen").value < 3 ? near(x, reach) : -1;
    if (held < 0) mark(x), (held = -2); // drawing
  });
  canvas.addEventListener("pointermove", (event) => {
    const x = place(event);
    if (held >= 0) [points[held].x1, points[held].x2] = x;
    else if (held === -2 && (+$("pen").value === 3 || near(x, 0.08) < 0)) mark(x);
    dirty = true;
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = -1));
  const DOES = {
    play: () => play(!playing),
    harden: () => play((cooling = true)),
    tree: () => (($("temperature").value = 0), (cooling = false), newTree()), // it starts soft
    clear: () => (points = []),
  };
  for (const name in DOES) $(name).addEventListener("click", DOES[name]);
  $("depth").addEventListener("input", newTree);
  $("temperature").addEventListener("input", () => (cooling = false));
  $("example").addEventListener("change", () => (example(), newTree()));
  for (const kind of ["input", "click", "pointerdown"])
    root.addEventListener(kind, () => (read(), (dirty = true), (frames = FRAMES)));
  new IntersectionObserver(([entry]) => (visible = entry.isIntersecting)).observe(canvas);

  read(), example(), newTree(), play(playing);
  if (!playing) train(300); // who wants no motion sees where it leads
  requestAnimationFrame(frame);
}

addEventListener("DOMContentLoaded", () => document.querySelectorAll(".playground").forEach(playground));

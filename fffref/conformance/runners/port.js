// Both layers in JavaScript, as a port of them: `node port.js VECTORS ANSWERS` answers all cases. No dependency.
// B rows, I inputs, O outputs, N nodes, l leaf width, K trees, M neurons of a tree. Arrays are flat, in C order.
"use strict";
const fs = require("fs"), product = (shape) => shape.reduce((a, b) => a * b, 1), zeros = (n) => new Array(n).fill(0);
function readText(text) { // -> { name: { shape, v } }
  const words = text.match(/\S+/g), arrays = {}, number = (word) => ({ nan: NaN, inf: Infinity, "-inf": -Infinity })[word] ?? +word;
  for (let at = 0; at < words.length; ) {
    const [name, dtype, rank] = words.slice(at, (at += 3)), shape = words.slice(at, (at += +rank)).map(Number);
    arrays[name] = { shape, v: words.slice(at, (at += product(shape))).map(number).map(dtype === "float32" ? Math.fround : Number) };
  }
  return arrays;
}
function readBinary(data, arrays = {}) {
  for (let at = 0; at < data.length; ) {
    const [code, rank, ...sizes] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => data.readInt32LE(at + 32 + 4 * i));
    const shape = sizes.slice(0, rank), size = code === 3 ? 8 : 4, method = [, "readInt32LE", "readFloatLE", "readDoubleLE"][code];
    const name = data.toString("latin1", at, at + 32).replace(/\0+$/, "");
    arrays[name] = { shape, v: zeros(product(shape)).map((_, i) => data[method](at + 64 + size * i)) };
    at += 64 + size * product(shape);
  }
  return arrays;
}
function erf(x) { // a series near 0, a continued fraction beyond
  const a = Math.abs(x), bell = (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a);
  let sum = a, term = a, rest = 0;
  for (let n = 1; a < 2.5 && term > 1e-18 * sum; n++) sum += term *= (2 * a * a) / (2 * n + 1);
  for (let n = 120; n > 0; n--) rest = n / 2 / (a + rest);
  return Math.sign(x) * (a < 2.5 ? bell * sum : 1 - bell / 2 / (a + rest));
}
function activate(code, z) { // -> value, derivative
  if (code === 1) return [Math.max(0, z), +(z > 0)];
  const tanh = Math.tanh(z), cdf = (1 + erf(z / Math.SQRT2)) / 2;
  return [[z, 1], , [z * cdf, cdf + (z * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI)], [tanh, 1 - tanh * tanh]][code];
}
// A neuron is a row of "..weight" and a number of "..bias"; d holds the gradients, flat arrays by name, and dx the input's.
function logit(c, name, n, x) {
  return x.reduce((z, v, i) => z + c[name + "weight"].v[n * x.length + i] * v, c[name + "bias"].v[n]);
}
function logitBackward(c, d, name, n, dz, x, dx) {
  d[name + "bias"][n] += dz;
  x.forEach((v, i) => ((d[name + "weight"][n * x.length + i] += dz * v), (dx[i] += dz * c[name + "weight"].v[n * x.length + i])));
}
function speak(c, prefix, n, x, y) { // y += activation * row n of the output weights
  const [h, slope] = activate(c.activation.v[0], logit(c, prefix + "in_", n, x));
  y.forEach((_, o) => (y[o] += h * c[prefix + "out_weight"].v[n * y.length + o]));
  return { n, h, slope };
}
function speakBackward(c, d, prefix, { n, h, slope }, dy, x, dx) {
  dy.forEach((g, o) => (d[prefix + "out_weight"][n * dy.length + o] += h * g));
  logitBackward(c, d, prefix + "in_", n, slope * dot(dy, c[prefix + "out_weight"].v.slice(n * dy.length)), x, dx);
}
const entropyOf = (parts) => parts.reduce((sum, part) => sum + part.entropy, 0);
const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
function leafRoute(c, x, N = c.node_bias.v.length, n = 0) { // from node n on
  return n < N ? leafRoute(c, x, N, 2 * n + 1 + (logit(c, "node_", n, x) >= 0)) : n - N;
}
function leaf(c, j, x) { // output of leaf j, and its neurons
  const [, l, O] = c.leaf_out_weight.shape, y = c.leaf_out_bias.v.slice(j * O, (j + 1) * O);
  return { y, neurons: zeros(l).map((_, k) => speak(c, "leaf_", j * l + k, x, y)) };
}
function leafSoft(c, x, b, dyOf, d) { // row b -> output, entropy, input's gradient; adds to the gradients d
  const [N, O] = [c.node_bias.v.length, c.leaf_out_bias.shape[1]], mass = [1], nodes = [], leaves = [], y = zeros(O), dx = x.map(() => 0);
  for (let n = 0; n < N; n++) {
    const scale = (c.transposed?.v[b * N + n] ? -1 : 1) / c.temperature.v[0], z = scale * logit(c, "node_", n, x);
    const p = 1 / (1 + Math.exp(-z)), a = Math.abs(z); // no logarithm of 0
    nodes.push({ scale, z, p, entropy: Math.log1p(Math.exp(-a)) + a / (1 + Math.exp(a)) }), mass.push(mass[n] * (1 - p), mass[n] * p);
  }
  for (let j = 0; j <= N; j++) leaves.push(leaf(c, j, x)), leaves[j].y.forEach((v, o) => (y[o] += mass[N + j] * v));
  const dy = dyOf(y), gain = zeros(N).concat(leaves.map((f) => dot(dy, f.y)));
  leaves.forEach((f, j) => {
    const share = dy.map((g, o) => ((d.leaf_out_bias[j * O + o] += mass[N + j] * g), mass[N + j] * g));
    f.neurons.forEach((neuron) => speakBackward(c, d, "leaf_", neuron, share, x, dx));
  });
  for (let n = N - 1; n >= 0; n--) {
    const { scale, z, p } = nodes[n], left = gain[2 * n + 1], right = gain[2 * n + 2], weight = c.entropy_weight?.v[0] ?? 0;
    gain[n] = (1 - p) * left + p * right;
    logitBackward(c, d, "node_", n, (mass[n] * (right - left) - weight * z) * p * (1 - p) * scale, x, dx);
  }
  return { y, entropy: entropyOf(nodes), dx };
}
function pathWalk(c, x, nodes = []) { // neurons on the path, tree by tree, counted within each
  for (let [K, M] = c.in_bias.shape, k = 0; k < K; k++)
    for (let n = 0; n < M; n = 2 * n + 1 + (logit(c, "in_", k * M + n, x) > 0)) nodes.push(n);
  return nodes;
}
function pathSum(c, x, b, dyOf, d) {
  const [K, M, O] = c.out_weight.shape, y = zeros(O), dx = x.map(() => 0), D = Math.log2(M + 1);
  const neurons = pathWalk(c, x).map((n, i) => speak(c, "", Math.floor(i / D) * M + n, x, y)), dy = dyOf(y);
  neurons.forEach((neuron) => speakBackward(c, d, "", neuron, dy, x, dx));
  return { y, entropy: 0, dx };
}
function answer(level, c) { // -> { name: { shape, v } }
  const [B, I] = c.x.shape, isLeaf = c.layer.v[0] === 1, depth = Math.floor(Math.log2((c.in_bias ?? c.x).shape[1]));
  const rows = zeros(B).map((_, b) => c.x.v.slice(b * I, (b + 1) * I));
  if (level === 1 && isLeaf) return { leaf: { shape: [B], v: rows.map((x) => leafRoute(c, x)) } };
  if (level === 1) return { node: { shape: [B, c.in_bias.shape[0], depth + 1], v: rows.flatMap((x) => pathWalk(c, x)) } };
  const O = (c.leaf_out_weight ?? c.out_weight).shape[2], names = Object.keys(c).filter((name) => /^(node|leaf|in|out)_/.test(name));
  if (level === 2 && isLeaf) return { y: { shape: [B, O], v: rows.flatMap((x) => leaf(c, leafRoute(c, x), x).y) } };
  const pass = (dyOf, d) => rows.map((x, b) => (isLeaf ? leafSoft : pathSum)(c, x, b, (y) => dyOf(y, b), d));
  const gradients = () => Object.fromEntries(names.map((name) => [name, zeros(c[name].v.length)]));
  const d = gradients(), found = pass((y, b) => (level === 4 ? c.dy.v.slice(b * O, (b + 1) * O) : zeros(O)), d);
  if (level < 4) return { y: { shape: [B, O], v: found.flatMap((row) => row.y) }, entropy: { shape: [], v: [entropyOf(found)] } };
  const named = Object.fromEntries(names.map((name) => ["d_" + name, { shape: c[name].shape, v: d[name] }]));
  if (level === 4) return { ...named, d_x: { shape: [B, I], v: found.flatMap((row) => row.dx) } };
  const loss = { shape: [10], v: [] }, minus = (y, b) => y.map((v, o) => v - c.target.v[b * O + o]);
  for (let step = 0; step < 10; step++) {
    const d = gradients(), found = pass(minus, d), squares = found.flatMap((row, b) => minus(row.y, b)).map((v) => v * v);
    loss.v.push(squares.reduce((a, b) => a + b, 0) / 2 + (c.entropy_weight?.v[0] ?? 0) * entropyOf(found));
    for (const name of names) c[name].v = c[name].v.map((v, i) => v - c.rate.v[0] * d[name][i]);
  }
  return { loss, ...Object.fromEntries(names.map((name) => [name, c[name]])) };
}
const [vectors, answers] = process.argv.slice(2);
for (const line of fs.readFileSync(`${vectors}/index.txt`, "utf8").trim().split("\n")) {
  const [number, level, , file] = line.split(" "), data = fs.readFileSync(`${vectors}/${file}`);
  const found = answer(+level, /bin$/.test(file) ? readBinary(data) : readText(data.toString()));
  const text = ([name, { shape, v }]) => `${name} float64 ${[shape.length, ...shape].join(" ")}\n${v.join("\n")}\n`;
  fs.writeFileSync(`${answers}/${number}.txt`, Object.entries(found).map(text).join(""));
}

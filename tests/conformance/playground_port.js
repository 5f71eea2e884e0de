// A port in the playground's page: SoftTree is its layer. It has no gradient of the input, which follows from those of
// the biases, row by row.
((level, c) => {
  const arrays = {}, names = Object.keys(c).filter((name) => /^(node|leaf)_/.test(name)), [B] = c.x.shape;
  for (const name of names) arrays[name] = Float64Array.from(c[name].v);
  const [N, [, width, classes]] = [c.node_bias.shape[0], c.leaf_out_weight?.shape ?? [0, 0, 0]];
  const tree = { N, L: N + 1, width, classes, arrays }, tape = SoftTree.tape(tree), temperature = c.temperature?.v[0] ?? 1;
  const rows = Array.from({ length: B }, (_, b) => [c.x.v[2 * b], c.x.v[2 * b + 1]]), weight = c.entropy_weight?.v[0] ?? 0;
  const zeros = () => Object.fromEntries(names.map((name) => [name, new Float64Array(arrays[name].length)]));
  const entropy = () => SoftTree.loss(tree, tape, rows.map(([x1, x2]) => ({ x1, x2, label: 0 })), temperature, 0).entropy * B * N;
  function step(dyOf) { // gradients of all arrays, and of x
    const d = zeros(), dx = [], y = [];
    rows.forEach(([x1, x2], b) => {
      y.push(...SoftTree.forward(tree, tape, x1, x2, temperature));
      dyOf(b).forEach((g, o) => (tape.dy[o] = g));
      const own = zeros();
      SoftTree.backward(tree, tape, x1, x2, temperature, 1, weight, own);
      for (const name of names) own[name].forEach((g, i) => (d[name][i] += g));
      for (const i of [0, 1])
        dx.push(["node_", "leaf_in_"].reduce((sum, kind) =>
          own[kind + "bias"].reduce((part, g, n) => part + g * arrays[kind + "weight"][2 * n + i], sum), 0));
    });
    return { d, dx, y };
  }
  if (level === 1) return { leaf: rows.map(([x1, x2]) => SoftTree.route(tree, x1, x2)) };
  if (level === 2) return { y: rows.flatMap(([x1, x2]) => [...SoftTree.forwardHard(tree, tape, x1, x2)]) };
  if (level === 3) return { y: rows.flatMap(([x1, x2]) => [...SoftTree.forward(tree, tape, x1, x2, temperature)]), entropy: [entropy()] };
  if (level === 4) {
    const { d, dx } = step((b) => c.dy.v.slice(b * classes, (b + 1) * classes));
    return Object.fromEntries([...names.map((name) => ["d_" + name, [...d[name]]]), ["d_x", dx]]);
  }
  const loss = [], miss = (y, b) => [...y].map((v, o) => v - c.target.v[b * classes + o]);
  for (let t = 0; t < 10; t++) {
    const h = entropy(), { d, y } = step((b) => miss(tape.y, b));
    loss.push(y.reduce((sum, v, i) => sum + (v - c.target.v[i]) ** 2 / 2, 0) + weight * h);
    for (const name of names) d[name].forEach((g, i) => (arrays[name][i] -= c.rate.v[0] * g));
  }
  return { loss, ...Object.fromEntries(names.map((name) => [name, [...arrays[name]]])) };
})

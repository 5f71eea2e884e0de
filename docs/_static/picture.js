/* What the playground shows: the plane, coloured by the tree's answers, and the tree with the ways of the points.

   A scene is { layer, tape, points, temperature, hard, place, cross }. The place is where the reader points to, or
   null; `cross` says whether to draw a cross there. Paper and ink are triples of red, green and blue. */
"use strict";

const Picture = (() => {
  const COLOURS = [[0, 114, 178], [213, 94, 0], [0, 158, 115]]; // Okabe and Ito's blue, vermilion, green
  const CELLS = 90; // of the plane in a row: each has one colour, smoothed when drawn
  const cells = Object.assign(document.createElement("canvas"), { width: CELLS, height: CELLS });
  const CORNERS = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
  const rgba = (colour, opacity = 1) => `rgba(${colour},${opacity})`;
  const blend = (parts) => [0, 1, 2].map((rgb) => COLOURS.reduce((sum, colour, o) => sum + parts[o] * colour[rgb], 0));
  const level = (n) => Math.floor(Math.log2(n + 1)); // of node n: 0 for the root

  /* Whether the canvas has another size on the screen than it was drawn for. */
  function outgrown(canvas) {
    return Math.round(canvas.clientWidth * devicePixelRatio) !== canvas.width;
  }

  function fit(canvas) {
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    return canvas.getContext("2d");
  }

  function stroke(pen, width, style) {
    Object.assign(pen, { lineWidth: width, strokeStyle: style });
    if (width) pen.stroke();
  }

  /* -------------------------------------------------------------- the plane */

  const toCanvas = (pen, [x1, x2]) => [((1 + x1) * pen.canvas.width) / 2, ((1 - x2) * pen.canvas.height) / 2];

  function plane(canvas, scene, paper, ink) {
    const pen = fit(canvas);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(answers(scene, paper), 0, 0, canvas.width, canvas.height);
    choice(pen, scene, ink, 0, CORNERS);
    for (const { x1, x2, label } of scene.points) point(pen, toCanvas(pen, [x1, x2]), label);
    if (scene.cross) cross(pen, toCanvas(pen, scene.place));
  }

  /* The answer everywhere: three probabilities are a mixture of three colours. */
  function answers({ layer, tape, temperature, hard }, paper) {
    const picture = new ImageData(CELLS, CELLS);
    for (let i = 0, at = 0; i < CELLS; i++)
      for (let j = 0; j < CELLS; j++, at += 4) {
        const x = [(2 * j + 1) / CELLS - 1, 1 - (2 * i + 1) / CELLS];
        const colour = blend(SoftTree.softmax(SoftTree.answer(layer, tape, ...x, temperature, hard), tape.dy));
        for (let rgb = 0; rgb < 3; rgb++) picture.data[at + rgb] = 0.4 * paper[rgb] + 0.6 * colour[rgb];
        picture.data[at + 3] = 255;
      }
    cells.getContext("2d").putImageData(picture, 0, 0);
    return cells;
  }

  /* The choice of node n within its region, a convex polygon: a line, and around it the band of undecided choices. */
  function choice(pen, scene, ink, n, region) {
    const { layer, temperature, hard } = scene;
    if (n >= layer.N || region.length < 3) return;
    const [sides, ends] = cut(region, ([x1, x2]) => SoftTree.logit(layer, n, x1, x2));
    if (ends.length === 2) {
      const [w1, w2] = layer.arrays.node_weight.slice(2 * n, 2 * n + 2), steepness = Math.hypot(w1, w2);
      pen.save();
      trace(pen, region), pen.clip();
      trace(pen, [-3, 3].map((far) => [ends[0][0] - (far * w2) / steepness, ends[0][1] + (far * w1) / steepness]));
      stroke(pen, hard ? 0 : (temperature / steepness) * pen.canvas.width, rgba(ink, 0.13)); // |logit| < temperature
      stroke(pen, devicePixelRatio * Math.max(1, 3 - level(n) / 2), rgba(ink, 0.75));
      pen.restore();
    }
    sides.forEach((side, right) => choice(pen, scene, ink, 2 * n + 1 + right, side));
  }

  /* Cut a polygon where a linear function is 0: its two sides, and the ends of the cut. */
  function cut(region, value) {
    const values = region.map(value), sides = [[], []], ends = [];
    region.forEach((corner, i) => {
      const next = (i + 1) % region.length, a = values[i], b = values[next];
      sides[+(a >= 0)].push(corner);
      if (a >= 0 === b >= 0) return;
      const end = corner.map((x, axis) => x + (a / (a - b)) * (region[next][axis] - x));
      ends.push(end), sides[0].push(end), sides[1].push(end);
    });
    return [sides, ends];
  }

  function trace(pen, corners) {
    pen.beginPath();
    corners.forEach((corner) => pen.lineTo(...toCanvas(pen, corner)));
    pen.closePath();
  }

  /* A circle, a triangle or a square, so that colour is not the only difference. */
  function point(pen, [x, y], label) {
    const r = 4.5 * devicePixelRatio, turn = [0, Math.PI / 2, Math.PI / 4][label];
    pen.beginPath();
    if (label === 0) pen.arc(x, y, r, 0, 7);
    for (let i = 0, n = label + 2; label && i < n; i++) {
      const angle = (2 * Math.PI * i) / n - turn;
      pen.lineTo(x + 1.25 * r * Math.cos(angle), y + 1.25 * r * Math.sin(angle));
    }
    pen.closePath();
    pen.fillStyle = rgba(COLOURS[label]);
    pen.fill();
    stroke(pen, 1.5 * devicePixelRatio, "white");
  }

  /* Black in white, to be seen on every colour; open in the middle, where a point may be. */
  function cross(pen, [x, y]) {
    const near = 8 * devicePixelRatio, far = 18 * devicePixelRatio;
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + near * dx, y + near * dy);
      pen.lineTo(x + far * dx, y + far * dy);
    }
    stroke(pen, 5 * devicePixelRatio, "white");
    stroke(pen, 2 * devicePixelRatio, "black");
  }

  /* -------------------------------------------------------------- the tree */

  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

  /* Edges as thick as the share of the points that take them; under each leaf a bar of the points that it answers. */
  function tree(canvas, scene, ink) {
    const pen = fit(canvas), { N, L } = scene.layer, at = places(canvas, N + L), unit = devicePixelRatio;
    const parts = shares(scene), whole = parts.map(sum), full = Math.max(Math.min(1, 2 / L), ...whole.slice(N));
    pen.lineCap = "round";
    for (let n = 1; n < N + L; n++) {
      edge(pen, at, n, 1, rgba(ink, 0.35));
      edge(pen, at, n, 16 * whole[n], rgba(blend(parts[n].map((part) => part / whole[n]))));
    }
    for (let n = 0; n < N; n++) dot(pen, at[n], 3, rgba(ink));
    for (let n = N; n < N + L; n++) {
      bar(pen, at[n], parts[n], full, Math.min(22 * unit, (0.7 * canvas.width) / L), ink);
      if (L <= 8) number(pen, at[n][0], Math.round(100 * whole[n]), rgba(ink));
    }
    if (scene.place) way(pen, at, N + SoftTree.route(scene.layer, ...scene.place), rgba(ink));
  }

  /* Where the nodes are on the canvas, leaves included: the levels from top to bottom. */
  function places(canvas, count) {
    const top = 9 * devicePixelRatio, height = 0.6 * canvas.height - top, levels = Math.max(1, level(count - 1));
    return Array.from({ length: count }, (_, n) => {
      const row = 2 ** level(n), left = n + 1 - row;
      return [((left + 0.5) / row) * canvas.width, top + (height * level(n)) / levels];
    });
  }

  /* A list of shares by class for each node; without points, nothing but zeros. */
  function shares({ layer, tape, points, temperature, hard }) {
    const all = SoftTree.shares(layer, tape, points, temperature, hard), { classes } = layer;
    return Array.from({ length: all.length / classes }, (_, n) => [...all.subarray(n * classes, (n + 1) * classes)]);
  }

  function edge(pen, at, n, width, style) { // from node n to its parent
    pen.beginPath();
    pen.moveTo(...at[(n - 1) >> 1]);
    pen.lineTo(...at[n]);
    stroke(pen, width * devicePixelRatio, style);
  }

  function dot(pen, [x, y], radius, style) {
    pen.beginPath();
    pen.arc(x, y, radius * devicePixelRatio, 0, 7);
    pen.fillStyle = style;
    pen.fill();
  }

  /* A leaf's share by class, below it; the frame holds a share of `full`. */
  function bar(pen, [x, y], parts, full, width, ink) {
    const top = y + 5 * devicePixelRatio, height = pen.canvas.height - 15 * devicePixelRatio - top;
    pen.fillStyle = rgba(ink, 0.12);
    pen.fillRect(x - width / 2, top, width, height);
    let from = top;
    parts.forEach((part, o) => {
      pen.fillStyle = rgba(COLOURS[o]);
      pen.fillRect(x - width / 2, from, width, (height * part) / full);
      from += (height * part) / full;
    });
  }

  function number(pen, x, value, style) {
    Object.assign(pen, { fillStyle: style, font: `${11 * devicePixelRatio}px sans-serif`, textAlign: "center" });
    pen.fillText(value, x, pen.canvas.height - 3 * devicePixelRatio);
  }

  /* The way from the root to a leaf. */
  function way(pen, at, leaf, style) {
    for (let n = leaf; n >= 0; n = (n - 1) >> 1) {
      if (n) edge(pen, at, n, 2, style);
      dot(pen, at[n], 5, style);
    }
  }

  return { plane, tree, shares, sum, outgrown };
})();

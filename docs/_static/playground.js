/* The playground: a soft tree with two inputs that learns while one looks. What it computes is in soft_tree.js, what it
   draws in picture.js; here are time, the controls and the hand. */
"use strict";

/* A generator of numbers between 0 and 1 (mulberry32): the same seed, the same numbers. */
function generator(seed) {
  return () => {
    let t = (seed = (seed + 0x6d2b79f5) | 0);
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/* 120 points of three classes; of one name, always the same. */
function examplePoints(name) {
  const random = generator(1), polar = (radius, angle) => [radius * Math.cos(angle), radius * Math.sin(angle)];
  const place = { // of a point of a class; t is between 0 and 1
    pinwheel: (label, t) => polar(0.1 + 0.8 * t, 2.1 * label + 2.2 * t),
    rings: (label, t) => polar(0.12 + 0.32 * label, 2 * Math.PI * t),
    checkers: (label, t) => [label + 3 * t, 3 * t].map((i) => 0.62 * (Math.floor(i % 3) - 1) + 0.3 * (random() - 0.5)),
  }[name];
  return Array.from({ length: 120 }, (_, i) => {
    const [x1, x2] = place(i % 3, random()).map((x) => x + 0.09 * (random() - 0.5));
    return { x1, x2, label: i % 3 };
  });
}

function playground(root) {
  const WIDTH = 2, RATE = 0.02; // neurons of a leaf; Adam's step
  const COOLING = 0.02; // of the temperature's decimal logarithm, a step
  const PATIENCE = 60; // seconds without a touch until it pauses
  const CLASSES = ["blue", "red", "green"], ERASE = 3;
  const $ = (name) => root.elements[name];
  const [plane, tree, report, said] = [".plane", ".tree", "output", ".said"].map((part) => root.querySelector(part));
  const random = generator(1);
  let points, layer, tape, adam, count, setting, cooling = false; // what is computed
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches, due = 0, then = 0, untouched = 0; // time
  let dirty = true, visible = true, background = ""; // what is seen
  let place = null, keys = false, held = null, pointer = "mouse"; // the hand; keys: moved by them

  /* -------------------------------------------------------------- the tree */

  function deal() {
    points = examplePoints($("example").value);
  }

  function newTree() {
    layer = SoftTree.init(+$("depth").value, WIDTH, CLASSES.length, random);
    tape = SoftTree.tape(layer);
    [adam, count] = [{}, 0];
  }

  /* One step of training with all points; while the tree hardens, a little cooler. */
  function step() {
    if (!points.length) return;
    if (cooling) cool();
    const { grads } = SoftTree.loss(layer, tape, points, setting.temperature, setting.weight);
    SoftTree.adam(layer, grads, adam, RATE);
    count++;
    dirty = true;
  }

  function cool() {
    $("temperature").valueAsNumber -= COOLING;
    cooling = +$("temperature").value > +$("temperature").min;
    read();
  }

  /* -------------------------------------------------------------- time */

  function frame(now) {
    const seconds = Math.min(0.1, (now - then) / 1000);
    then = now;
    if (visible && playing) train(seconds);
    const paper = getComputedStyle(plane).backgroundColor; // the theme may have changed
    dirty ||= paper !== background || Picture.outgrown(plane) || Picture.outgrown(tree);
    background = paper;
    if (visible && dirty && plane.clientWidth) show();
    requestAnimationFrame(frame);
  }

  function train(seconds) {
    for (due += seconds * setting.speed; due >= 1; due--) step();
    untouched += seconds;
    if (untouched > PATIENCE) play(false);
  }

  function play(on) {
    if (playing && !on) say(summary());
    [playing, due] = [on, 0];
    $("play").textContent = on ? "Pause" : "Train";
  }

  /* -------------------------------------------------------------- what is seen */

  function read() { // the controls; above each slider stands what it says
    setting = {
      temperature: 10 ** $("temperature").value, weight: $("weight").value ** 3, speed: 10 ** $("speed").value,
      hard: $("view").value === "hard",
    };
    const speed = Math.round(setting.speed), weight = +setting.weight.toPrecision(2), depth = $("depth").value;
    const rate = speed === 1 ? "1 step a second" : `${speed} steps a second`;
    const texts = { temperature: setting.temperature.toFixed(2), weight, depth, speed: rate };
    for (const [name, text] of Object.entries(texts)) {
      $(name).parentElement.querySelector("b").textContent = text;
      $(name).setAttribute("aria-valuetext", text);
    }
  }

  function show() {
    const paper = background.match(/\d+/g).slice(0, 3).map(Number), ink = Array(3).fill(paper[0] > 127 ? 20 : 240);
    const scene = { layer, tape, points, place, cross: keys, ...setting };
    Picture.plane(plane, scene, paper, ink);
    Picture.tree(tree, scene, ink);
    report.innerHTML = points.length
      ? numbers().map(([name, value]) => `<span><b>${value}</b> ${name}</span>`).join(" ")
      : "No points: draw some, or take the example again.";
    dirty = false;
  }

  function numbers() {
    const { crossEntropy, entropy } = SoftTree.loss(layer, tape, points, setting.temperature, 0);
    const used = new Set(points.map(({ x1, x2 }) => SoftTree.route(layer, x1, x2))).size;
    const engaged = Math.log2(layer.L) + WIDTH, stored = layer.N + layer.L * WIDTH;
    return [
      ["soft accuracy", accuracy(false)], ["hard accuracy", accuracy(true)],
      ["loss", crossEntropy.toFixed(3)], ["entropy", (layer.N && entropy).toFixed(3)],
      ["leaves used", `${used} of ${layer.L}`], ["neurons engaged", `${engaged} of ${stored}`],
      ["points", points.length], ["steps", count],
    ];
  }

  function accuracy(hard) {
    const right = points.filter(({ x1, x2, label }) => best(answer([x1, x2], hard)) === label).length;
    return `${Math.round((100 * right) / points.length)} %`;
  }

  const answer = ([x1, x2], hard) => SoftTree.answer(layer, tape, x1, x2, setting.temperature, hard);
  const best = (y) => y.indexOf(Math.max(...y));

  /* -------------------------------------------------------------- what is said, to those who hear the page */

  function say(text) {
    said.textContent = text;
    tree.setAttribute("aria-label", shares());
  }

  function summary() {
    if (!points.length) return "No points.";
    const found = Object.fromEntries(numbers());
    return `Step ${count}: soft accuracy ${found["soft accuracy"]}, hard accuracy ${found["hard accuracy"]}`;
  }

  function here() {
    const p = SoftTree.softmax(answer(place, setting.hard), tape.dy), label = best(p);
    const [x1, x2] = place.map((x) => x.toFixed(2)), leaf = SoftTree.route(layer, ...place) + 1;
    const tells = `${CLASSES[label]}, ${Math.round(100 * p[label])} %; leaf ${leaf}; ${points.length} points`;
    return `${x1} right, ${x2} up: ${tells}`;
  }

  function shares() {
    const leaves = Picture.shares({ layer, tape, points, ...setting }).slice(layer.N);
    const percent = leaves.map((parts) => Math.round(100 * Picture.sum(parts)));
    return `The tree. Its leaves have these shares of the points, in per cent: ${percent.join(", ")}`;
  }

  /* -------------------------------------------------------------- the hand: points */

  function near(x, reach) { // the nearest point within reach, or -1
    const distances = points.map(({ x1, x2 }) => Math.hypot(x[0] - x1, x[1] - x2)), least = Math.min(...distances);
    return least < reach ? distances.indexOf(least) : -1;
  }

  function mark(x, label) { // put a point here, or take away what is here
    if (label !== ERASE) return points.push({ x1: x[0], x2: x[1], label });
    const i = near(x, 0.09);
    if (i >= 0) points.splice(i, 1);
  }

  const inside = (v) => Math.min(1, Math.max(-1, v));
  function where(event) { // from the window to the plane
    const box = plane.getBoundingClientRect();
    const x = [(2 * (event.clientX - box.left)) / box.width - 1, 1 - (2 * (event.clientY - box.top)) / box.height];
    return x.map(inside);
  }

  /* -------------------------------------------------------------- the hand: mouse and finger */

  const pen = () => +$("pen").value;
  const draws = () => pointer === "mouse" || $("finger").checked; // a finger that does not draw scrolls, and taps

  function press(event) {
    pointer = event.pointerType;
    if (!draws()) return;
    [keys, place] = [false, where(event)];
    plane.setPointerCapture(event.pointerId);
    const i = pen() === ERASE ? -1 : near(place, pointer === "mouse" ? 0.06 : 0.11);
    held = i < 0 ? "pen" : points[i];
    if (i < 0) mark(place, pen());
  }

  function drag(event) {
    if (event.pointerType === "mouse") [keys, place, dirty] = [false, where(event), true];
    if (held === null) return;
    const x = where(event);
    if (held !== "pen") [held.x1, held.x2] = x;
    else if (pen() === ERASE || near(x, 0.08) < 0) mark(x, pen());
    dirty = true;
  }

  function tap(event) { // a press that did not draw, and did not become a scroll
    if (draws()) return;
    [keys, place] = [false, where(event)];
    mark(place, pen());
  }

  const leave = () => ([keys, place, dirty] = [false, null, true]);
  plane.addEventListener("pointerdown", press);
  plane.addEventListener("pointermove", drag);
  for (const end of ["pointerup", "pointercancel"]) plane.addEventListener(end, () => (held = null));
  plane.addEventListener("click", tap);
  plane.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !keys && leave());
  plane.addEventListener("blur", leave);
  $("finger").addEventListener("change", () => plane.classList.toggle("drawn", $("finger").checked));

  /* -------------------------------------------------------------- the hand: keyboard */

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const MARKS = { 1: 0, 2: 1, 3: 2, 0: ERASE, Delete: ERASE, Backspace: ERASE };

  plane.addEventListener("keydown", (event) => {
    const { key, shiftKey } = event, marks = key === " " || key === "Enter" ? pen() : MARKS[key];
    if (event.ctrlKey || event.altKey || event.metaKey || !(key in ARROWS || marks !== undefined)) return;
    event.preventDefault();
    [keys, place, dirty, untouched] = [true, place ?? [0, 0], true, 0];
    if (key in ARROWS) place = place.map((x, axis) => inside(x + (shiftKey ? 0.25 : 0.05) * ARROWS[key][axis]));
    else mark(place, marks);
    say(here());
  });
  plane.addEventListener("focus", () => {
    if (!plane.matches(":focus-visible")) return; // a click
    [keys, place, dirty] = [true, place ?? [0, 0], true];
  });

  /* -------------------------------------------------------------- the hand: buttons */

  const DOES = {
    play: () => play(!playing),
    step: () => (play(false), step(), say(summary())),
    harden: () => play((cooling = true)),
    fresh: () => (($("temperature").value = 0), (cooling = false), newTree()), // it starts soft
    again: deal,
    clear: () => (points = []),
  };
  for (const name in DOES) $(name).addEventListener("click", DOES[name]);
  $("depth").addEventListener("input", newTree);
  $("temperature").addEventListener("input", () => (cooling = false));
  $("example").addEventListener("change", () => (deal(), newTree()));
  for (const kind of ["input", "click", "pointerdown"])
    root.addEventListener(kind, () => (read(), (dirty = true), (untouched = 0)));
  new IntersectionObserver(([entry]) => (visible = entry.isIntersecting)).observe(plane);

  read(), deal(), newTree(), play(playing);
  for (let i = 0; !playing && i < 300; i++) step(); // who wants no motion sees where it leads
  requestAnimationFrame(frame);
}

addEventListener("DOMContentLoaded", () => document.querySelectorAll(".playground").forEach(playground));

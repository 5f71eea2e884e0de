"""Faults planted in carving, its fits, controls and training, and the counting of generation: each is found.

What would go wrong in silence: a control that is worse than it could be, or a tree that is better than it may be.
"""

import numpy as np
from carving_error import error
from mutants import make_tests, near

from fffref import DenseFF, counting, training
from fffref.counting import presets
from fffref.formats import bert as form
from fffref.models import fitting, sentences
from fffref.models.carve import Carving, carve_rows
from fffref.models.carving_controls import random_tree
from fffref.models.encoder import Encoder
from fffref.training.schedules import OneCycle


def groups(seed=0, n=600):
    """A layer whose neurons answer to one of four groups of inputs each, run on such inputs."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((4, 8))
    layer = DenseFF.init(rng, 8, 5, 32, activation="relu", dtype=np.float64)
    weight = np.repeat(centres, 8, 0) + 0.3 * rng.standard_normal((32, 8))
    layer = DenseFF(weight, np.full(32, -20.0), layer.out_weight, layer.out_bias, "relu")
    return fitting.Rows.of(layer, centres[rng.integers(0, 4, n)] + 0.3 * rng.standard_normal((n, 8)))


def smooth(seed=1):
    """A layer of GELU, its inputs off centre, of four directions, and of very different sizes."""
    rng = np.random.default_rng(seed)
    layer = DenseFF.init(rng, 8, 6, 24, activation="gelu", dtype=np.float64)
    x = rng.standard_normal((800, 4)) @ rng.standard_normal((4, 8)) + rng.standard_normal(8)
    return fitting.Rows.of(layer, x * rng.choice([0.3, 1, 8], (800, 1)))


def verify_carve(module):
    """A tree finds planted groups, parted or not; its cost is what it should be; nodes halve their rows."""
    rows = groups()
    for parted in (False, True):
        how = module.Carving(2, 8, parted=parted)
        assert error(rows, module.carve_rows(rows, how)) < 0.05
    grown = module.carve_rows(rows, module.Carving(2, 8, rounds=0))
    assert np.bincount(grown.route(rows.x), minlength=4).min() >= 140
    assert error(rows, module.carve_rows(rows, module.Carving(2, 6))) <= error(rows, grown) + 0.4
    near(module.leaf_width_for(0.25, 10, 30, 100, 4), 24), near(module.leaf_width_for(1.0, 10, 30, 100, 0), 100)
    energy = np.array([[4.0, 3, 1, 1], [4, 1, 3, 0]])
    near(np.sort(module.part_neurons(energy, 2), 1), [[1, 3], [0, 2]])
    loud = smooth()
    added = module.importance(loud, np.arange(800))
    drop = [((loud.hidden[:, [i]] * loud.layer.out_weight[i] * loud.scale[:, None]) ** 2).sum() for i in range(24)]
    near(added, drop)
    assert error(loud, module.carve_rows(loud, module.Carving(1, 24, ridge=1e-9))) < 1e-9
    for width, most in ((6, 0.095), (12, 0.03)):  # right: 0.087, 0.026
        assert error(loud, module.carve_rows(loud, module.Carving(2, width, ridge=1.0))) < most
    errors = module.leaf_errors(loud, module.carve_rows(loud, module.Carving(1, 6)))
    carved = module.carve_rows(loud, module.Carving(1, 6))
    mine = errors[np.arange(800), carved.route(loud.x)]
    near(mine.mean(), error(loud, carved))


def verify_fitting(module):
    """The fit is where its gradient vanishes; rows of any size count alike; errors are relative."""
    rng = np.random.default_rng(0)
    x, y, towards, scale = (rng.standard_normal(s) for s in ((30, 4), (30, 2), (4, 2), (30,)))
    slope, constant = module.ridge_fit(x, y, 0.3, scale, towards)
    square = scale**2 / (scale**2).sum()
    centred, residual = x - square @ x, (x @ slope + constant - y) * square[:, None]
    near(residual.sum(0), [0, 0])
    penalty = 0.3 * np.trace((centred * square[:, None]).T @ centred) / 4
    near(centred.T @ residual + penalty * (slope - towards), np.zeros((4, 2)))
    near(module.relative_error(np.array([[3.0, 0], [0, 1]]), np.array([[2.0, 0], [0, 10]])), (0.25 + 0.81) / 2)
    rows = module.Rows.of(smooth().layer, smooth().x)
    near(rows.scale * np.linalg.norm(rows.layer.forward_hard(rows.x), axis=1), np.ones(800))
    near(rows.part(5).x[[0, -1]], rows.x[[0, -1]])
    assert len(rows.part(10**6).x) == 800


def verify_carving_controls(module):
    """Each control is exact where it can be, and as good as its kind can be where it cannot."""
    rows = smooth()
    for rank in (5, 8):  # inputs of four directions, and their centre
        into = module._into(rows, rank)
        near(into.forward_hard(rows.x), rows.x @ rows.layer.in_weight.T + rows.layer.in_bias)
    far = fitting.Rows.of(rows.layer, rows.x[:, :1] * np.ones(8) + 5 * np.arange(8))  # one direction, far from 0
    near(module._into(far, 1).forward_hard(far.x), far.x @ far.layer.in_weight.T + far.layer.in_bias)
    assert error(rows, module.low_rank(rows, 8 * 32 + 6 * 30 + 400, 1e-9)) < 1e-6
    line = fitting.Rows.of(DenseFF(*rows.layer.arrays().values(), "identity"), rows.x)
    assert error(line, module.linear(line, 6 * 14, 1e-9)) < 1e-9
    two = module.linear(line, 2 * 14, 1e-9)
    weighted = (line.y - (line.scale**2 @ line.y) / (line.scale**2).sum()) * line.scale[:, None]
    left = np.linalg.eigvalsh(weighted.T @ weighted)[:-2].sum() / 800  # what two directions leave
    assert two.width == 2 and error(line, two) < 1.02 * left
    hidden, size = np.array([[1.0, -3.0, 2.0, 0.5]]), np.array([1.0, 1.0, 1.0, 10.0])
    near(module.largest(hidden, size, 2), [[0, -3, 0, 0.5]])
    known = groups()
    plain = module.largest(known.hidden, np.linalg.norm(known.layer.out_weight, axis=1), 5)
    plain = fitting.relative_error(plain @ known.layer.out_weight + known.layer.out_bias, known.y)
    assert error(known, module.oracle(known, 5, 0.01)) < 0.8 * plain
    how, rng = Carving(2, 8), np.random.default_rng(0)
    random = module.random_tree(known, how, rng)
    assert np.bincount(random.route(known.x), minlength=4).min() >= 149
    assert not np.array_equal(random.node_weight, module.random_tree(known, how, rng).node_weight)


def verify_carving_trained(module):
    """Training makes a layer better, changes nothing else, and keeps no harm; a PathFFF begins at a fit."""
    rows, rng = smooth(), np.random.default_rng(0)
    recipe = training.Recipe(epochs=10, batch_size=32, learning_rate=OneCycle(3e-3))
    carved = random_tree(rows, Carving(1, 6), rng)
    tuned = module.tuned(rows, carved, recipe)
    assert not np.allclose(tuned.leaf_in_weight, carved.leaf_in_weight)
    mine = carved.route(rows.x) == 0
    alone = fitting.Rows(rows.layer, rows.x[mine], rows.hidden[mine], rows.y[mine], rows.scale[mine])
    near(module.tuned(alone, carved, recipe).leaf_in_weight[0], tuned.leaf_in_weight[0])
    wild = training.Recipe(epochs=1, batch_size=32, learning_rate=0.5)
    assert error(rows, module.tuned(rows, tuned, wild)) <= 1.001 * error(rows, tuned)
    assert error(rows, module.from_scratch(rows, 12, recipe)) < 0.3
    still = training.Recipe(epochs=1, batch_size=32, learning_rate=0.0)
    far = fitting.Rows.of(DenseFF(*[*rows.layer.arrays().values()][:3], rows.layer.out_bias + 50, "gelu"), rows.x)
    assert error(far, module.distilled(far, 2, 4, still)) < 1e-3  # it has an output bias
    start, after = (error(rows, module.distilled(rows, 2, 4, how)) for how in (still, recipe))
    assert after < 0.9 * start < 0.5, (start, after)


def verify_carving_layers(module):
    """Each layer is fitted to what those before it give, for the tokens that are real."""
    rng = np.random.default_rng(0)
    config = form.Config(2, 16, 2, 32, 40, 12, 1, 1e-12)
    encoder = Encoder.of(config, form.draw(rng, config, np.float64))
    batches = [sentences.padded([rng.integers(0, 40, n).tolist() for n in (12, 5) * 10])]
    inputs = module.ff_inputs(encoder, batches)
    assert [x.shape for x in inputs] == [(170, 16)] * 2
    rows = [fitting.Rows.of(block.ff, x[:160]) for block, x in zip(encoder.blocks, inputs, strict=True)]
    for target in module.TARGETS:
        seen = []
        fit = lambda rows, seen=seen: seen.append(rows) or carve_rows(rows, Carving(1, 6, rounds=0))  # noqa: E731
        layers = module.in_sequence(encoder, batches, rows, fit, target)
        entering = module.ff_inputs(encoder.with_ffs(layers), batches)[1][:160]
        near(seen[1].x, entering)
        near(seen[1].y, rows[1].y if target == "outputs" else rows[1].x + rows[1].y - entering)


def verify_generation(module):
    """Bytes of the published models, of their caches, and of a share."""
    llama, mistral = presets.get("llama-2-7b"), presets.get("mistral-7b")
    near(module.bytes_a_token(llama, 100)["cache"], 2 * 32 * 2 * 4096 * 100)
    near(module.bytes_a_token(mistral, 10**5)["cache"], 2 * 32 * 2 * 1024 * 4096)
    near(sum(module.bytes_a_token(llama, 1).values()) - 2 * 32 * 2 * 4096, 2 * (6_738_415_616 - 31_999 * 4096))
    near(module.tokens_a_second(mistral, 28, 1), 28e9 / sum(module.bytes_a_token(mistral, 1).values()))
    ff = counting.dense_ff(8, 8, 100)
    some = module.engaging(ff, 0.25, stored=2)
    near([some.parameters, some.parameters_engaged, some.inference.multiply_adds], [3416, 427, 400])
    near([some.neurons_stored, some.neurons_engaged], [200, 25])


FAULTS = {
    "a node goes where rows are few": ("carve", "bias[node] = -np.median(rows.x[here] @ weight[node])", "bias[node] = -np.quantile(rows.x[here] @ weight[node], 0.95)"),
    "a node's bias has the other sign": ("carve", "bias[node] = -np.median", "bias[node] = np.median"),
    "routing costs nothing": ("carve", "- depth * n_in) / (n_in + n_out)", ") / (n_in + n_out)"),
    "leaves take the least important neurons": ("carve", "np.argsort(-energy", "np.argsort(energy"),
    "neurons are parted at their worst": ("carve", "maximize=True", "maximize=False"),
    "parted places are mixed up": ("carve", "neuron[np.argsort(place)]", "np.sort(neuron)"),
    "importance forgets the rows' scale": ("carve", "weighted = rows.hidden[here] * rows.scale[here, None]", "weighted = rows.hidden[here]"),
    "importance forgets the output rows": ("carve", " * np.einsum(\"wo,wo->w\", *2 * (rows.layer.out_weight,))", ""),
    "output weights belong to other neurons": ("carve", "dense.out_weight[neurons[j]]", "dense.out_weight[neurons[0]]"),
    "leaves are fitted to all rows": ("carve", "fitted, own = rows.hidden[np.ix_(here, neurons[j])]", "here = np.arange(len(leaf)); fitted, own = rows.hidden[np.ix_(here, neurons[j])]"),
    "leaf errors forget the scale": ("carve", "* rows.scale[part] ** 2", ""),
    "the ridge draws towards nothing": ("fitting", "slope = towards + ", "slope = "),
    "the weights are not squared": ("fitting", "scale.astype(np.float64) ** 2", "np.abs(scale.astype(np.float64))"),
    "the constant is the mean": ("fitting", "(y_mean - x_mean @ slope)", "y_mean"),
    "the penalty is absolute": ("fitting", "ridge * np.trace(normal) / len(normal)", "ridge"),
    "errors are relative to the answer": ("fitting", 'np.einsum("no,no->n", expected, expected, dtype=np.float64)', 'np.einsum("no,no->n", y, y, dtype=np.float64)'),
    "rows count by their size": ("fitting", "1 / np.maximum(size, SMALLEST * size.mean() + np.finfo(y.dtype).tiny)", "0 * size + 1"),
    "part takes the first rows": ("fitting", "np.linspace(0, len(self.x) - 1, min(most, len(self.x)))", "np.arange(min(most, len(self.x)))"),
    "low rank forgets the inputs' mean": ("carving_controls", "layer.in_bias + (layer.in_weight - U @ down) @ centre", "layer.in_bias"),
    "low rank is of the weights alone": ("carving_controls", "whitened = layer.in_weight @ (vector * np.sqrt(np.maximum(value, 0)))", "whitened = layer.in_weight"),
    "low rank keeps the least directions": ("carving_controls", "[:, ::-1][:, :rank]", "[:, :rank]"),
    "low rank drops a mean": ("carving_controls", "return V, mean - V @ (V.T @ mean)", "return V, 0 * mean"),
    "one matrix is not weighted": ("carving_controls", "V, left = _directions(rows.x @ slope, rows.scale, rank)", "V, left = _directions(rows.x @ slope, 0 * rows.scale + 1, rank)"),
    "the oracle looks at activations alone": ("carving_controls", "added = np.abs(hidden) * size", "added = np.abs(hidden)"),
    "the oracle forgets negative ones": ("carving_controls", "added = np.abs(hidden) * size", "added = hidden * size"),
    "the oracle is not refitted": ("carving_controls", "replace(layer, out_weight=slope, out_bias=constant)", "layer"),
    "random groups are one group": ("carving_controls", "lambda rows, here, how: rng.standard_normal(rows.x.shape[1])", "lambda rows, here, how: np.zeros(rows.x.shape[1])"),
    "what training spoils is kept": ("carving_trained", "return min((after, layer)", "return max((after, layer)"),
    "every leaf is trained on all rows": ("carving_trained", "here = np.flatnonzero(reached == j)", "here = np.flatnonzero(reached >= 0)"),
    "a path's fit has no constant": ("carving_trained", "slope[0] += constant", "slope[0] += 0 * constant"),
    "output weights of a path are not fitted": ("carving_trained", "aligned(slope.reshape(drawn.out_weight.shape))", "drawn.out_weight"),
    "neurons off the path are fitted": ("carving_trained", "np.put_along_axis(hidden, tape.node, tape.hidden, axis=1)", "hidden[:, : tape.hidden.shape[1]] = tape.hidden"),
    "layers are fitted to the original's inputs": ("carving_layers", "encoder.with_ffs(layers)", "encoder"),
    "what came in wrong is made worse": ("carving_layers", "own.y + (own.x - x)", "own.y - (own.x - x)"),
    "the two targets are mixed up": ("carving_layers", 'target == "outputs"', 'target == "stream"'),
    "padding is fitted to": ("carving_layers", "append(x[real])", "append(x)"),
    "the cache has no values": ("generation", "keys_and_values = model.qkv - model.queries", "keys_and_values = (model.qkv - model.queries) // 2"),
    "the cache has all heads": ("generation", "keys_and_values = model.qkv - model.queries", "keys_and_values = 2 * model.queries"),
    "the window is forgotten": ("generation", "min(context, model.window)", "context"),
    "a share is stored": ("generation", "parameters=round(stored * ff.parameters)", "parameters=round(share * ff.parameters)"),
    "gigabytes are of 2^30 bytes": ("generation", "gigabytes * 1e9", "gigabytes * 2**30"),
}  # fmt: skip

test_the_source_as_it_is_passes, test_a_planted_fault_is_found = make_tests(globals(), FAULTS)

"""The first run: check the gradients, train, harden, compare, draw. `fffref demo` calls `run`."""

import time

import numpy as np

from .. import checks, datasets, files, gradcheck, training
from ..layers.choices import Choices
from ..layers.dense_ff import DenseFF
from ..layers.leaf_fff import LeafFFF
from ..layers.path_fff import PathFFF
from . import variants

EXTRA = training.Settings(choices=Choices(temperature=0.7), entropy_weight=0.5, balance_weight=0.3)  # checked too
N_SAMPLES = 8  # of a gradient check
RATES = (0.005, 0.01, 0.02)  # learning rates that every contestant is tried with


def small_layers(rng, activation="gelu"):
    """Layers small enough to check every entry of every gradient, in float64."""
    options = {"activation": activation, "dtype": np.float64}
    return {
        "LeafFFF": LeafFFF.init(rng, n_in=6, n_out=4, depth=3, leaf_width=3, **options),
        "PathFFF": PathFFF.init(rng, n_in=6, n_out=4, depth=3, n_trees=2, **options),
        "DenseFF": DenseFF.init(rng, n_in=6, n_out=4, width=9, **options),
    }


def gradient_reports(layer, rng):
    """Check every gradient of a layer, entropy and balance losses included, by both methods.

    Parameters
    ----------
    layer : LeafFFF, PathFFF or DenseFF, in float64
    rng : numpy.random.Generator
        Draws inputs and labels, `N_SAMPLES` of them.

    Returns
    -------
    dict of str to dict of str to gradcheck.Report
        By method, then by field.
    """
    x = rng.standard_normal((N_SAMPLES, layer.n_in))
    labels = rng.integers(layer.n_out, size=N_SAMPLES)
    # the same loss that is differentiated numerically
    _, grads, dx = training.objective(layer, x, labels, EXTRA, input_gradient=True)
    return {
        method: gradcheck.check_layer(_loss_of(labels), layer, x, grads, dx, method) for method in gradcheck.METHODS
    }


def gradient_rows(layers, rng):
    """The reports of several layers as rows of a table, each a dict."""
    return [
        {
            "layer": name, "field": field,
            "entries": getattr(layer, field).size if field != "x" else N_SAMPLES * layer.n_in,
            "central": reports["central"][field].error, "complex": reports["complex"][field].error,
            "passed": all(reports[method][field].passed for method in gradcheck.METHODS),
            "warnings": list(reports["central"][field].warnings),
        }
        for name, layer in layers.items()
        for reports in (gradient_reports(layer, rng),)
        for field in reports["central"]
    ]  # fmt: skip


def gradient_curve(rng):
    """Steps, and the errors of central differences and of the complex step at each, sorted by entry."""
    layer = small_layers(rng)["LeafFFF"]
    x, labels = rng.standard_normal((N_SAMPLES, layer.n_in)), rng.integers(layer.n_out, size=N_SAMPLES)
    _, _, dx = training.objective(layer, x, labels, EXTRA, input_gradient=True)
    loss = _loss_of(labels)
    steps = 10.0 ** -np.arange(1, 14)  # from truncation to rounding: the V
    central = gradcheck.error_versus_step(lambda x: loss(layer, x), x, dx, steps)
    any_dtype = lambda x: loss(layer.astype(x.dtype), x)  # noqa: E731  (f is evaluated at real points as well)
    return steps, central, gradcheck.error_versus_step(any_dtype, x, dx, steps, "complex")


def contestants(rng, data):
    """Name, layer and recipe of each: two dense nets, the first paper's layer hardened in two ways, the second's."""
    n_in, n_out = data.x_train.shape[1], data.n_classes
    entropy = training.Recipe(epochs=12, entropy_weight=1.0)  # in the mean, as in the authors' example
    return {
        "DenseFF": (DenseFF.init(rng, n_in, n_out, width=128), training.Recipe(epochs=12)),
        "DenseFF, engaged size": (DenseFF.init(rng, n_in, n_out, width=12), training.Recipe(epochs=12)),
        "LeafFFF, entropy loss": (LeafFFF.init(rng, n_in, n_out, depth=4, leaf_width=8), entropy),
        "LeafFFF, annealed": (LeafFFF.init(rng, n_in, n_out, depth=4, leaf_width=8), training.hardening(epochs=12)),
        "PathFFF": (PathFFF.init(rng, n_in, n_out, depth=4, n_trees=4), training.Recipe(epochs=12)),
    }


def best_of_rates(layer, recipe, data, seed, label):
    """Train with each of `RATES`; the one that is best on held-out digits counts, for rivals as for trees.

    Parameters
    ----------
    layer : Layer
    recipe : training.Recipe
    data : datasets.Data
    seed : int
    label : str or False
        Of the progress bars.

    Returns
    -------
    rate : float
        The one that was best.
    layer : Layer
    history : list of dict
    """
    task = training.Classification(data.x_train, data.y_train)
    runs = []
    for rate in RATES:
        turned = variants.turned(recipe, rate)
        # the same initial weights at every rate
        runs.append((rate, *training.train(layer, task, turned, seed, progress=label and f"{label} at {rate:<5g}")))
    return max(runs, key=lambda run: run[2][-1]["hard_accuracy"])  # on held-out digits; hard, as it will be used


def microseconds_per_sample(layer, x, repeats=7):
    """Median time of `forward_hard` on the whole of `x`, per row."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        layer.forward_hard(x)
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times)) / len(x)  # the first call fills caches, others are disturbed


def run(out, seed=0, progress=True, say=print):
    """Run the whole demonstration.

    Parameters
    ----------
    out : path-like
        Folder for the figures, made if need be.
    seed : int
    progress : bool
        Show progress bars.
    say : callable
        Takes each part of the report, as text.

    Returns
    -------
    dict
        "gradients" and "layers", lists of rows; "figures", list of paths.

    Raises
    ------
    ValueError
        If the folder cannot be written to.
    """
    out = files.folder(out)
    rng = np.random.default_rng(checks.integer("seed", seed, 0))  # one stream for layers, inputs and figures
    say("1. Is every gradient right? Cross-entropy + node entropy + leaf balance, every entry, float64.\n")
    gradients = gradient_rows(small_layers(rng), rng)
    say(gradient_table(gradients))

    data = datasets.load("mnist-small")
    rates = ", ".join(map(str, RATES))
    say(f"2. Training on {len(data.x_train):,} digits, each layer at learning rates {rates};")
    say("   what is best on a tenth of the digits, held out, counts. Test digits are looked at once.\n")
    results, rows = {}, []
    for name, (layer, recipe) in contestants(rng, data).items():
        label = f"{name:22}" if progress else False
        rate, layer, history = best_of_rates(layer, recipe, data, seed, label)
        test = training.evaluate(layer, data.x_test, data.y_test, training.last_choices(history))
        results[name] = layer, history, test
        rows.append(_summary(name, rate, layer, test, data.x_test))
    say(f"\n3. {len(data.x_test):,} test digits; time: forward_hard of NumPy on all of them at once, per digit.\n")
    say(layer_table(rows))

    say("4. Figures:")
    figures = [out / f"{name}.png" for name in draw(out, results, rng, data.image_shape)]
    for figure in figures:
        say(f"   {figure}")
    return {"gradients": gradients, "layers": rows, "figures": list(map(str, figures))}


def draw(out, results, rng, image_shape):
    """Write all figures into the folder `out`; return their names."""
    from .. import plots  # imported where needed: matplotlib takes its time

    trees = {name: result for name, result in results.items() if isinstance(result[0], LeafFFF)}
    steps, central, complex_step = gradient_curve(rng)
    # the tree that hardening changed least: its nodes are worth a look
    best = min(trees.values(), key=lambda result: abs(result[2]["soft_accuracy"] - result[2]["hard_accuracy"]))[0]
    figures = {
        "learning-curves": plots.learning_curves({name: history for name, (_, history, _) in results.items()}),
        "node-entropy": plots.node_entropies({name: history for name, (_, history, _) in trees.items()}),
        "leaf-usage": plots.leaf_usage({name: test["leaf_share"] for name, (_, _, test) in trees.items()}),
        "node-weights": plots.node_weights(best.node_weight, image_shape),
        "gradient-check": plots.gradient_errors(steps, central, complex_step, chosen=(4, 12)),
    }
    for name, figure in figures.items():
        plots.save(figure, out / f"{name}.png")
    return list(figures)


def gradient_table(rows):
    """The rows of `gradient_rows` as text."""
    head = f"   {'layer':9}{'field':17}{'entries':>8}{'central diff.':>15}{'complex step':>15}"
    body = (
        f"   {row['layer']:9}{row['field']:17}{row['entries']:8}{row['central']:15.1e}{row['complex']:15.1e}"
        f"  {'ok' if row['passed'] else 'WRONG'}" + "".join(f"\n      warning: {text}" for text in row["warnings"])
        for row in rows
    )
    return "\n".join((head, *body, "   (largest error / largest derivative)\n"))


def layer_table(rows):
    """The rows of the comparison as text."""
    head = (
        f"   {'':23}{'neurons':>17}  {'rate':>5}  {'test accuracy [%]':>19}  {'entropy':>8}  {'leaves':>9}  time\n"
        f"   {'':23}{'stored':>8}{'engaged':>9}  {'':5}  {'soft':>10}{'hard':>9}  {'[nats]':>8}  {'used':>9}  [us]"
    )
    body = (
        f"   {row['name']:23}{row['stored']:8}{row['engaged']:9}  {row['learning_rate']:5g}  "
        f"{_percent(row['soft']):>10}{_percent(row['hard']):>9}  "
        f"{'-' if row['entropy'] is None else format(row['entropy'], '.4f'):>8}  "
        f"{row['used']:>9}  {row['microseconds']:5.2f}"
        for row in rows
    )
    return "\n".join((head, *body, ""))


def _summary(name, rate, layer, test, x):
    """A row of the comparison."""
    return {
        "name": name, "learning_rate": rate, "stored": layer.neurons_stored, "engaged": layer.neurons_engaged,
        "soft": test["soft_accuracy"], "hard": test["hard_accuracy"], "entropy": test["entropy"],
        "used": f"{test['leaves_used']} of {len(test['leaf_share'])}",
        "microseconds": microseconds_per_sample(layer, x),
    }  # fmt: skip


def _percent(share):
    """A share as text; a dash for none."""
    return "-" if share is None else f"{100 * share:.1f}"


def _loss_of(labels):
    """The loss that the demonstration checks, as a function of layer and input alone."""
    return lambda layer, x: training.objective(layer, x, labels, EXTRA)[0]

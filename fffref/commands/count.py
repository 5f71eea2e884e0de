"""`fffref count`: what a layer or a model stores, engages and computes."""

import math

from .. import checks
from . import shared


def add(commands):
    """Add the command, a sub-command for each kind of layer, and one for models."""
    from ..counting import presets

    text = """\
Count what a layer or a whole transformer stores, what it engages for one sample or token, and what that computes.

All numbers are exact. A multiply-add is 2 FLOPs; biases and activations are 1 each ("elementwise"). An FFF stores
every neuron and engages few: it saves arithmetic and memory traffic, not memory. And a layer's speed-up is not the
model's: whatever is not in the feedforward (FF) layers, attention above all, takes as long as before."""
    examples = """\
examples:
  fffref count path-fff --n-in 768 --depth 11                 UltraFastBERT's layer: 12 neurons of 4095, 341x
  fffref count leaf-fff --n-in 784 --n-out 10 --depth 4 --leaf-width 8
  fffref count dense-ff --n-in 4096 --width 11008 --gated     LLaMA's
  fffref count moe --n-in 768 --experts 16 --k 2 --expert-width 256
  fffref count bert-base --context 512 --ff-speedup 341       what is 341x on the layers worth in the model?
  fffref count llama-2-7b --context 4096 --generate           one token, the others in the cache
  fffref count --list                                         all models, beside their published sizes
"""
    command = commands.add_parser("count", help="parameters, FLOPs, what is engaged", description=text, epilog=examples)
    command.add_argument("--list", action="store_true", help="list the models")
    shared.add_common(command, seed=False)
    command.set_defaults(run=run_list)
    kinds = command.add_subparsers(dest="what", metavar="LAYER-OR-MODEL", parser_class=shared.Parser)
    for name, (maker, help, options) in LAYERS.items():
        layer = kinds.add_parser(name, help=help, description=f"Count {help}.")
        layer.add_argument("--n-in", type=int, default=768, help="inputs (%(default)s)")
        layer.add_argument("--n-out", type=int, help="outputs (as many as inputs)")
        for option, settings in options.items():
            layer.add_argument(option, **settings)
        layer.add_argument("--versus", type=int, metavar="WIDTH", help="the dense layer to compare with (all neurons)")
        _add_dtype(layer, lambda arguments, maker=maker: _layer(arguments, maker(arguments)))
    first, *others = presets.PRESETS
    model = kinds.add_parser(first, aliases=others, help="a model; --list lists them", description="Count a model.")
    model.add_argument("--context", type=int, default=512, help="tokens of the sequence (%(default)s)")
    model.add_argument("--generate", action="store_true", help="count the last token alone, the others being cached")
    model.add_argument("--ff-speedup", type=float, metavar="K", help="if the FF layers were K times as fast")
    _add_dtype(model, lambda arguments: _model(arguments, presets.get(arguments.what)))


def _add_dtype(command, report):
    """Add what all have, and what makes the report and its text."""
    command.add_argument("--dtype", default="float32", help="of the weights, for bytes (%(default)s)")
    shared.add_common(command, seed=False, nested=True)
    command.set_defaults(run=run, report=report)


def _dense_ff(arguments):
    """The count that the options describe."""

    from .. import counting

    return counting.dense_ff(arguments.n_in, _n_out(arguments), arguments.width, gated=arguments.gated)


def _leaf_fff(arguments):
    """The count that the options describe."""

    from .. import counting

    return counting.leaf_fff(arguments.n_in, _n_out(arguments), arguments.depth, arguments.leaf_width)


def _path_fff(arguments):
    """The count that the options describe."""

    from .. import counting

    return counting.path_fff(arguments.n_in, _n_out(arguments), arguments.depth, arguments.trees)


def _moe(arguments):
    """The count that the options describe."""

    from .. import counting

    sizes = arguments.experts, arguments.k, arguments.expert_width
    return counting.moe(arguments.n_in, _n_out(arguments), *sizes)


def _n_out(arguments):
    """As many outputs as inputs, unless told otherwise."""
    return arguments.n_in if arguments.n_out is None else arguments.n_out


NEEDED = {"type": int, "required": True}
DEPTH = NEEDED | {"help": "choices from root to leaf"}
LAYERS = {  # what makes the count, what it is, its options
    "dense-ff": (_dense_ff, "a dense layer, all of whose neurons compute", {
        "--width": NEEDED | {"help": "neurons"},
        "--gated": {"action": "store_true", "help": "with a gate"},
    }),
    "leaf-fff": (_leaf_fff, "the first paper's tree, of nodes and leaves", {
        "--depth": DEPTH, "--leaf-width": NEEDED | {"help": "neurons a leaf"},
    }),
    "path-fff": (_path_fff, "the second paper's trees, all of whose nodes are neurons", {
        "--depth": DEPTH, "--trees": {"type": int, "default": 1, "help": "trees (%(default)s)"},
    }),
    "moe": (_moe, "a mixture of experts", {
        "--experts": NEEDED | {"help": "experts"}, "--k": NEEDED | {"help": "experts computed"},
        "--expert-width": NEEDED | {"help": "neurons an expert"},
    }),
}  # fmt: skip


def run(arguments):
    """Count one layer or model; return the exit status."""
    if arguments.list:
        raise checks.InputError(f"--list lists the models, {arguments.what} is one thing to count; give one of both")
    report, text = arguments.report(arguments)
    if not arguments.json:
        print(text)
    return shared.finish(arguments, report)


def run_list(arguments):
    """List all models; return the exit status."""
    from ..counting import presets

    if not arguments.list:
        raise checks.InputError(f"name a layer ({', '.join(LAYERS)}) or a model; --list lists the models")
    report, text = _listed(presets.PRESETS)
    if not arguments.json:
        print(text)
    return shared.finish(arguments, report)


# ---------------------------------------------------------------------- layers


def _layer(arguments, count):
    """Report and text on one layer."""
    dtype = arguments.dtype
    report = {
        "layer": count.name,
        "neurons_stored": count.neurons_stored, "neurons_engaged": count.neurons_engaged,
        "training_width": count.training_width, "inference_width": count.inference_width,
        "training_size": count.training_size, "inference_size": count.inference_size,
        "parameters": count.parameters, "parameters_engaged": count.parameters_engaged,
        "dtype": dtype, "bytes_stored": count.bytes_stored(dtype), "bytes_touched": count.bytes_touched(dtype),
        "work": {name: _work(getattr(count, name)) for name in ("inference", "forward", "backward")},
        "versus": count.neurons_stored if arguments.versus is None else arguments.versus,
        "speed_up_limit": count.speed_up(arguments.versus),
    }  # fmt: skip
    stored = _table(
        ("", "stored", "engaged", "engaged [%]"),
        [("neurons", count.neurons_stored, count.neurons_engaged),
         ("with output weights", count.training_width, count.inference_width),
         ("parameters", count.parameters, count.parameters_engaged),
         (f"bytes, {dtype}", report["bytes_stored"], report["bytes_touched"])],
        lambda row: (f"{100 * row[2] / row[1]:.3g}",),
    )  # fmt: skip
    work = _table(
        ("", "multiply-adds", "elementwise", "FLOPs"),
        [(title, work.multiply_adds, work.elementwise, work.flops) for title, work in (
            ("inference", count.inference), ("training, forward", count.forward),
            ("training, backward", count.backward))],
    )  # fmt: skip
    last = (f"A dense layer of {report['versus']:,} neurons takes {report['speed_up_limit']:,.5g} times the "
            f"multiply-adds of this layer's inference.")  # fmt: skip
    return report, "\n".join((f"{count.name}, one sample", "", stored, "", work, "", last))


def _work(work):
    """Arithmetic as JSON has it."""
    return {"multiply_adds": work.multiply_adds, "elementwise": work.elementwise, "flops": work.flops}


# ---------------------------------------------------------------------- models


def _model(arguments, model):
    """Report and text on one model."""
    from .. import counting

    context = arguments.context
    new = 1 if arguments.generate else None
    stored, engaged, flops = model.parameters(), model.engaged(), model.flops_per_token(context, new)
    size = counting.itemsize(arguments.dtype)
    report = {
        "model": arguments.what, "note": model.note,
        "parameters": stored, "parameters_total": model.n_parameters,
        "engaged": engaged, "engaged_total": sum(engaged.values()),
        "published": _published(model),
        "dtype": arguments.dtype, "bytes_stored": size * model.n_parameters, "bytes_read": size * sum(engaged.values()),
        "ff": {"layer": model.ff.name, "neurons_stored": model.ff.neurons_stored,
               "neurons_engaged": model.ff.neurons_engaged},
        "context": context, "generate": arguments.generate,
        "flops_per_token": flops, "flops_per_token_total": sum(flops.values()),
        "ff_share": model.ff_share(context, new),
        "speed_up_limit": model.speed_up(math.inf, context, new),
        "crossover": model.crossover(new=new), "crossover_of_scores": model.crossover(projections=False, new=new),
    }  # fmt: skip
    if arguments.ff_speedup is not None:
        factor = checks.number("--ff-speedup", arguments.ff_speedup, "(0, inf)")
        report |= {"ff_speedup": factor, "speed_up": model.speed_up(factor, context, new)}
    return report, "\n".join(_model_lines(report, model))


def _model_lines(report, model):
    """The lines to print for one model."""
    stored, engaged, published = report["parameters"], report["engaged"], report["published"]
    total, read, flops = report["parameters_total"], report["engaged_total"], report["flops_per_token_total"]
    yield f"{report['model']}: {model.layers} layers of width {model.width}, {model.heads} heads, {model.ff.name}"
    yield from (report["note"],) * bool(report["note"])
    yield "\n" + _table(
        ("parameters", "stored", "read for a token", "stored [%]", "read [%]"),
        [*((name, stored[name], engaged[name]) for name in stored if stored[name] or engaged[name]),
         ("total", total, read)],
        lambda row: (f"{100 * row[1] / total:.2f}", f"{100 * row[2] / read:.2f}"),
    )  # fmt: skip
    yield f"bytes, {report['dtype']}: {report['bytes_stored']:,} stored, {report['bytes_read']:,} read for a token"
    yield "published: " + (f"{published['text']}; {published['source']}" if published else "no total")
    yield (
        "\n" + ("the last token of " if report["generate"] else "a token, on average over ") + f"{report['context']:,}"
    )
    yield _table(
        ("FLOPs", "millions", "[%]"),
        [(name, f"{n / 1e6:,.3f}", f"{100 * n / flops:.2f}")
         for name, n in [*report["flops_per_token"].items(), ("total", flops)] if n],
    )  # fmt: skip
    yield f"\nattention takes as many FLOPs as the FF layers {_from(report['crossover'])}"
    yield f"its scores and sums of values alone, {_from(report['crossover_of_scores'])}"
    yield "if time goes with FLOPs, and the FF layers were"
    if "speed_up" in report:
        yield f"  {report['ff_speedup']:g} times as fast, the model would be {report['speed_up']:.2f} times as fast"
    yield f"  infinitely fast, the model would be {report['speed_up_limit']:.2f} times as fast"


def _from(context):
    """A context as the end of a sentence."""
    if context is None:
        return "at no context: its window is too short"
    return "from the first token on" if context == 1 else f"from a context of {context:,} tokens on"


def _published(model):
    """The published figure as a dict with a text, or None."""
    if (published := model.published) is None:
        return None
    agrees = published.agrees(model.n_parameters)
    text = f"{published.parameters:,}" + (f" +- {published.unit // 2:,}" if published.unit > 1 else "")
    text += (f", {published.extra:,} stored twice" if published.extra else "") + (
        ": agrees" if agrees else ": DISAGREES"
    )
    return {
        "parameters": published.parameters, "unit": published.unit, "extra": published.extra, "agrees": agrees,
        "source": published.source, "text": text,
    }  # fmt: skip


def _listed(models):
    """Report and text on all models."""
    report = {
        name: {
            "parameters": model.n_parameters, "feedforward": model.parameters()["feedforward"],
            "neurons_stored": model.ff.neurons_stored, "neurons_engaged": model.ff.neurons_engaged,
            "published": _published(model),
        }
        for name, model in models.items()
    }  # fmt: skip
    rows = [
        (name, row["parameters"], f"{100 * row['feedforward'] / row['parameters']:.1f}", row["neurons_stored"],
         row["neurons_engaged"], row["published"]["text"] if row["published"] else "-")
        for name, row in report.items()
    ]  # fmt: skip
    return report, _table(("model", "parameters", "FF [%]", "neurons a layer", "engaged", "published total"), rows)


# ---------------------------------------------------------------------- helpers


def _table(head, rows, more=lambda row: ()):
    """Aligned text: the first column to the left, the others to the right; whole numbers with separators."""
    rows = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] + list(more(row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                  for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in (head, *rows)
    )  # fmt: skip

"""`fffref import-torch`: weights from other people's PyTorch modules, and back."""

from .. import checks
from . import shared


def add(commands):
    """Add the command and its options."""
    text = """\
Make a checkpoint of this package of weights that a PyTorch module has saved as safetensors, or the reverse.

Three sources are known, and told apart by their names. The state dict of fastfeedforward.FFF, the first paper's
package, becomes a LeafFFF whose soft forward pass is that of the module in training. (In evaluation the module forgets
its leaves' output biases b2s, this package does not.) The state dict of UltraFastBERT's FFF (linear_in, linear_out)
becomes a PathFFF. And with --layer, so does one FF layer of an UltraFastBERT folder (config.json, model.safetensors).
What torch.compile and DataParallel put before names (_orig_mod., module.) is passed over; half precision is widened.
PyTorch itself is not needed here; there, write the file with
  from safetensors.torch import save_file; save_file(module.state_dict(), "module.safetensors")"""
    examples = """\
examples:
  fffref import-torch module.safetensors --out leaf.safetensors
  fffref import-torch model.safetensors --prefix head. --activation gelu --out leaf.safetensors
  fffref import-torch fff.safetensors --trees 2 --out path.safetensors
  fffref import-torch path.safetensors --back --out module.safetensors
  fffref import-torch ultrafastbert --layer 3 --out path.safetensors
"""
    command = commands.add_parser("import-torch", help="weights of PyTorch modules, and back", description=text,
                                  epilog=examples)  # fmt: skip
    command.add_argument("source", metavar="SOURCE", help="a safetensors file, or with --layer a folder")
    command.add_argument("--out", required=True, metavar="FILE", help="what to write; must not exist yet")
    command.add_argument("--prefix", default="", help="of the names, where the module is part of a larger one")
    command.add_argument("--activation", metavar="NAME",
                         help="the module's, which no file says: relu (fastfeedforward's default), gelu "
                         "(UltraFastBERT's), tanh, identity")  # fmt: skip
    command.add_argument("--trees", type=int, metavar="K", help="of UltraFastBERT's FFF, which no file says (1)")
    way = command.add_mutually_exclusive_group()
    way.add_argument("--back", action="store_true", help="from a LeafFFF or PathFFF checkpoint to a state dict")
    way.add_argument("--layer", type=int, metavar="N", help="which layer of an UltraFastBERT folder, from 0")
    shared.add_common(command, seed=False)
    command.set_defaults(run=run)


def run(arguments):
    """Write the other form; return the exit status."""
    from .. import files

    source, out = files.path_of(arguments.source), files.writable(arguments.out)
    _refuse_what_says_nothing(arguments)
    if out.exists():
        raise checks.InputError(f"{out} exists already; choose another --out")
    work = _back if arguments.back else _module if arguments.layer is None else _layer
    report = work(arguments, source, out)
    if not arguments.json:
        sizes = ", ".join(f"{name} {tuple(shape)}" for name, shape in report["shapes"].items())
        print(f"{report['layer']}, {report['dtype']}: {sizes}")
        if report["left_out"]:
            print(f"left out, being no weights: {', '.join(report['left_out'])}")
        print(f"saved: {out}")
    return shared.finish(arguments, report)


def _refuse_what_says_nothing(arguments):
    """Refuse options that the chosen way has no use for."""
    useless = {"activation": arguments.layer is not None or arguments.back, "prefix": arguments.layer is not None,
               "trees": arguments.layer is not None or arguments.back}  # fmt: skip
    for name, refuse in useless.items():
        if refuse and getattr(arguments, name):
            way = "--back" if arguments.back else "--layer"
            raise checks.InputError(f"--{name} is for the state dict of a module alone, not for {way}")


def _module(arguments, source, out):
    """State dict to LeafFFF or PathFFF."""
    from ..formats import checkpoints, fastfeedforward, names, safetensors, ultrafastbert

    tensors = safetensors.mapped(source)
    weights = names.under(tensors, arguments.prefix)
    if ultrafastbert.MODULE[0] in weights:
        trees = 1 if arguments.trees is None else arguments.trees
        layer = ultrafastbert.path_fff(tensors, trees, arguments.activation or "gelu", arguments.prefix)
    elif arguments.trees is not None:
        raise checks.InputError(f"--trees is for UltraFastBERT's FFF, but {source} holds no {ultrafastbert.MODULE[0]}")
    else:
        layer = fastfeedforward.leaf_fff(tensors, arguments.activation or "relu", arguments.prefix)
    checkpoints.save(out, layer, info={"imported_from": source.name})
    return _report(layer, out, [name for name in fastfeedforward.STATISTICS if name in weights])


def _layer(arguments, source, out):
    """One FF layer of an UltraFastBERT."""
    from ..formats import checkpoints, ultrafastbert

    arch, tensors = ultrafastbert.load(source)
    layer = ultrafastbert.ff_layer(arch, tensors, arguments.layer)
    checkpoints.save(out, layer, info={"imported_from": source.name, "layer": arguments.layer})
    return _report(layer, out)


def _back(arguments, source, out):
    """LeafFFF or PathFFF to the state dict of its module."""
    from .. import LeafFFF, PathFFF
    from ..formats import checkpoints, fastfeedforward, safetensors, ultrafastbert

    layer = checkpoints.load(source).layer
    ways = {LeafFFF: fastfeedforward.fastfeedforward, PathFFF: ultrafastbert.module}
    if type(layer) not in ways:
        raise checks.InputError(f"{source} holds a {type(layer).__name__}, expected a LeafFFF or a PathFFF")
    safetensors.write(out, ways[type(layer)](layer, arguments.prefix))
    return _report(layer, out)


def _report(layer, out, left_out=()):
    """What was written, and what was not."""
    return {
        "out": str(out), "layer": type(layer).__name__, "dtype": str(layer.dtype), "options": layer.options(),
        "shapes": {name: list(array.shape) for name, array in layer.arrays().items()}, "left_out": list(left_out),
    }  # fmt: skip

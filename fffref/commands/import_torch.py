"""`fffref import-torch`: weights from other people's PyTorch modules, and back."""

import pathlib

from .. import checks
from . import shared


def add(commands):
    """Add the command and its options."""
    text = """\
Make a checkpoint of this package of weights that a PyTorch module has saved as safetensors, or the reverse.

Two sources are known. The state dict of fastfeedforward.FFF, the first paper's package, becomes a LeafFFF whose soft
forward pass is that of the module in training. (In evaluation the module forgets its leaves' output biases b2s, this
package does not.) And one FF layer of an UltraFastBERT folder (config.json, model.safetensors) becomes a PathFFF.
PyTorch itself is not needed here; there, write the file with
  from safetensors.torch import save_file; save_file(module.state_dict(), "module.safetensors")"""
    examples = """\
examples:
  fffref import-torch module.safetensors --out leaf.safetensors
  fffref import-torch model.safetensors --prefix head. --activation gelu --out leaf.safetensors
  fffref import-torch leaf.safetensors --back --out module.safetensors
  fffref import-torch ultrafastbert --layer 3 --out path.safetensors
"""
    command = commands.add_parser("import-torch", help="weights of PyTorch modules, and back", description=text,
                                  epilog=examples)  # fmt: skip
    command.add_argument("source", metavar="SOURCE", help="a safetensors file, or with --layer a folder")
    command.add_argument("--out", required=True, metavar="FILE", help="what to write; must not exist yet")
    command.add_argument("--prefix", default="", help="of the names, where the module is part of a larger one")
    command.add_argument("--activation", default=None, metavar="NAME",
                         help="the module's, which no file says: relu (default), gelu, tanh, identity")  # fmt: skip
    way = command.add_mutually_exclusive_group()
    way.add_argument("--back", action="store_true", help="from a LeafFFF checkpoint to the module's state dict")
    way.add_argument("--layer", type=int, metavar="N", help="which layer of an UltraFastBERT, from 0")
    shared.add_common(command, seed=False)
    command.set_defaults(run=run)


def run(arguments):
    """Do it; return the exit status."""
    from .. import files

    source, out = pathlib.Path(arguments.source), pathlib.Path(arguments.out)
    if arguments.layer is not None or arguments.back:
        if arguments.activation is not None:
            raise checks.InputError("--activation is for the state dict of a fastfeedforward.FFF only")
    if arguments.layer is not None and arguments.prefix:
        raise checks.InputError("--prefix is for the state dict of a fastfeedforward.FFF only")
    files.folder(out.parent)
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


def _module(arguments, source, out):
    """State dict to LeafFFF."""
    from ..formats import checkpoints, fastfeedforward

    tensors = fastfeedforward.mapped(source)
    layer = fastfeedforward.leaf_fff(tensors, arguments.activation or "relu", arguments.prefix)
    checkpoints.save(out, layer, info={"imported_from": source.name})
    return _report(layer, out, [name for name in fastfeedforward.STATISTICS if arguments.prefix + name in tensors])


def _layer(arguments, source, out):
    """One FF layer of an UltraFastBERT."""
    from ..formats import checkpoints, ultrafastbert

    arch, tensors = ultrafastbert.load(source)
    layer = ultrafastbert.ff_layer(arch, tensors, arguments.layer)
    checkpoints.save(out, layer, info={"imported_from": source.name, "layer": arguments.layer})
    return _report(layer, out)


def _back(arguments, source, out):
    """LeafFFF to state dict."""
    from .. import LeafFFF
    from ..formats import checkpoints, fastfeedforward

    layer = checkpoints.load(source, LeafFFF).layer
    fastfeedforward.write(out, fastfeedforward.fastfeedforward(layer, arguments.prefix))
    return _report(layer, out)


def _report(layer, out, left_out=()):
    return {
        "out": str(out), "layer": type(layer).__name__, "dtype": str(layer.dtype), "options": layer.options(),
        "shapes": {name: list(array.shape) for name, array in layer.arrays().items()}, "left_out": list(left_out),
    }  # fmt: skip

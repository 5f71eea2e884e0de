"""`fffref evaluate`: test a checkpoint."""

from dataclasses import replace

from . import shared


def add(commands):
    """Add the command and its options."""
    text = """\
Test a checkpoint: accuracy soft and hard, entropy of the choices, use of the leaves.

A tree with entropy near 0 is hard, but look at the leaves used as well: a tree that sends everything to one leaf
has no entropy either."""
    examples = "example:\n  fffref evaluate digits.safetensors --data mnist-small --json\n"
    command = commands.add_parser("evaluate", help="test a checkpoint", description=text, epilog=examples)
    command.add_argument("checkpoint", metavar="FILE", help="what fffref train has written")
    command.add_argument("--temperature", type=float,
                         help="of the soft pass (that of the last epoch of training)")  # fmt: skip
    shared.add_data(command)
    shared.add_common(command, seed=False)
    command.set_defaults(run=run)


def run(arguments):
    """Test a checkpoint; return the exit status."""
    from .. import datasets, training
    from ..formats import checkpoints

    found = checkpoints.load(arguments.checkpoint)
    layer, history = found.layer, found.info.get("history", [])
    choices = training.last_choices(history)
    if arguments.temperature is not None:
        choices = replace(choices, temperature=arguments.temperature)
    data = datasets.load(arguments.data, arguments.data_folder)
    result = training.evaluate(layer, data.x_test.astype(layer.dtype), data.y_test, choices)
    if not arguments.json:
        share = sorted(result["leaf_share"], reverse=True)
        print(f"{type(layer).__name__}: {layer.neurons_stored} neurons stored, {layer.neurons_engaged} engaged")
        print(f"test accuracy: {shared.or_dash(result['soft_accuracy'], 100)} % soft at temperature "
              f"{choices.temperature:.3g}, {shared.or_dash(result['hard_accuracy'], 100)} % hard")  # fmt: skip
        print(f"mean entropy of the choices: {shared.or_dash(result['entropy'], 1, 4)} nats")
        print(f"leaves used: {result['leaves_used']} of {len(share)}; the busiest takes {100 * share[0]:.1f} %")
    return shared.finish(arguments, result | {"temperature": choices.temperature, "smooth_step": choices.smooth_step})

"""The command line: `fffref COMMAND`, each in a module of `commands`. Bad input is one line and exit status 2."""

import sys

from . import __version__
from .commands import count, demo, embed, evaluate, fill_mask, gradcheck, import_torch, lm, reproduce, train
from .commands.shared import Parser

COMMANDS = (demo, train, evaluate, gradcheck, count, reproduce, lm, fill_mask, embed, import_torch)  # the help's order

DESCRIPTION = """\
Fast feedforward networks (FFF) in plain NumPy, to read, to check and to time.

An FFF keeps its neurons in a binary tree: inference walks from the root to one leaf and computes only what lies
on the way. Training is soft (every leaf counts a little), and a loss or a falling temperature makes it hard."""

EXAMPLES = """\
start here:
  fffref demo                                   everything at once, in under a minute, with figures
  fffref train --out digits.safetensors         train a tree on handwritten digits, harden it, save it
  fffref evaluate digits.safetensors            how good, how hard, which leaves are used
  fffref gradcheck --layer leaf --depth 4       is every gradient right?
  fffref count path-fff --depth 11              what is stored, what is engaged, what is computed
"""


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        By default the process's arguments.

    Returns
    -------
    int
        0 if all went well, 1 if a gradient is wrong; bad input leaves with status 2 and one line.
    """
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, TypeError) as error:
        message = str(error).replace("\n", " ")
    except MemoryError:
        message = "this needs more memory than there is; choose smaller sizes"
    except KeyboardInterrupt:
        print(f"\nfffref {arguments.command}: stopped", file=sys.stderr)
        return 130
    print(f"fffref {arguments.command}: {message}", file=sys.stderr)
    return 2


def parser():
    """The parser of all commands."""
    top = Parser(prog="fffref", description=DESCRIPTION, epilog=EXAMPLES)
    top.add_argument("--version", action="version", version=f"fffref {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add(commands)
    return top

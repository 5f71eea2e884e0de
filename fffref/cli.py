"""The command line: `fffref COMMAND`, each in a module of `commands`. Bad input is one line and exit status 2."""

import contextlib
import http.client
import os
import sys
import warnings

from . import __version__, checks
from .commands import (
    conformance,
    count,
    demo,
    embed,
    evaluate,
    fill_mask,
    gradcheck,
    import_torch,
    lm,
    reproduce,
    train,
)  # fmt: skip
from .commands.shared import Parser

# In the order of the help.
COMMANDS = (demo, train, evaluate, gradcheck, count, reproduce, lm, fill_mask, embed, import_torch, conformance)

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
  fffref conformance export vectors             test vectors for your port to another language
"""

CLOSED_PIPE = 141  # what the shell says of a program whose reader has gone, as in `| head -1`


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        By default the process's arguments.

    Returns
    -------
    int
        0 if all went well; 1 if a gradient is wrong; 2, with one line, for bad input and for what the system refuses;
        130 if stopped; 141, silently, if nobody reads what is printed. A mistake of this package is raised, with its
        traceback; so is everything with `--traceback`.
    """
    with contextlib.suppress(AttributeError):  # a word that the terminal's encoding lacks is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(_parsed(argv))
    except SystemExit:  # after a help text, or one line about the arguments
        if failed := _flush():
            return failed
        raise
    return _flush() or status


def _parsed(argv):
    """The arguments; what cannot be printed of a help text ends the process, which not every argparse sees to."""
    try:
        return parser().parse_args(argv)
    except OSError as error:
        sys.exit(_unprinted(error))


def _run(arguments):
    """Run the command; return the exit status. Our warnings are one line each, arithmetic's are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            warnings.showwarning = _show_warning
            return arguments.run(arguments)
    except BrokenPipeError:
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print(f"\nfffref {arguments.command}: stopped", file=sys.stderr)
        return 130
    except (checks.InputError, OSError, MemoryError, http.client.HTTPException) as error:
        if arguments.traceback:
            raise
        print(f"fffref {arguments.command}: {_line(error)}", file=sys.stderr)
        return 2


def _flush():
    """Print what is still to be printed; return the exit status if that fails, or 0."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except OSError as error:
        return _unprinted(error)


def _unprinted(error):
    """Print no more, and say why, but for a reader who has gone; return the exit status."""
    with contextlib.suppress(OSError, ValueError):  # lest Python complain again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    print(f"fffref: cannot print: {_line(error)}", file=sys.stderr)
    return 2


def _show_warning(message, *_):
    print(f"fffref: {_line(message)}", file=sys.stderr)


def _line(error):
    """One line that says what went wrong."""
    if isinstance(error, MemoryError):
        return "this needs more memory than there is; choose smaller sizes"
    return " ".join(str(error).split()) or type(error).__name__


def parser():
    """The parser of all commands."""
    top = Parser(prog="fffref", description=DESCRIPTION, epilog=EXAMPLES)
    top.add_argument("--version", action="version", version=f"fffref {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add(commands)
    return top

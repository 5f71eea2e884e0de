"""Commands run in this process, for the tests of the command line."""

from fffref import cli


def run(capsys, *arguments):
    """Exit status, standard output and standard error of one command."""
    try:
        status = cli.main([str(a) for a in arguments])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys, message, *arguments):
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == "" and err.count("\n") == 1 and message in err, err

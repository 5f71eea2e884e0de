"""What the exercises of the notebooks say of answers."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "notebooks"))
import exercises


def said_of(right, *wrong, name, capsys):
    """The right answer passes, wrong ones are refused; return what is said of each of these."""
    assert exercises.check(name, right) is True
    assert "right" in capsys.readouterr().out
    said = []
    for answer in wrong:
        assert exercises.check(name, answer) is False
        said.append(capsys.readouterr().out)
        assert "not right yet. " in said[-1] and "cannot use" not in said[-1]
    return said

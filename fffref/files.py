"""Files are written to a temporary name and renamed: an interrupted run loses nothing that was there.

A file gets the mode that `open` would have given it: the umask's, or that of the file it replaces. A symbolic link
stays one. What a killed writer left behind is removed by the next one that writes the same file.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import secrets
import socket

from .checks import InputError, shown

LEFTOVER = re.compile(r"\.(?P<name>.*)\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part(\.\w+)?")


def path_of(path):
    """Return `path` as a `pathlib.Path`, `~` expanded; refuse what is no path."""
    try:
        path = pathlib.Path(path)
        if "\0" in str(path):
            raise ValueError("it holds a zero byte")
        return path.expanduser()  # a shell expands ~, but not after --out=
    except (TypeError, ValueError, RuntimeError) as error:  # the last where a user has no home
        raise InputError(f"{shown(path)} is no path: {error}") from error


def folder(path):
    """Return `path` as a folder that exists and can be written to, made if need be; InputError if it cannot."""
    path = path_of(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _new(path / "probe").unlink()  # permissions say less than trying does
        return path
    except OSError as error:
        raise InputError(f"cannot write to the folder {path}: {_why(error)}; choose another one") from error


def writable(path):
    """Return `path` if `replacing` can write there, its folder made: to be told before hours of work.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pathlib.Path
        With `~` expanded.

    Raises
    ------
    InputError
        If its folder cannot be made or written to, its name is too long, or it is no regular file.
    """
    path = path_of(path)
    folder(path.parent)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: it is no regular file; name another")
        with contextlib.suppress(FileNotFoundError):
            # `exists` may hide why a path cannot be: a name that is too long
            path.stat()
    except OSError as error:  # a name that is too long, a circle of links
        raise InputError(f"cannot write {path}: {_why(error)}; choose another name") from error
    return path


@contextlib.contextmanager
def replacing(path):
    """Context: the temporary path to write to, which takes the place of `path` if all went well.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    InputError
        If the system refuses, with its reason. What was there before stays.
    """
    path = writable(path)
    temporary = None
    try:
        target = pathlib.Path(os.path.realpath(path))  # a symbolic link stays, what it leads to is replaced
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)  # before this one is made, which lives
        temporary = _new(target)
        # 0o666 less the umask, as `open` has it, if it is new
        mode = (target if target.exists() else temporary).stat().st_mode & 0o777
        yield temporary
        _settle(temporary, mode)
        os.replace(temporary, target)  # atomic within a file system: the temporary lies in the same folder
    except OSError as error:
        raise InputError(f"cannot write {path}: {_why(error)}; choose another place") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _new(path):
    """An empty file beside `path`, with a name of its own, in the mode that the umask leaves."""
    suffix = path.suffix if len(path.suffix) < 16 else ""
    # host and process: another machine's process cannot be asked
    name = f".{path.name[:40]}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.part{suffix}"
    temporary = path.with_name(name)
    temporary.open("xb").close()  # "x": fails rather than takes a file that is there
    return temporary


def _settle(temporary, mode):
    """Give a finished file its mode, whatever wrote it, and its bytes to the disk; some mounts refuse either."""
    with contextlib.suppress(OSError):
        if temporary.stat().st_mode & 0o777 != mode:
            os.chmod(temporary, mode)
    with contextlib.suppress(OSError), temporary.open("rb") as file:
        os.fsync(file.fileno())  # or a power cut may leave the new name with no content


def _remove_leftovers(path):
    """Remove what writers of `path` on this machine left behind that live no more."""
    for other in path.parent.glob(".*.part*"):
        match = LEFTOVER.fullmatch(other.name)
        # only of this file, of this machine, of the dead
        if match and match["name"] == path.name[:40] and match["host"] == _host() and _dead(int(match["process"])):
            other.unlink(missing_ok=True)


def _dead(process):
    """Whether no process has this number; where that cannot be asked, nobody is dead."""
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):  # no such process, or a number that none can have
        return True
    except OSError:  # somebody else's process
        return False
    return False


def _host():
    """A few characters that stand for this machine."""
    # a short name for a file name, whatever the host is called
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _why(error):
    """The system's reason, in words."""
    return error.strerror or str(error)

"""Files are written to a temporary name and renamed: an interrupted run loses nothing that was there."""

import contextlib
import os
import pathlib
import tempfile


def folder(path):
    """Return `path` as a folder that exists and can be written to, made if need be; ValueError if it cannot."""
    path = pathlib.Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ValueError(f"cannot write to the folder {path}: {error.strerror}; choose another one") from error


@contextlib.contextmanager
def replacing(path):
    """Context: the temporary path to write to, which takes the place of `path` if all went well."""
    path = pathlib.Path(path)
    folder(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        yield pathlib.Path(temporary)
        os.chmod(temporary, 0o644)  # mkstemp keeps it to its owner
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        pathlib.Path(temporary).unlink(missing_ok=True)

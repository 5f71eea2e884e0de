"""Many independent runs, in parallel; the result of each is a line in a file as soon as it ends.

A sweep that was stopped, by Ctrl-C or by the power, goes on where it was: what the file holds is not computed
again. One process writes, however many compute. A run is anything with a `key()`, a string that says what makes
it this run and no other, and a `cost`, about proportional to its time.
"""

import contextlib
import hashlib
import json
import os
import re

from .. import checks, files

try:
    import fcntl
except ImportError:  # Windows: there, two sweeps into one file are not noticed
    fcntl = None

START = b'{"key": "'  # of every line that is ours
ADVICE = "remove the line, or name another file"
ADDRESS = re.compile(r"(?:(?:tcp|tls|ws|wss)://)?(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})")
PATIENCE = 5  # seconds to wait for a scheduler


def sweep(runs, execute, path, jobs=1, scheduler=None, progress=True):
    """Compute what a file of results lacks.

    Parameters
    ----------
    runs : sequence
        Each with `key()` and `cost`; of runs with the same key, the first counts; costly ones start first.
    execute : callable
        From a run to its result, a dict that JSON can hold; must be importable in another process.
    path : path-like
        The file of results, one JSON object a line, each with its run's "key". Appended to.
    jobs : int, at least 1
        Processes on this machine, each with one BLAS thread if there are several.
    scheduler : str, optional
        Address of a Dask scheduler, such as "tcp://192.168.0.1:8786": its workers compute instead. They need this
        package and whatever `execute` reads. What a lost worker was at is computed by another.
    progress : bool or str
        Show a bar with the time left; a string is its label.

    Returns
    -------
    list of dict
        The results, in the order of the runs; of runs with the same key, there is one.

    Raises
    ------
    ValueError
        If the file is damaged or not ours, another sweep writes to it, or the scheduler cannot be reached.
    """
    jobs = checks.integer("jobs", jobs, 1)
    wanted = {}
    for run in runs:
        wanted.setdefault(run.key(), run)  # two tables may ask for the same run
    with _appending(path) as (recorded, append):
        done = {row["key"]: row for row in recorded}  # of several lines with a key, the last
        # costly first: at the end, no core waits for a long one
        left = sorted((run for key, run in wanted.items() if key not in done), key=lambda run: -run.cost)
        finished = sum(run.cost for key, run in wanted.items() if key in done)
        with _bar(progress, finished, finished + sum(run.cost for run in left)) as bar:
            bar.set_postfix_str(f"{len(wanted) - len(left)} of {len(wanted)} runs")
            for key, result in _results(left, execute, jobs, scheduler):
                done[key] = {"key": key} | result
                append(done[key])  # on the disk before the next is waited for
                bar.update(wanted[key].cost)
                bar.set_postfix_str(f"{len(wanted.keys() & done.keys())} of {len(wanted)} runs")
    return [done[key] for key in wanted]


def digest(facts):
    """Sixteen hexadecimal digits of facts, whatever the order of their names: what a run is known by."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def read(path, fields=None):
    """Read a file of results; a last line that was torn off is passed over.

    Parameters
    ----------
    path : path-like
    fields : dict of str to type or tuple of types, optional
        What each result must have, and of which type; also `key`, a string.

    Returns
    -------
    list of dict

    Raises
    ------
    ValueError
        If the file cannot be read, is no file of results, or a line lacks a field: said by number.
    """
    try:
        content = files.path_of(path).read_bytes()
    except OSError as error:
        raise checks.InputError(f"cannot read {path}: {error.strerror}; fffref reproduce table1 makes one") from error
    return _parse(path, content, fields or {})[0]


def _parse(path, content, fields):
    """The results in a file's bytes, and how many of the bytes hold them: what follows is a torn line of ours."""
    *lines, tail = content.split(b"\n")  # tail: what follows the last end of line, as a rule nothing
    rows = [_result(path, number, line, fields) for number, line in enumerate(lines, 1)]
    if not tail:
        return rows, len(content)
    if _is_torn(tail):  # whole bytes end before it: `_appending` cuts there
        return rows, len(content) - len(tail)
    return [*rows, _result(path, len(lines) + 1, tail, fields)], len(content)


def _is_torn(tail):
    """Whether a last line without its end is the beginning of one that `append` writes, and no whole one."""
    if not (tail.startswith(START) or START.startswith(tail)):  # a foreign file is never cut
        return False
    try:
        json.loads(tail)
    except ValueError:
        return True
    return False


def _result(path, number, line, fields):
    """One line as a dict, checked."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise checks.InputError(f"{path}, line {number} is no result: {_short(error)}; {ADVICE}") from error
    if not isinstance(row, dict):
        raise checks.InputError(f"{path}, line {number} is no result: {type(row).__name__} for a record; {ADVICE}")
    for name, kind in ({"key": str} | fields).items():
        if name not in row:
            raise checks.InputError(f"{path}, line {number} is no result: it lacks {name!r}; {ADVICE}")
        if not isinstance(row[name], kind):
            value = _short(repr(row[name]))
            raise checks.InputError(f"{path}, line {number} is no result: {name!r} cannot be {value}; {ADVICE}")
    return row


def _short(value):
    """The beginning of a text: lines of a foreign file can be long."""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."


@contextlib.contextmanager
def _appending(path):
    """Context: the results that a file holds, and the function that adds one for good.

    A line of ours that a crash tore off is cut away first; a file that is not ours is refused, and stays as it is.
    The lock goes with the process, however that ends.
    """
    path = files.path_of(path)
    files.folder(path.parent)
    try:
        handle = path.open("a+b")
    except OSError as error:
        raise checks.InputError(f"cannot write {path}: {error.strerror}; choose another place") from error
    with handle:
        _lock(handle, path)
        handle.seek(0)
        content = handle.read()
        rows, whole = _parse(path, content, {})  # raises before anything is changed
        handle.truncate(whole)  # under the lock, so that nobody else's line is cut
        if whole and content[whole - 1 : whole] != b"\n":  # a last result that lacks its end of line only
            handle.write(b"\n")
            handle.flush()

        def append(row):
            """Write one line, and return when it is on the disk."""
            handle.write(json.dumps(row).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())

        yield rows, append


def _lock(handle, path):
    """Refuse a file that another sweep has open."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise checks.InputError(
                f"another sweep is writing to {path}; wait for it, or choose another file"
            ) from error


def _results(runs, execute, jobs, scheduler):
    """Key and result of each run, in the order in which they end."""
    import joblib  # imported where needed

    # batches of one: a result that waits for others could be lost with them
    parallel = {"return_as": "generator_unordered", "batch_size": 1}
    with _dask(scheduler) if scheduler else _local(jobs):
        yield from joblib.Parallel(**parallel)(joblib.delayed(_keyed)(execute, run) for run in runs)


def _keyed(execute, run):
    """What a worker does: a key and its result."""
    return run.key(), execute(run)  # the key travels along: results come in any order


def _local(jobs):
    """Processes on this machine; threads beside processes would only take the cores from each other."""
    import joblib

    return joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1)


@contextlib.contextmanager
def _dask(scheduler):
    """The workers behind a Dask scheduler."""
    import joblib

    try:
        from distributed import Client
    except ImportError as error:
        raise checks.InputError("--scheduler needs Dask; install it with: pip install 'fffref[cluster]'") from error
    _reach(scheduler)
    try:
        client = Client(scheduler, set_as_default=False, timeout=PATIENCE)  # other code in this process keeps its own
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_scheduler(scheduler, error) from error
    with client, joblib.parallel_config("dask", client=client):
        yield


def _reach(scheduler):
    """Refuse at once an address that is none, or where no scheduler answers: Dask would try for a minute."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from distributed.comm import connect

    parts = ADDRESS.fullmatch(scheduler)
    if parts is None or not 0 < int(parts["port"]) < 65536:
        raise _no_scheduler(scheduler, "an address looks like tcp://192.168.0.1:8786")

    async def greet():
        """Shake hands, and leave."""
        (await asyncio.wait_for(connect(scheduler, timeout=PATIENCE), 2 * PATIENCE)).abort()

    try:
        with ThreadPoolExecutor(1) as thread:  # which has no event loop yet, as a notebook's main thread has
            thread.submit(asyncio.run, greet()).result()
    except (TimeoutError, OSError, ValueError) as error:
        raise _no_scheduler(scheduler, error) from error


def _no_scheduler(scheduler, why):
    """What to raise where Dask cannot be reached."""
    return checks.InputError(f"no Dask scheduler at {scheduler}: {_short(why)}; start one with: dask scheduler")


def _bar(progress, done, total):
    """A bar over cost, so that the time left is right though costly runs come first; or a silent one."""
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left{postfix}"
    label = progress if isinstance(progress, str) else "sweep"
    return tqdm(total=total, initial=done, desc=label, bar_format=form, smoothing=0, disable=not progress)

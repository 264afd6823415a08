"""The compiled reader of plain decimals against Python's own, digit by digit."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats.decimals import read_decimals

DIGITS = st.text("0123456789", min_size=1, max_size=9)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.booleans(), DIGITS, st.none() | DIGITS), min_size=1, max_size=30))
def test_decimals_are_what_float_makes_of_them(numbers):
    words = [f"{'-' * minus}{whole}{'' if rest is None else '.' + rest}" for minus, whole, rest in numbers]
    found = read_decimals("\n".join(words).encode(), 1, np.float64)
    assert found is not None
    assert [struct.pack("<d", value) for value in found[:, 0]] == [struct.pack("<d", float(word)) for word in words]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.floats(1, 4000).map(repr), min_size=3, max_size=30).filter(lambda w: len(w) % 3 == 0))
def test_the_shortest_text_of_a_double_comes_back_as_that_double(words):
    text = "\n".join(" ".join(words[at : at + 3]) for at in range(0, len(words), 3)).encode()
    found = read_decimals(text, 3, np.float64)
    assert found is not None
    assert found.ravel().tolist() == [float(word) for word in words]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(-(10**17), 10**17), min_size=1, max_size=20))
def test_whole_numbers_are_what_int_makes_of_them(numbers):
    found = read_decimals("\r\n".join(map(str, numbers)).encode(), 1, np.int64)
    assert found is not None
    assert found[:, 0].tolist() == numbers


@pytest.mark.parametrize(
    "text",
    [
        b"1e5",
        b"nan",
        b"1.2.3",
        b"1 2",
        b"+1",
        b"--1",
        b"1,",
        b"",
        b"\n",
        b"1\n\n2",
        b"1234567890123456789",
        b".",
        b"1x",
    ],
)
def test_anything_else_is_left_to_another_reader(text):
    assert read_decimals(text, 1, np.float64) is None


def test_a_point_is_no_whole_number():
    assert read_decimals(b"3.0", 1, np.int64) is None

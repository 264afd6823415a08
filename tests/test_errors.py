"""Every error is caught as this project's, as the builtin that callers expect, and has the promised exit code."""

from __future__ import annotations

import pickle

import pytest

import msl_store as msl
from msl_store import errors

PROMISED = {
    errors.MSLError: (Exception, 1),
    errors.UsageError: (ValueError, 2),
    errors.BusyError: (RuntimeError, 2),
    errors.MissingError: (LookupError, 3),
    errors.NetworkError: (ConnectionError, 4),
    errors.IntegrityError: (ValueError, 5),
    errors.FormatError: (errors.IntegrityError, 5),
}


def test_the_table_is_complete():
    assert {kind for kind in vars(errors).values() if isinstance(kind, type)} == set(PROMISED)


@pytest.mark.parametrize("kind", PROMISED, ids=lambda kind: kind.__name__)
def test_an_error_has_its_base_code_message_and_public_name(kind):
    base, code = PROMISED[kind]
    error = kind("part3.zip: 920/raw_mesh.off: what was wrong; what to do")
    assert isinstance(error, errors.MSLError)
    assert isinstance(error, base)
    assert error.exit_code == code
    assert str(error) == "part3.zip: 920/raw_mesh.off: what was wrong; what to do"
    assert getattr(msl, kind.__name__) is kind


@pytest.mark.parametrize("kind", PROMISED, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_from_another_process(kind):
    again = pickle.loads(pickle.dumps(kind("message")))
    assert (type(again), str(again)) == (kind, "message")


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'msl_store' has no attribute 'opne'; it has BusyError, "):
        _ = msl.opne
    assert dir(msl) == sorted(msl.__all__, key=msl.__all__.index)
    assert all(getattr(msl, name) is not None for name in msl.__all__)

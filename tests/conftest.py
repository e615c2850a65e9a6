"""Shared fixtures. The suite runs at one instruction-set level, the one NNFAST_ISA selects; CI repeats it at each."""
import numpy as np
import pytest


@pytest.fixture
def rng(request):
    """Random numbers that are the same in every run of a test and different between tests."""
    import zlib

    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)

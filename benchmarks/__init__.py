"""Benchmarks: nnfast against NumPy, PyTorch, JAX and scikit-learn on the same cores.

Run ``python -m benchmarks mlp`` from the repository's root (``--help`` lists the options). Each competitor lives in one
file (``nnfast_mlp.py``, ``numpy_mlp.py``, ...) and runs in one process; a competitor that is not installed is skipped.
"""

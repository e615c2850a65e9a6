"""Benchmarks: nnfast against NumPy, PyTorch, JAX and scikit-learn on the same cores.

Run ``python -m benchmarks mlp`` (or ``cnn``, ``models``, ``conv``, ``estimators``, ``accuracy``; ``--help`` lists the
options) from the repository's root. A suite is one file: what it measures and what it prints. Each competitor has one
file for stacks of layers (``nnfast_net.py``, ``numpy_net.py``, ...), one for other networks (``nnfast_models.py``, ...)
and one for single operations (``nnfast_ops.py``, ...), and runs in one process; a competitor that is not installed is
skipped.
``python -m benchmarks.neighbours`` is by itself: it measures nnfast against its own numbers of threads.
"""

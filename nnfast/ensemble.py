"""Many small networks trained side by side, one thread each."""

from concurrent.futures import ThreadPoolExecutor

from ._core.threads import resolve as resolve_threads
from .model import Model


def fit_many(models, x, y, n_threads=None, **arguments):
    """Train several models on the same data at once, each on one thread.

    The result is that of ``model.fit`` for one after the other, bit for bit; nnfast's results do not depend on the
    number of threads. Small networks gain most: their steps are too short to share between threads.

    Parameters
    ----------
    models : list of Model
        Compiled, and all different objects: of different seeds, sizes or settings. Several of one architecture:
        ``[build(seed) for seed in range(64)]``.
    x, y : array, or list or dict of arrays
        As in `Model.fit`.
    n_threads : int, optional
        Models that train at the same time; all processors by default.
    **arguments
        As in `Model.fit`, but for `callbacks` and `verbose`, which is 0.

    Returns
    -------
    list of History

    Raises
    ------
    Exception
        What the first failing model raised, when all have ended.

    Examples
    --------
    >>> import nnfast as nf
    >>> (x, y), (x_test, y_test) = nf.datasets.digits()
    >>> def build(seed):
    ...     model = nf.Sequential([nf.Dense(16, activation="relu"), nf.Dense(10, activation="softmax")], seed=seed)
    ...     model.compile(nf.Adam(0.01), "cross_entropy", n_threads=1)
    ...     return model
    >>> models = [build(seed) for seed in range(4)]
    >>> histories = nf.fit_many(models, x, y, epochs=10)
    >>> mean = sum(model.predict(x_test) for model in models) / 4
    >>> bool((mean.argmax(axis=1) == y_test).mean() > 0.9)
    True
    """
    if isinstance(models, Model):
        raise TypeError("fit_many: expected a list of models, got one; train it with model.fit")
    models = list(models)
    for i, model in enumerate(models):
        if not isinstance(model, Model):
            raise TypeError(f"fit_many: models must be nnfast models, entry {i} is {type(model).__name__}")
        if not model.compiled:
            raise ValueError(f"fit_many: model {i} is not compiled; call model.compile(optimizer, loss) first")
        if any(model is other for other in models[:i]):
            raise ValueError(f"fit_many: model {i} is in the list twice; use model.clone()")
    for name in ("callbacks", "verbose"):
        if name in arguments:
            raise TypeError(f"fit_many: {name} belongs to one model; train that one with model.fit")
    workers = min(resolve_threads(n_threads), max(1, len(models)))

    def fit(model):
        settings = model._settings
        model._use_threads(1)
        try:
            return model.fit(x, y, verbose=0, **arguments)
        finally:
            model._use_threads(settings.n_threads)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(fit, model) for model in models]
    return [future.result() for future in futures]

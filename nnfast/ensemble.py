"""Many small networks side by side: trained, one thread each, and asked for one sample each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ._core.threads import resolve as resolve_threads
from .model import Model, model_seed

if TYPE_CHECKING:
    from .callbacks import History
    from .typing import Array, ArrayLike, Data, Source


@overload
def fit_many(models: Iterable[Model], x: Source, y: Data | None = None, n_threads: int | None = None,
             model: None = None, **arguments: Any) -> list[History]: ...
@overload
def fit_many(models: Iterable[int], x: Source, y: Data | None = None, n_threads: int | None = None, *,
             model: Model, **arguments: Any) -> list[Model]: ...


def fit_many(models: Iterable[Model] | Iterable[int], x: Source, y: Data | None = None,
             n_threads: int | None = None, model: Model | None = None,
             **arguments: Any) -> list[History] | list[Model]:
    """Train several models on the same data at once, each on one thread.

    The result is that of ``model.fit`` for one after the other, bit for bit; nnfast's results do not depend on the
    number of threads. Small networks gain most: their steps are too short to share between threads.

    Parameters
    ----------
    models : list of Model, or of int
        Compiled, and all different objects: of different seeds, sizes or settings. Or seeds, such as ``range(64)``:
        for each, a copy of `model` is trained that begins with the weights of that seed (`Model.clone`).
    x, y
        As in `Model.fit`; not a generator, which only one of the models could use.
    n_threads : int, optional
        Models that train at the same time; all processors by default.
    model : Model, optional
        Compiled; what seeds are the seeds of. It stays as it is.
    **arguments
        As in `Model.fit`, but for `callbacks` and `verbose`, which is 0.

    Returns
    -------
    list of History, or of Model
        What `fit` returned for each model; of seeds the trained models, each with its ``history``.

    Raises
    ------
    Exception
        What the first failing model raised, when all have ended, with a note that says which it is.
    KeyboardInterrupt
        After Ctrl-C; the models that were being trained keep the weights reached, the others are as they were.

    Examples
    --------
    >>> import nnfast as nf
    >>> (x, y), (x_test, y_test) = nf.datasets.digits()
    >>> model = nf.Sequential([nf.Dense(16, activation="relu"), nf.Dense(10, activation="softmax")])
    >>> model.compile(nf.Adam(0.01), "cross_entropy")
    >>> models = nf.fit_many(range(4), x, y, model=model, epochs=10)
    >>> mean = sum(model.predict(x_test) for model in models) / 4
    >>> bool((mean.argmax(axis=1) == y_test).mean() > 0.9)
    True
    """
    entries: list[Any] = list_of_models("fit_many", models) if model is None else seeds_of(model, models)
    check_compiled({f"model {i}": entry for i, entry in enumerate(entries)} if model is None else {"model": model})
    for name in ("callbacks", "verbose"):
        if name in arguments:
            raise TypeError(f"fit_many: {name} belongs to one model; train that one with model.fit")
    validation = arguments.get("validation_data")
    if isinstance(validation, (tuple, list)) and validation:
        validation = validation[0]
    for name, source in (("x", x), ("validation_data", validation)):
        if len(entries) > 1 and hasattr(source, "__next__"):
            raise TypeError(f"fit_many: {name}: {type(source).__name__} is used up after one pass, and there are "
                            f"{len(entries)} models; give a function that returns a new one, or arrays")
    workers = min(resolve_threads(n_threads), len(entries))
    waiting: SimpleQueue[int | None] = SimpleQueue()
    for i in (*range(len(entries)), *[None] * workers):
        waiting.put(i)
    results: list[Any] = [None] * len(entries)
    errors: dict[int, BaseException] = {}
    running: set[Model] = set()
    stopped = False

    def fit(i):
        entry = entries[i]
        # A copy is made here, by the thread that trains it: Python's part of one runs while others compute.
        new = entry if model is None else model.clone(seed=entry)
        threads = new._settings.n_threads
        new._use_threads(1)
        running.add(new)
        try:
            # Asked after `add`: who stops all looks there after saying so.
            if not stopped:
                history = new.fit(x, y, verbose=0, **arguments)
                return history if model is None else new
        except Exception as error:
            error.add_note(f"fit_many: model {i}, {entry.name!r}" if model is None else f"fit_many: seed {entry}")
            raise
        finally:
            new._use_threads(threads)
            running.discard(new)

    def work():
        for i in iter(waiting.get, None):
            try:
                results[i] = None if stopped else fit(i)
            except BaseException as error:
                errors[i] = error

    threads = [threading.Thread(target=work, name=f"fit_many {i}") for i in range(workers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            # Again and again: a signal that comes when a wait is about to begin does not end it.
            while thread.is_alive():
                thread.join(0.1)
    except BaseException:       # Ctrl-C, of which only this thread hears: anywhere above, and perhaps again below
        stopped = True
        while True:
            try:
                while running:
                    for one in list(running):
                        one._interrupt()
                    time.sleep(0.01)        # and again: a fit may have been about to begin
                break
            except KeyboardInterrupt:
                pass
        for entry in entries if model is None else []:
            entry._interrupted = False
        raise
    if errors:
        raise errors[min(errors)]
    return results


def predict_many(models: Iterable[Model], x: Array | Iterable[ArrayLike]) -> Array | list[Any]:
    """Outputs of several models for one sample each, as of an agent's policies in one step of their environments.

    The result is that of ``model.predict(x[i:i + 1])[0]`` for each.

    Parameters
    ----------
    models : list of Model
        Of one input each. One model may be in the list several times.
    x : array (models, ...), or list of arrays
        A sample for each model, without a batch axis. An array of the models' own dtype is read in place.

    Returns
    -------
    ndarray (models, ...), or a list if the outputs differ in shape or a model has several

    Raises
    ------
    ValueError, TypeError
        For samples that do not fit the models, in number or in shape.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> policies = [nf.Sequential([nf.Dense(64, activation="relu"), nf.Dense(2, activation="softmax")],
    ...                           input_shape=(4,), seed=seed) for seed in range(8)]
    >>> nf.predict_many(policies, np.zeros((8, 4), np.float32)).shape
    (8, 2)
    """
    models, samples = list_of_models("predict_many", models), list(x)
    if len(samples) != len(models):
        raise ValueError(f"predict_many: expected a sample for each of {len(models)} models, got {len(samples)}")
    outputs = []
    for i, (model, sample) in enumerate(zip(models, samples)):
        try:
            output = model.predict(np.asarray(sample)[np.newaxis])
        except (ValueError, TypeError) as error:
            raise type(error)(f"predict_many: model {i}: {error}") from None
        outputs.append([y[0] for y in output] if isinstance(output, list) else output[0])
    shapes = {None if isinstance(output, list) else output.shape for output in outputs}
    return np.array(outputs) if len(shapes) == 1 and None not in shapes else outputs


def check_compiled(models: dict[str, Model]) -> None:
    """An error for the first, by its name, that cannot be trained beside the others."""
    seen: list[Model] = []
    for name, model in models.items():
        if not model.compiled:
            raise ValueError(f"fit_many: {name} is not compiled; call model.compile(optimizer, loss) first")
        if any(model is other for other in seen):
            raise ValueError(f"fit_many: {name} is in the list twice; use model.clone()")
        seen.append(model)


def seeds_of(model: Model, seeds: Iterable[Any]) -> list[int]:
    """The seeds as a list; an error names the first entry that is none."""
    if not isinstance(model, Model):
        raise TypeError(f"fit_many: model must be an nnfast model, got {type(model).__name__}")
    if not isinstance(seeds, Iterable):
        raise TypeError(f"fit_many: with model=, expected a list of seeds, got {type(seeds).__name__}")
    return [model_seed(f"fit_many: entry {i}", seed) for i, seed in enumerate(seeds)]


def list_of_models(who: str, models: Iterable[Any]) -> list[Model]:
    """The models as a list; an error names the first entry that is none."""
    try:
        entries = iter(models)
    except TypeError:
        got = "one" if isinstance(models, Model) else type(models).__name__
        raise TypeError(f"{who}: expected a list of models, got {got}") from None
    models = list(entries)
    for i, model in enumerate(models):
        if not isinstance(model, Model):
            hint = "; seeds need model=, whose seeds they are" if who == "fit_many" and isinstance(model, int) else ""
            raise TypeError(f"{who}: models must be nnfast models, entry {i} is {type(model).__name__}{hint}")
    return models

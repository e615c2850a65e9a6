"""Threads, processes and signals: the same bits for any number of threads, side by side, after fork; Ctrl-C."""
import concurrent.futures
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from child import evaluate

import nnfast as nf
from nnfast._core import pace, threads

TIME_LIMIT = 60     # seconds: a run takes well under one; a deadlock is a failure, not a hang


def data(n=2000, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 20)).astype(dtype)
    y = (x @ rng.normal(size=(20, 5))).argmax(axis=1)
    return x, y


def network(n_threads=None, dtype="float32", hidden=48, dropout=0.0, optimizer="adam"):
    layers = [nf.Dense(hidden, activation="gelu"), nf.Dropout(dropout), nf.Dense(hidden, activation="relu"),
              nf.Dense(5, activation="softmax")]
    model = nf.Sequential(layers, input_shape=(20,), dtype=dtype, seed=3)
    model.compile(optimizer=optimizer, loss="cross_entropy", metrics=["accuracy"], n_threads=n_threads)
    return model


def bits(model):
    return {name: array.tobytes() for name, array in model.parameters.items()}


def trained(n_threads=None, batch_size=64, epochs=3, weighted=False, **arguments):
    """Everything that a training run and the use of its model leave behind."""
    dtype = arguments.get("dtype", "float32")
    x, y = data(arguments.pop("n", 2000), dtype=dtype)
    weight = np.linspace(0.5, 2.0, len(x)) if weighted else None
    model = network(n_threads, **arguments)
    history = model.fit(x, y, batch_size=batch_size, epochs=epochs, sample_weight=weight, verbose=0)
    return bits(model), history.history, model.predict(x[:300]).tobytes(), model.evaluate(x, y)


@pytest.mark.parametrize("arguments", [
    {},
    {"dtype": "float64"},
    {"dropout": 0.3},
    {"weighted": True},
    {"batch_size": 1, "n": 150},
    {"batch_size": 37},
    {"batch_size": 5000},
    {"hidden": 600, "batch_size": 256, "n": 520, "epochs": 1},
    {"hidden": 600, "batch_size": 256, "n": 520, "epochs": 1, "optimizer": nf.SGD(0.01, momentum=0.9, clip_norm=0.1)},
    {"optimizer": nf.Adam(1e-3, clip_norm=0.5)},
    {"optimizer": nf.SGD(0.05, clip_value=0.01)},
], ids=lambda a: ",".join(f"{k}={v}" for k, v in a.items())[:60] or "plain")
def test_same_bits_for_any_number_of_threads(arguments):
    one = trained(1, **arguments)
    for n_threads in (2, 3):
        assert trained(n_threads, **arguments) == one
    assert trained(2, **arguments) == one, "differs from run to run"


def test_the_norm_is_of_the_gradient_alone():
    """A bias's tile, with padding, follows others at some of these sizes: nothing of them may be in it."""
    rng = np.random.default_rng(0)
    for inputs in range(60, 77, 2):
        x, y = rng.standard_normal((16, inputs)).astype(np.float32), rng.integers(0, 3, 16)
        results = []
        for n_threads in (1, 2, 3):
            layers = [nf.Dense(17, activation="relu"), nf.Dense(64, activation="relu"),
                      nf.Dense(3, activation="softmax")]
            model = nf.Sequential(layers, input_shape=(inputs,), seed=1)
            model.compile(nf.SGD(1.0, clip_norm=0.01), "cross_entropy", n_threads=n_threads)
            model.fit(x, y, batch_size=16, epochs=3, verbose=0)
            results.append(bits(model))
        assert results[0] == results[1] == results[2], inputs


def test_sums_over_all_tiles_keep_their_order():
    """The norm and the penalty are summed in double precision: only a network of doubles shows all of their bits."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 200)), rng.standard_normal((64, 4))
    results = []
    for n_threads in (1, 2, 3):
        model = nf.Sequential([nf.Dense(300, activation="tanh", kernel_regularizer=nf.L1L2(1e-3, 1e-2)), nf.Dense(4)],
                              input_shape=(200,), seed=1, dtype="float64")
        losses = []
        for clip_norm in (0.01, None):
            model.compile(nf.SGD(0.1, clip_norm=clip_norm), "squared_error", n_threads=n_threads)
            losses.append(model.fit(x, y, batch_size=16, epochs=3, verbose=0).history["loss"])
        results.append((losses, bits(model)))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_that_are_copied_for_a_gradient(dtype):
    """One thread or two copy the columns of x that many panels of dW are made of where tiles are low; three, which have
    fewer each, and larger batches read them in place. Each step has other values there."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((450, 300)).astype(dtype), rng.standard_normal((450, 1100)).astype(dtype)
    for batch_size, optimizer in ((150, nf.SGD(0.01)), (450, nf.Adam(clip_norm=1.0))):
        results = []
        for n_threads in (1, 2, 3):
            layers = [nf.Dense(530, activation="tanh"), nf.Dense(1100)]
            model = nf.Sequential(layers, input_shape=(300,), seed=1, dtype=dtype)
            model.compile(optimizer, "squared_error", n_threads=n_threads)
            model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0)
            results.append(bits(model))
        assert results[0] == results[1] == results[2], batch_size
        _, grads = model.gradients(x[:150], y[:150])
        w = {name: array.astype(np.float64) for name, array in model.parameters.items()}
        h = np.tanh(x[:150] @ w["dense/kernel"] + w["dense/bias"])
        dy = 2 * (h @ w["dense_1/kernel"] + w["dense_1/bias"] - y[:150]) / 150
        dh = dy @ w["dense_1/kernel"].T * (1 - h**2)
        for name, expected in (("dense_1/kernel", h.T @ dy), ("dense/kernel", x[:150].T @ dh)):
            atol = 1000 * np.finfo(dtype).eps * np.abs(expected).max()
            np.testing.assert_allclose(grads[name], expected, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("name", ["kernel rows", "winograd", "all taps", "one tap"])
def test_norm_and_penalty_do_not_depend_on_how_a_kernel_is_cut(name):
    """Tiles of convolutions' kernels are smaller for more threads."""
    layers = {
        "kernel rows": lambda: nf.Conv2D(64, 5, kernel_regularizer=nf.L1(1e-3)),
        "winograd": lambda: nf.Conv2D(48, 3, kernel_regularizer=nf.L1L2(1e-3, 1e-2)),
        "all taps": lambda: nf.Conv2D(8, 3, dilation=2, kernel_regularizer=nf.L2(0.01)),
        "one tap": lambda: nf.Conv2D(37, 5, kernel_regularizer=nf.L2(0.01)),
    }
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 12, 12, 96)), rng.standard_normal((5, 2))
    results = []
    for n_threads in (1, 2, 3, 8):
        first, then = nf.Conv2D(3 if name == "kernel rows" else 96, 1), layers[name]()
        model = nf.Sequential([first, then, nf.GlobalAvgPool(), nf.Dense(2)], input_shape=(12, 12, 96), seed=1,
                              dtype="float64")
        losses = []
        for clip_norm in (0.01, None):
            model.compile(nf.SGD(0.1, clip_norm=clip_norm), "squared_error", n_threads=n_threads)
            losses.append(model.fit(x, y, batch_size=4, epochs=3, verbose=0).history["loss"])
        results.append((losses, bits(model)))
    assert results[0] == results[1] == results[2] == results[3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [
    nf.Dense(37), nf.Conv2D(37, 3), nf.Conv2D(37, 5), nf.Conv2D(67, 1), nf.Conv2D(5, 3, dilation=2),
    nf.Conv2D(78, 5, groups=2), nf.DepthwiseConv2D(3, depth_multiplier=2), nf.Conv1D(37, 4),
    nf.Conv2DTranspose(37, 3, stride=2), nf.LayerNorm(),
], ids=repr)
def test_a_step_is_as_long_as_its_clipped_gradient(layer, dtype):
    """Kernels are padded to whole vectors: what the padding holds is zero, for any kind of gradient."""
    rng = np.random.default_rng(0)
    shape = (40,) if isinstance(layer, nf.Dense) else (12, 66) if isinstance(layer, nf.Conv1D) else (8, 8, 66)
    # Other gradients use the same memory, in turns.
    layers = [nf.Conv2D(66, 5, padding="same", activation="tanh")] if len(shape) == 3 else []
    layers += [layer.copy(), *([nf.GlobalAvgPool()] if len(shape) == 3 else [nf.Flatten()]), nf.Dense(3)]
    x, y = rng.standard_normal((16, *shape)), rng.standard_normal((16, 3))
    for n_threads in (1, 3):
        model = nf.Sequential(layers, input_shape=shape, dtype=dtype, seed=1).clone()
        model.compile(nf.SGD(1.0, clip_norm=1e-2), "squared_error", n_threads=n_threads)
        for _ in range(3):
            before = model.get_weights()
            model.train_on_batch(x, y)
        step = sum(np.square(a.astype(np.float64) - b).sum() for a, b in zip(model.get_weights(), before))
        np.testing.assert_allclose(np.sqrt(step), 1e-2, rtol=1e-3 if dtype == "float32" else 1e-5)


def test_losses_with_weights_and_penalties_do_not_depend_on_who_is_late():
    x, y = data(400)
    weight = np.random.default_rng(0).uniform(0.1, 3.0, len(x))
    results = []
    for n_threads in (1, 2, 4, 4, 4):
        model = nf.Sequential([nf.Dense(16, kernel_regularizer=nf.L2(0.1)), nf.Dense(5, activation="softmax")], seed=0,
                              input_shape=(20,))
        model.compile("sgd", "cross_entropy", n_threads=n_threads)
        history = model.fit(x, y, batch_size=16, epochs=6, sample_weight=weight, verbose=0)
        results.append((history.history, model.evaluate(x, y, sample_weight=weight, batch_size=16)))
    assert all(result == results[0] for result in results)


def test_same_bits_of_everything_else():
    x, y = data(600)
    results = []
    for n_threads in (1, 2, 3):
        model = network(n_threads, hidden=300)
        loss, grads = model.gradients(x, y)
        vjp, dx = model.vjp(x, np.ones((600, 5), np.float32))
        results.append([loss, *(g.tobytes() for g in grads.values()), model.input_gradient(x, y).tobytes(),
                        model.per_sample_loss(x, y).tobytes(), *(g.tobytes() for g in vjp.values()), dx.tobytes()])
    assert results[0] == results[1] == results[2]


def run_in_threads(functions):
    """Runs them at once; returns their results, re-raises what they raise, and fails when one does not end."""
    with concurrent.futures.ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(function) for function in functions]
        done, late = concurrent.futures.wait(futures, timeout=TIME_LIMIT)
        assert not late
        return [future.result() for future in futures]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_two_models_train_at_once(n_threads):
    alone = [trained(n_threads, hidden=h) for h in (48, 300)]
    together = run_in_threads([lambda h=h: trained(n_threads, hidden=h) for h in (48, 300)])
    assert together == alone


def test_predict_from_a_thread_pool():
    """One model, many Python threads: each gets its own rows' answers."""
    x, y = data(4000)
    model = network()
    model.fit(x, y, epochs=1, verbose=0)
    parts = np.array_split(x, 16)
    expected = [model.predict(part).tobytes() for part in parts]
    for _ in range(5):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert [p.tobytes() for p in pool.map(model.predict, parts, timeout=TIME_LIMIT)] == expected


def test_a_model_is_whole_after_use_from_two_threads():
    """Training one model from two threads at once is the user's race, but must neither crash nor hang."""
    x, y = data()
    model = network()

    def work():
        try:
            model.fit(x, y, epochs=2, verbose=0)
        except RuntimeError:
            pass        # the model may refuse while it is busy

    run_in_threads([work, work])
    assert all(np.isfinite(w).all() for w in model.parameters.values())
    model.fit(x, y, epochs=1, verbose=0)


# --- processes -------------------------------------------------------------------------------------------------------

def _train_and_send(connection, n_threads):
    connection.send(trained(n_threads))
    connection.close()


def train_in_child(method, n_threads):
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_train_and_send, args=(theirs, n_threads))
    child.start()
    theirs.close()
    try:
        assert ours.poll(TIME_LIMIT), f"a {method}ed child did not end"
        result = ours.recv()
        child.join(TIME_LIMIT)
        assert child.exitcode == 0
        return result
    finally:
        if child.is_alive():
            child.kill()
        child.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")       # JAX's, where other libraries load it
@pytest.mark.parametrize("n_threads", [None, 2])
def test_forked_child_trains(n_threads):
    expected = trained(n_threads)       # the parent's pool of threads exists now; the child has none of them
    assert train_in_child("fork", n_threads) == expected
    assert trained(n_threads) == expected, "the parent's threads do not survive its child"


def test_spawned_child_trains():
    assert train_in_child("spawn", 2) == trained(2)


COUNT_THREADS = textwrap.dedent("""
    import os
    import numpy as np, nnfast as nf
    model = nf.Sequential([nf.Dense(512, activation="relu"), nf.Dense(512)], input_shape=(512,), seed=0)
    model.compile("sgd", "squared_error", n_threads={n_threads})
    before = len(os.listdir("/proc/self/task"))
    model.fit(np.zeros((512, 512), "f"), np.zeros((512, 512), "f"), batch_size=128, epochs=2, verbose=0)
    print(len(os.listdir("/proc/self/task")) - before)
""")


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads through /proc")
def test_number_of_threads():
    openmp = nf.config.config()["openmp"]
    assert evaluate(COUNT_THREADS.format(n_threads=None), OMP_NUM_THREADS="1") == "0\n"
    assert evaluate(COUNT_THREADS.format(n_threads=1), OMP_NUM_THREADS="4") == "0\n"
    assert evaluate(COUNT_THREADS.format(n_threads=3), OMP_NUM_THREADS="1") == ("2\n" if openmp else "0\n")


def test_the_process_keeps_its_floating_point_mode():
    """Subnormals are flushed inside the kernels' threads only: NumPy after us must see them."""
    assert evaluate(textwrap.dedent("""
        import numpy as np, nnfast as nf
        x, y = np.random.default_rng(0).normal(size=(500, 20)).astype("f"), np.zeros(500, int)
        model = nf.Sequential([nf.Dense(5, activation="softmax")], input_shape=(20,), seed=0)
        model.compile("sgd", "cross_entropy", n_threads=2)
        model.fit(x, y, epochs=2, verbose=0)
        model.predict(x)
        nf.functional.relu(x, n_threads=2)
        nf.functional.dense(x, np.ones((20, 300), "f"), n_threads=2)
        print((np.full(4, 1e-40, "f") * np.float32(0.5) != 0).all() and (np.full(4, 1e-310) * 0.5 != 0).all())
    """)) == "True\n"


def test_python_runs_in_the_callers_floating_point_mode():
    """Layers, losses and signal handlers, and the threads that they start, see subnormals."""
    assert evaluate(textwrap.dedent("""
        import signal, time
        from concurrent.futures import ThreadPoolExecutor
        import numpy as np, nnfast as nf
        half = lambda *_: float("2.2250738585072014e-308") / 2
        seen, pool = [], ThreadPoolExecutor(1)
        def forward(x):
            seen.append(half())
            pool.submit(half).result()      # its thread is started here
            return x.copy()
        def handle(*_):
            seen.append(half())
            signal.setitimer(signal.ITIMER_REAL, 0)
        model = nf.Sequential([nf.Lambda(forward, lambda dy, x, y: dy), nf.Dense(1)], input_shape=(2,))
        model.predict(np.ones((1, 2)))
        plain = nf.Sequential([nf.Dense(64), nf.Dense(1)], input_shape=(2,))
        plain.compile("sgd", "squared_error")
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, handle)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            end = time.monotonic() + 60
            while len(seen) < 2 and time.monotonic() < end:
                plain.fit(np.ones((5000, 2)), np.ones((5000, 1)), epochs=20, verbose=0)
            assert len(seen) > 1
        print(all(seen) and pool.submit(half).result() > 0)
    """)) == "True\n"


def test_weights_are_read_between_two_steps():
    x = nf.Input((1,))
    outputs = [nf.Dense(1, use_bias=False, kernel_initializer="zeros", name=name)(x) for name in ("a", "b")]
    model = nf.Model(x, outputs)
    model.compile(nf.Adam(1e-4), ["squared_error"] * 2)
    one, stop = np.ones((4, 1), np.float32), threading.Event()

    def train():
        while not stop.is_set():
            model.train_on_batch(one, [one, one])

    def read():
        try:
            for _ in range(3000):
                a, b = model.get_weights()
                assert a == b
                a_m, a_v, b_m, b_v = model.optimizer_state().values()
                assert a_m == b_m and a_v == b_v
        finally:
            stop.set()

    run_in_threads([train, read])


def test_two_threads_make_one_plan(monkeypatch):
    model = nf.Sequential([nf.Dense(3)], input_shape=(20,))
    make, made = nf.Model._make_plan, []

    def slowly(self, *arguments):
        made.append(self)
        time.sleep(0.05)
        return make(self, *arguments)

    monkeypatch.setattr(nf.Model, "_make_plan", slowly)
    run_in_threads([lambda: model.predict(np.ones((4, 20)))] * 2)
    assert len(made) == 1


FORKED = textwrap.dedent("""
    import os, signal, threading, time
    import numpy as np, nnfast as nf
    model = nf.Sequential([nf.Dense(64, activation="relu"), nf.Dense(1)], input_shape=(8,), seed=0)
    model.compile("sgd", "squared_error", n_threads=1)
    x, y = np.ones((400_000, 8), "f"), np.ones((400_000, 1), "f")
    model.predict(x[:1])
    thread = threading.Thread(target=lambda: {call})
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            model.predict(x[:2])
            text = "predicted"
        except RuntimeError as error:
            text = str(error)
        print(text, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os._exit(0)
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("call, text", [
    ("model.fit(x, y, epochs=1000, batch_size=8, verbose=0)", "forked while another thread trained the model"),
    ("[model.evaluate(x, y) for _ in range(1000)]", "predicted"),
])
def test_a_child_does_not_wait_for_its_parents_threads(call, text):
    assert text in evaluate(FORKED.format(call=call))


# --- one call per epoch ----------------------------------------------------------------------------------------------

def count_python_events(function):
    """Python and C calls seen by the profiler while `function` runs, in all threads."""
    count = 0

    def hook(frame, event, argument):
        nonlocal count
        count += 1

    gc.disable()    # collections come when they like, and Python functions watch them (hypothesis's does)
    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        function()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        gc.enable()
    return count


def test_no_python_call_per_batch():
    x, y = data(16000)
    model = network(2)

    def fit(n):
        return lambda: model.fit(x[:n], y[:n], batch_size=16, epochs=1, verbose=0)

    fit(16000)()
    few, many = count_python_events(fit(160)), count_python_events(fit(16000))
    assert few > 10, "the profiler saw nothing"
    assert many == few, f"10 batches made {few} calls, 1,000 made {many}"


def test_no_python_call_per_batch_with_several_epochs():
    """An epoch may cost calls, its batches may not."""
    x, y = data(16000)
    model = network(1)
    model.fit(x, y, epochs=1, verbose=0)

    def fit(n, epochs):
        return count_python_events(lambda: model.fit(x[:n], y[:n], batch_size=16, epochs=epochs, verbose=0))

    # How many epochs share a call of the plan depends on the time that they take.
    assert 0 < fit(160, 6) - fit(160, 5) < 100
    assert 0 < fit(16000, 3) - fit(16000, 2) < 100


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------

INTERRUPTED = textwrap.dedent("""
    import sys, time, os, signal
    import numpy as np, nnfast as nf
    rng = np.random.default_rng(0)
    # A million steps: the first epoch does not end before the signal comes.
    x, y = rng.normal(size=(1_000_000, 4)).astype("f"), rng.integers(5, size=1_000_000)
    layers = [nf.Dense(512, activation="relu"), nf.Dense(5, activation="softmax")]
    model = nf.Sequential(layers, input_shape=(4,), seed=0)
    model.compile("adam", "cross_entropy", n_threads={n_threads})
    before = [w.copy() for w in model.get_weights()]
    model.fit(x[:640], y[:640], epochs=1, verbose=0)
    print("fitting", flush=True)
    try:
        model.fit(x, y, batch_size=1, verbose={verbose})
        print("ended before the signal")
    except KeyboardInterrupt:
        stopped = time.time()
        model.fit(x[:640], y[:640], epochs=1, verbose=0)
        weights = model.get_weights()
        assert all(np.isfinite(w).all() for w in weights)
        assert any((a != b).any() for a, b in zip(weights, before))
        assert np.isfinite(model.predict(x[:10])).all()
        print("stopped", stopped, flush=True)
""")


@pytest.mark.skipif(os.name != "posix", reason="signals of a child are sent in another way")
@pytest.mark.parametrize("verbose", [0, 1])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_ctrl_c_stops_fit(n_threads, verbose):
    program = INTERRUPTED.format(n_threads=n_threads, verbose=verbose)
    environment = os.environ | {"PYTHONPATH": str(Path(nf.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-P", "-c", program], env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == "fitting\n", child.stderr.read()
            time.sleep(0.5)
            sent = time.time()
            child.send_signal(signal.SIGINT)
            output, errors = child.communicate(timeout=TIME_LIMIT)
        except BaseException:
            child.kill()
            raise
    assert child.returncode == 0, errors
    word, stopped = output.split()
    assert word == "stopped"
    assert float(stopped) - sent < 1.0


def test_an_error_in_a_callback_leaves_the_model_usable():
    x, y = data(640)

    class Stop(nf.Callback):
        def on_epoch_end(self, epoch, logs):
            raise KeyError("mine")

    model = network(2)
    before = bits(model)
    with pytest.raises(KeyError, match="mine"):
        model.fit(x, y, epochs=5, verbose=0, callbacks=[Stop()])
    assert bits(model) != before
    model.fit(x, y, epochs=1, verbose=0)


@pytest.mark.parametrize("where", ["forward", "backward", "loss"])
def test_no_thread_waits_for_ever_when_a_python_function_raises(where):
    """Some hundred times: it is chance whether one that lags behind sees too early that another has failed."""
    code = textwrap.dedent(f"""
        import numpy as np
        import nnfast as nf

        def raise_if(name):
            if name == {where!r}:
                raise KeyError("mine")

        def forward(x):
            raise_if("forward")
            return x

        def backward(dy, x, y):
            raise_if("backward")
            return dy

        def loss(t, y):
            raise_if("loss")
            return ((y - t) ** 2).sum(axis=1), 2 * (y - t)

        model = nf.Sequential([nf.Dense(8), nf.Lambda(forward, backward), nf.Dense(2)], input_shape=(8,), seed=0)
        model.compile("sgd", loss, n_threads=4)
        for i in range(400):
            try:
                model.train_on_batch(np.ones((8, 8)), np.ones((8, 2)))
            except KeyError:
                continue
            raise SystemExit("no error came")
    """)
    evaluate(code)


@pytest.mark.parametrize("what", ["fit", "evaluate", "clip_norm"])
def test_a_team_that_parts_and_meets_again_has_the_same_bits(what):
    """Where one thread is faster than a team, plans go on with one; they try both now and then."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12000, 64)).astype("f"), rng.integers(0, 10, 12000)
    results, regrouped = [], 0
    pace.hurry(1e-4)
    try:
        for n_threads in (1, None):
            model = nf.Sequential([nf.Dense(200, activation="relu"), nf.BatchNorm(), nf.Dropout(0.2),
                                   nf.Dense(10, activation="softmax")], input_shape=(64,), seed=1)
            model.compile(nf.Adam(nf.schedules.Cosine(0.01, 1000), clip_norm=0.5 if what == "clip_norm" else None),
                          "cross_entropy", metrics=["accuracy"], n_threads=n_threads)
            history = model.fit(x, y, batch_size=100, epochs=2 if what == "evaluate" else 10, verbose=0).history
            if what == "evaluate":
                history = [model.evaluate(x, y, batch_size=100) for _ in range(20)]
            results.append((history, bits(model)))
            regrouped = model._plan.regrouped
    finally:
        pace.hurry(1)
    assert results[0] == results[1]
    assert regrouped > 5 or threads.resolve() == 1


def test_threads_that_openmp_binds_are_counted():
    count = "from nnfast._core import threads; print(threads.resolve())"
    assert evaluate(count, OMP_PROC_BIND="true") == evaluate(count)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads through /proc")
def test_a_plan_has_no_team_while_another_runs():
    """Here within the other; from another thread it would start helpers of its own, too."""
    assert evaluate(textwrap.dedent("""
        import os
        import numpy as np, nnfast as nf
        inner = nf.Sequential([nf.Dense(256), nf.Dense(256)], input_shape=(256,))
        x = np.zeros((4096, 256), "f")

        def forward(values):
            before = len(os.listdir("/proc/self/task"))
            inner.predict(x)
            print(len(os.listdir("/proc/self/task")) - before)
            return values

        outer = nf.Sequential([nf.Lambda(forward, lambda *a: a[0])], input_shape=(2,))
        outer.compile("sgd", "squared_error", n_threads=1)
        outer.predict(np.zeros((1, 2), "f"))
    """)) == "0\n"

"""Networks as C source: compiled without a warning, equal to predict, and touching nothing but their arguments."""
import ctypes
import os
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
from networks import IMAGES, READY, gated, graph, image_net, mlp, residual, statistics

import nnfast as nf
from nnfast.activations import ACTIVATIONS

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a compiler called cc")
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]


def compiler():
    """C compilers here, by name."""
    return [name for name in ("cc", "gcc", "clang") if shutil.which(name)]


def build(path, *flags, cc="cc"):
    """The source compiled to a shared library."""
    library = path.with_suffix(".so")
    done = subprocess.run([cc, *FLAGS, *flags, "-fPIC", "-shared", "-o", library, path, "-lm"], capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return library


def call(library, name, model, xs, weights=None):
    """Outputs for one sample, with guard zones around all arrays."""
    dtype = np.dtype(model.dtype)
    header = library.with_suffix(".h").read_text()
    (size,) = re.findall(rf"#define {name.upper()}_SCRATCH_SIZE (\d+)", header)

    def guarded(size):
        whole = np.full(size + 128, np.nan, dtype)
        return whole, whole[64:-64]

    def pointer(array):
        return ctypes.c_void_p(array.ctypes.data)

    outputs = [guarded(int(np.prod(shape))) for shape in model.output_shapes]
    scratch = guarded(int(size))
    xs = [np.ascontiguousarray(x, dtype) for x in xs]
    before = [x.copy() for x in xs]
    function = ctypes.CDLL(os.fspath(library))[f"{name}_predict"]
    function.restype = None
    function(*([] if weights is None else [pointer(weights)]), *map(pointer, xs),
             *(pointer(inner) for _, inner in outputs), pointer(scratch[1]))
    for whole, _ in (*outputs, scratch):
        assert np.isnan(whole[:64]).all() and np.isnan(whole[-64:]).all(), "wrote outside of an array"
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(xs, before, strict=True))
    return [inner.reshape(shape) for (_, inner), shape in zip(outputs, model.output_shapes, strict=True)]


def equal(model, folder, rng, name="net", cc="cc", **options):
    """Exports, compiles and compares with predict; returns the source."""
    path = folder / f"{name}.c"
    files = nf.export_c(model, path, **options)
    assert files[0] == str(path) and all(os.path.exists(file) for file in files)
    weights = None
    if any(file.endswith(".bin") for file in files):
        weights = np.fromfile(path.with_suffix(".bin"), np.dtype(model.dtype))
    xs = [rng.standard_normal((3, *shape)) for shape in model.input_shapes]
    expected = model.predict(xs if len(xs) > 1 else xs[0])
    expected = expected if isinstance(expected, list) else [expected]
    library = build(path, cc=cc)
    for i in range(3):
        got = call(library, name, model, [x[i] for x in xs], weights)
        for mine, theirs in zip(got, expected, strict=True):
            tolerance = 1e-5 if model.dtype == "float32" else 1e-12
            np.testing.assert_allclose(mine, theirs[i], rtol=0, atol=tolerance * max(1, abs(theirs[i]).max()))
    return path.read_text()


@pytest.mark.parametrize("cc", compiler())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", ["arrays", "file"])
def test_mlp(cc, dtype, weights, tmp_path, rng):
    equal(mlp(dtype=dtype), tmp_path, rng, cc=cc, weights=weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_graph(dtype, tmp_path, rng):
    model = graph(dtype)
    equal(model, tmp_path, rng)
    equal(model, tmp_path, rng, name="other", weights="file")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation(activation, dtype, tmp_path, rng):
    alpha = 0.3 if ACTIVATIONS[activation].alpha is not None else None
    layers = [nf.Rescale(30.0), nf.Activation(activation, alpha), nf.Dense(3, activation=activation)]
    equal(nf.Sequential(layers, input_shape=(5, 4), dtype=dtype), tmp_path, rng)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if ACTIVATIONS[name].elementwise])
def test_what_is_no_number_is_not_hidden(activation, tmp_path):
    model = nf.Sequential([nf.Activation(activation)], input_shape=(6,))
    x = np.array([[np.nan, np.inf, -np.inf, 0, -3e38, 3e38]], np.float32)
    nf.export_c(model, tmp_path / "net.c")
    got, = call(build(tmp_path / "net.c"), "net", model, [x[0]])
    np.testing.assert_allclose(got, model.predict(x)[0], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_images(kind, dtype, data_format, tmp_path, rng):
    equal(statistics(image_net(kind, data_format, dtype), rng), tmp_path, rng)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("layer", [
    lambda: nf.Rescale(1e300), lambda: nf.Rescale(-1e300, 1e-300), lambda: nf.Activation("elu", alpha=1e-46),
    lambda: nf.BatchNorm(epsilon=1e-12, name="norm"),
], ids=["large", "both", "alpha", "norm"])
def test_numbers_that_no_float_holds(layer, tmp_path, rng):
    model = nf.Sequential([layer()], input_shape=(4,))
    if "norm" in [own.name for own in model.layers]:
        model.set_parameters({"norm/gamma": np.float32([1e36, -1e36, 1, 1e36]), "norm/running_variance": np.zeros(4),
                              "norm/running_mean": np.float32([0, 0, 0, 1e30])})
    nf.export_c(model, tmp_path / "net.c")
    x = rng.standard_normal((1, 4)).astype(np.float32)
    (got,) = call(build(tmp_path / "net.c"), "net", model, x)
    np.testing.assert_allclose(got, model.predict(x)[0], rtol=1e-6)


def test_batch_norm_is_folded_where_it_can_be(tmp_path, rng):
    text = equal(statistics(image_net("norm"), rng), tmp_path, rng)
    assert text.count("    net_batch_norm(") == 2       # after relu and after tanh
    x = nf.Input((4,))
    h = nf.Dense(4)(x)
    model = nf.Model(x, nf.Add()([h, nf.BatchNorm()(h)]))       # two readers
    assert equal(statistics(model, rng), tmp_path, rng, name="two").count("    two_batch_norm(") == 1


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_residual_net(data_format, tmp_path, rng):
    equal(statistics(residual(data_format=data_format), rng), tmp_path, rng)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_products(data_format, tmp_path, rng):
    equal(statistics(gated(data_format=data_format), rng), tmp_path, rng)


@pytest.mark.parametrize("name", READY)
def test_ready_nets(name, tmp_path, rng):
    equal(statistics(READY[name](), rng), tmp_path, rng)


def test_only_what_is_used_is_written(tmp_path, rng):
    text = equal(nf.Sequential([nf.Dense(2, activation="relu")], input_shape=(3,)), tmp_path, rng)
    assert re.findall(r"^static void (\w+)", text, re.M) == ["net_dense", "net_relu"]
    text = equal(nf.Sequential([nf.Dropout(0.5)], input_shape=(3,)), tmp_path, rng, name="nothing")
    assert re.findall(r"^static void (\w+)", text, re.M) == ["nothing_copy"]


def test_a_value_that_is_read_again_is_kept(tmp_path, rng):
    x = nf.Input((5,))
    h = nf.Dense(5)(x)
    g = nf.Activation("relu")(h)
    equal(statistics(nf.Model(x, nf.Dense(2)(nf.Add()([g, nf.Activation("tanh")(h), h]))), rng), tmp_path, rng)


def test_memory_is_used_again(tmp_path, rng):
    model = nf.Sequential([nf.Dense(64, activation="relu") for _ in range(12)], input_shape=(64,))
    equal(model, tmp_path, rng)
    assert "#define NET_SCRATCH_SIZE 128\n" in (tmp_path / "net.h").read_text()


def test_class_names(tmp_path, rng):
    model = mlp()
    model.class_names = ["zero", "\u00e9ins", '"two"', "three\\", "??/", "f\nive", "*/", "7", "%s", "10"]
    equal(model, tmp_path, rng)
    names = (ctypes.c_char_p * 10).in_dll(ctypes.CDLL(os.fspath(tmp_path / "net.so")), "net_class_names")
    assert [name.decode() for name in names] == model.class_names
    two = graph()
    two.class_names = {"value": ["no", "yes"]}
    equal(two, tmp_path, rng, name="two")
    assert "two_class_names_1[2]" in (tmp_path / "two.h").read_text()


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a compiler for C++")
def test_the_header_is_for_c_and_cpp(tmp_path, rng):
    equal(mlp(), tmp_path, rng)
    main = tmp_path / "main.cpp"
    main.write_text('#include "net.h"\n#include "net.h"\n'
                    "int main() { float x[NET_INPUT_SIZE] = {0}, y[NET_OUTPUT_SIZE], s[NET_SCRATCH_SIZE];\n"
                    "net_predict(x, y, s); float sum = 0; for (float v : y) sum += v;\n"
                    "return !(sum > 0.999f && sum < 1.001f); }\n")
    subprocess.run(["cc", "-c", "-std=c99", "-o", tmp_path / "net.o", tmp_path / "net.c"], check=True)
    subprocess.run(["c++", "-Wall", "-Werror", "-o", tmp_path / "main", main, tmp_path / "net.o", "-lm"], check=True)
    subprocess.run([tmp_path / "main"], check=True, timeout=60)


def test_no_global_is_written_and_nothing_is_allocated(tmp_path, rng):
    model = mlp()
    model.class_names = [str(i) for i in range(10)]
    equal(model, tmp_path, rng)
    subprocess.run(["cc", *FLAGS, "-c", "-o", tmp_path / "net.o", tmp_path / "net.c"], check=True)
    symbols = subprocess.run(["nm", tmp_path / "net.o"], capture_output=True, text=True, check=True).stdout
    kinds = {line.split()[-1]: line.split()[-2] for line in symbols.splitlines()}
    assert {kind for name, kind in kinds.items() if name not in ("net_class_names",)} <= set("TtrRU")
    assert {name for name, kind in kinds.items() if kind == "U"} <= {"expf", "tanhf", "memset", "memcpy",
                                                                       "_GLOBAL_OFFSET_TABLE_"}


def test_several_threads_at_once(tmp_path, rng):
    model = mlp()
    x = rng.standard_normal((8, 20)).astype(np.float32)
    nf.export_c(model, tmp_path / "net.c")
    library = build(tmp_path / "net.c")
    expected = [call(library, "net", model, [row])[0] for row in x]
    wrong = []

    def work(i):
        for _ in range(200):
            if not (call(library, "net", model, [x[i]])[0] == expected[i]).all():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_large_weights_go_into_a_file(tmp_path, rng):
    model = nf.Sequential([nf.Dense(2400, activation="relu"), nf.Dense(3)], input_shape=(2200,))
    text = equal(model, tmp_path, rng)
    assert len(text) < 10_000
    assert (tmp_path / "net.bin").stat().st_size == 4 * model.count_params()
    assert f"#define NET_WEIGHTS_SIZE {model.count_params()}\n" in (tmp_path / "net.h").read_text()
    small = nf.export_c(mlp(), tmp_path / "small.c")
    assert [os.path.basename(file) for file in small] == ["small.c", "small.h"]


@pytest.mark.parametrize("file, name", [("my net-2.c", "my_net_2"), ("2.c", "net_2"), ("_x.c", "net__x"),
                                        ("ü.c", "net__")])
def test_names(file, name, tmp_path):
    nf.export_c(mlp(), tmp_path / file)
    assert f"void {name}_predict(" in (tmp_path / file).read_text()
    build(tmp_path / file)
    nf.export_c(mlp(), tmp_path / file, name="Other1")
    assert "void Other1_predict(" in (tmp_path / file).read_text()


@pytest.mark.parametrize("make, arguments, error, text", [
    (lambda: nf.Sequential([nf.Dense(2)]), {}, ValueError, "not built"),
    (lambda: nf.Sequential([nf.Lambda(abs, abs, name="mine")], input_shape=(2,)), {}, ValueError,
     "export_c: mine: a Lambda layer holds Python functions"),
    (mlp, {"path": "net.cpp"}, ValueError, r"must end in '.c', got 'net.cpp'"),
    (mlp, {"path": 'a"b.c'}, ValueError, "no #include can name the header of 'a.b.c'; use a name without quotes"),
    (mlp, {"path": "a\nb.c"}, ValueError, "no #include can name the header of"),
    (lambda: "net.c", {}, TypeError, "export_c: expected an nnfast model, got str"),
    (mlp, {"name": "a b"}, ValueError, "name must be a C identifier, got 'a b'"),
    (mlp, {"weights": "none"}, ValueError, "unknown export_c: place of the weights 'none'"),
])
def test_refuses(make, arguments, error, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        nf.export_c(make(), **{"path": "net.c"} | arguments)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nf.export_c(mlp(), tmp_path / "missing" / "net.c")


@pytest.mark.parametrize("layers", [
    lambda: [nf.Dense(12), nf.Reshape((2, 2, 3)), nf.Conv2DTranspose(4, 2, stride=2)],
    lambda: [nf.Dense(12), nf.Reshape((-1, 3)), nf.Conv1DTranspose(4, 3, stride=2)],
    lambda: [nf.Dense(12), nf.Reshape((2, 2, 3)), nf.UpSampling2D(2), nf.Conv2D(2, 2), nf.AvgPool2D(2)],
    lambda: [nf.Dense(12), nf.Reshape((-1, 1)), nf.Conv1DTranspose(2, 2), nf.BatchNorm(), nf.MaxPool1D(2)],
], ids=["image", "signal", "upsampled", "normalized"])
def test_what_reads_a_reshaped_value(layers, tmp_path, rng):
    equal(statistics(nf.Sequential(layers(), input_shape=(5,), seed=2), rng), tmp_path, rng)


@pytest.mark.parametrize("layers, shape", [
    (lambda: [nf.Flatten()], (3, 2, 4)),
    (lambda: [nf.Dropout(0.5), nf.Reshape((3, 8))], (3, 2, 4)),
    (lambda: [nf.Flatten()], (3, 5)),
], ids=["flatten", "reshape", "signal"])
def test_outputs_that_are_reshapes_of_channels_first_inputs(layers, shape, tmp_path, rng):
    equal(nf.Sequential(layers(), input_shape=shape, data_format="channels_first"), tmp_path, rng)


def test_reshapes_of_a_channels_first_input_among_other_outputs(tmp_path, rng):
    x = nf.Input((3, 2, 4), data_format="channels_first")
    outputs = [nf.Flatten()(x), nf.Dropout(0.5)(x), nf.Conv2D(2, 2)(x), nf.Reshape((24,))(x), nf.Reshape((4, 6))(x)]
    equal(nf.Model(x, outputs), tmp_path, rng)

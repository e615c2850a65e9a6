"""The benchmarks: their checks tell wrong results, their competitors compute the same, and the commands run."""
import dataclasses
import json
import os
import re
import select
import sys
from pathlib import Path

import numpy as np
import pytest
from child import python

import nnfast as nf

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)
sys.path.append(str(ROOT))  # last: nnfast itself is the one under test

from benchmarks import (  # noqa: E402
    architectures,
    cnn,
    conv,
    estimators,
    memory,
    mlp,
    neighbours,
    ops,
    peak,
    suite,
    training,
    workloads,
)
from benchmarks.__main__ import parse  # noqa: E402
from benchmarks.competitor import WorkerError  # noqa: E402
from benchmarks.report import Report, best  # noqa: E402
from benchmarks.tasks import Tasks  # noqa: E402

CASES = [
    ops.Conv("plain", 2, 6, 5, 3, 4, 3, 2, 1, 1),
    ops.Conv("strided", 2, 9, 8, 5, 7, 3, 3, 2, 1),
    ops.Conv("wide stride", 1, 8, 8, 4, 6, 1, 1, 2, 0),
    ops.Conv("1x1", 2, 4, 4, 8, 5, 1, 1, 1, 0),
    ops.Conv("depthwise", 2, 7, 7, 6, 6, 3, 3, 2, 1, groups=6),
    ops.Conv("groups", 2, 5, 5, 4, 6, 3, 3, 1, 1, groups=2),
    ops.MaxPool("pool", 2, 6, 6, 3, 2, 2),
    ops.MaxPool("overlapping pool", 2, 7, 7, 3, 3, 2),
    ops.Dense("dense", 5, 7, 3),
    ops.CrossEntropy("loss", 6, 5),
]
SMALL = workloads.Workload(
    "small", (8, 8, 2),
    (workloads.Conv(4, 3, "same", "relu"), workloads.Pool("max", 2), workloads.Conv(6, 3, "valid", "tanh"),
     workloads.Pool("avg", 2), workloads.Dense(8, "relu"), workloads.Dense(3)),
    "adam", 1e-2, 4, 4, 4, check_steps=4,
)
SMALL_SGD = dataclasses.replace(
    SMALL, name="small_sgd", input_shape=(5,), layers=workloads.mlp((8, 3), "tanh"), optimizer="sgd",
    loss="squared_error",
)


@pytest.fixture
def small(monkeypatch):
    for workload in (SMALL, SMALL_SGD):
        monkeypatch.setitem(workloads.WORKLOADS, workload.name, workload)
    yield
    workloads.make_problem.cache_clear()


def competitor(name, family):
    """benchmarks/<name>_<family>.py, if its library is there."""
    library = pytest.importorskip(name)
    if name == "torch":
        library.set_grad_enabled(True)  # torch_ops switches it off, for what is its own process otherwise
    return pytest.importorskip(f"benchmarks.{name}_{family}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("name", ["nnfast", "numpy", "torch"])
def test_operations_are_right_and_wrong_ones_are_found(name, case):
    module = competitor(name, "ops")
    arrays = case.arrays()
    for variant in module.VARIANTS["conv"]:
        for direction in case.directions:
            made = getattr(module, case.kind)(case, direction, arrays, variant, 1)
            if made is None:
                assert name == "numpy" and case.groups > 1 or variant == "channels_last"
                continue
            call, as_nnfast = made
            call()  # a second call must not add to the first one's result
            result = as_nnfast(call())
            assert case.difference(direction, arrays, result) < conv.TOLERANCE
            wrong = np.array(result[1] if case.kind == "softmax_cross_entropy" else result)
            wrong[(0,) * wrong.ndim] += 0.01
            wrong = (result[0], wrong) if case.kind == "softmax_cross_entropy" else wrong
            assert case.difference(direction, arrays, wrong) > conv.TOLERANCE


def test_cases_of_the_table():
    assert all(case.flops >= 0 and name == case.name for name, case in ops.CASES.items())
    random = ops.random_cases()
    assert len(random) == 20 and random == ops.random_cases()
    assert {case.stride for case in random} == {1, 2}
    assert ops.CASES["VGG-16 conv1_2"].flops == 2 * 4 * 224 * 224 * 64 * 64 * 9
    assert ops.CASES["MobileNet dw/2 112 64"].flops == 2 * 4 * 56 * 56 * 64 * 9


@pytest.mark.parametrize(("name", "model"), [("lenet5", nf.models.lenet5), ("mnist_cnn", nf.models.mnist_cnn)])
def test_workloads_are_the_ready_networks(name, model):
    workload, model = workloads.WORKLOADS[name], model()
    parameters = workloads.make_parameters(workload, np.random.default_rng(0))
    assert [p.shape for p in parameters] == [w.shape for w in model.get_weights()]


def test_flops_and_size_of_workloads():
    multiplications = 28 * 28 * 25 * 6 + 10 * 10 * 150 * 16 + 400 * 120 + 120 * 84 + 84 * 10
    assert workloads.WORKLOADS["lenet5"].flops == 2 * 64 * (3 * multiplications - 28 * 28 * 25 * 6)
    shapes = [shape for shape, _ in workloads.WORKLOADS["vgg16"].kernels]
    assert sum(np.prod(shape, dtype=int) + shape[-1] for shape in shapes) == 138_357_544


@pytest.mark.parametrize("name", ["nnfast", "numpy", "jax", "torch"])
@pytest.mark.parametrize("workload", [SMALL, SMALL_SGD], ids=lambda workload: workload.name)
def test_competitors_train_the_same_network(small, name, workload):
    module, numpy = competitor(name, "net"), competitor("numpy", "net")
    problem = workloads.make_problem(workload.name)
    expected = numpy.reference_losses(problem, workload.check_steps)
    variants = module.VARIANTS["cnn" if workload is SMALL else "mlp"]
    for variant in variants:
        if variant != "compile":  # which takes half a minute
            trainer = module.Trainer(problem, variant, 1)
            trainer.reset()
            losses = trainer.losses(workload.check_steps)
            assert training.disagreement(losses, expected, workload.tolerance) == ""
            trainer.reset()
            assert losses == trainer.losses(workload.check_steps)


@pytest.mark.parametrize("name", architectures.MODELS)
def test_competitors_train_the_same_model(name):
    torch, ours = competitor("torch", "models"), competitor("nnfast", "models")
    problem = architectures.make_problem(name, n_batches=2, batch_size=4)
    expected = torch.reference_losses(problem, 2)
    for module in (ours, torch):
        for variant in module.VARIANTS["models"]:
            if variant != "compile":
                trainer = module.Trainer(problem, variant, 1)
                trainer.reset()
                losses = trainer.losses(2)
                assert training.disagreement(losses, expected, problem.workload.tolerance) == ""
                trainer.reset()
                assert losses == trainer.losses(2)


@pytest.mark.parametrize("name", architectures.MODELS)
def test_models_fit_their_problems(name):
    """Without PyTorch, too: the shapes of data and network agree, and it trains."""
    problem = architectures.make_problem(name, n_batches=2, batch_size=2)
    trainer = competitor("nnfast", "models").Trainer(problem, "", 1)
    trainer.reset()
    losses = trainer.losses(2)
    assert np.isfinite(losses).all()
    assert problem.workload.quick_batches >= problem.workload.check_steps


def test_a_wrong_curve_is_found():
    assert training.disagreement([1.0, 0.5], [1.0, 0.5], 1e-5) == ""
    assert "1 losses, expected 2" in training.disagreement([1.0], [1.0, 0.5], 1e-5)
    assert "step 1 is 0.50001" in training.disagreement([1.0, 0.50001], [1.0, 0.5], 1e-5)
    assert "step 0 is nan" in training.disagreement([np.nan, 0.5], [1.0, 0.5], 1e-5)


def test_tasks_answer_what_the_suites_ask(small):
    tasks = Tasks(competitor("nnfast", "net"), 1)
    reference = Tasks(competitor("numpy", "net"), 1).reference("small", n_batches=4)["losses"]
    answer = tasks.prepare_train("small", n_batches=4, variant="", seconds=1e-3)
    assert training.disagreement(answer["losses"], reference, 1e-5) == ""
    assert tasks.time("")["seconds"] > 0
    assert tasks.drop() == {} and not tasks.prepared
    grown = tasks.memory("small", "", answer["choice"])
    assert not grown or 0 < grown["built"] <= grown["peak"]


@pytest.mark.skipif(not memory.peak_kib(), reason="the system does not tell")
def test_peak_memory():
    memory.reset_peak()
    before = memory.peak_kib()
    block = np.ones(1 << 23)  # 64 MiB
    assert 60_000 < memory.peak_kib() - before < 80_000
    del block
    memory.reset_peak()
    assert memory.peak_kib() - before < 20_000


class Fake:
    """A competitor that answers or fails without a process."""

    name, running = "fake", True

    def __init__(self, seconds):
        self.seconds, self.calls = iter(seconds), []

    def request(self, call, **arguments):
        self.calls.append(call)
        if call == "time":
            seconds = next(self.seconds)
            if seconds is None:
                raise WorkerError("no luck", "details")
            return {"seconds": seconds}
        return {}


class Silent:
    """A peak meter and a report that say nothing."""

    def measure(self, *arguments):
        pass

    line = block = measure


def test_rounds_interleave_and_survive_a_failure():
    options = parse(["conv", "--rounds", "3", "--threads", "1"])
    benchmark = suite.Suite(1, options, Silent(), Silent())
    good, bad = Fake([3.0, 1.0, 2.0]), Fake([0.5, None])
    benchmark.competitors = [good, bad]
    turns = [(benchmark.entry("op", "x", fake, "", role), fake) for fake, role in ((good, "nnfast"), (bad, "step"))]
    benchmark.rounds(turns)
    (ours, _), (peer, _) = turns
    assert ours.seconds == [3.0, 1.0, 2.0] and (ours.minimum, ours.median) == (1.0, 2.0)
    assert peer.problem == "FAILED: no luck" and len(bad.calls) == 3
    assert good.calls[-1] == bad.calls[-1] == "drop"
    assert conv.loses(peer, ours) and not conv.loses(ours, peer) and not conv.loses(None, ours)


def test_a_process_that_ended_between_its_turns_is_left_out():
    class Ended(Fake):
        running = False
        closed = False

        def request(self, call, **arguments):
            raise WorkerError("no such process")

        def close(self):
            self.closed = True

    benchmark = suite.Suite(1, parse(["conv", "--rounds", "2", "--threads", "1"]), Silent(), Silent())
    good, ended = Fake([1.0, 2.0]), Ended([])
    benchmark.competitors = [good, ended]
    turns = [(benchmark.entry("op", "x", fake, "", "step"), fake) for fake in (ended, good)]
    benchmark.rounds(turns)
    assert turns[0][0].problem == "FAILED: the process has ended" and turns[1][0].seconds == [1.0, 2.0]
    assert benchmark.competitors == [good] and ended.closed and good.calls[-1] == "drop"
    idle = Ended([])
    benchmark.competitors = [good, idle]
    benchmark.rounds([])
    assert benchmark.competitors == [good] and idle.closed


def test_who_failed_in_a_later_round_has_no_figures():
    entry = suite.Entry("op", "x", 1, "nnfast", "", "nnfast", seconds=[1.0])
    assert best([entry], "x", "nnfast") is entry
    entry.problem = "FAILED: no luck"
    assert best([entry], "x", "nnfast") is None


@pytest.mark.parametrize("name", ["mlp", "cnn", "models", "conv"])
def test_everybody_keeps_freed_memory(name, monkeypatch):
    asked = []

    def start(library, suite, n_threads, **variables):
        asked.append(variables)
        raise WorkerError("not now")

    monkeypatch.setattr(suite, "Competitor", start)
    options = parse([name, "--threads", "1"])
    benchmark = options.benchmark(1, options, Silent(), Silent())
    benchmark.run()
    assert asked == [suite.KEEP_FREED] * len(benchmark.libraries)


def test_disagreement_leaves_a_row_untimed(capsys):
    class Wrong(Fake):
        variants = {"": "nnfast"}

        def request(self, call, **arguments):
            return {"difference": 1.0} if call == "prepare_op" else super().request(call, **arguments)

    options = parse(["conv", "--rounds", "1", "--threads", "1", "--only", "LeNet conv1"])
    benchmark = conv.Benchmark(1, options, Silent(), Report(Silent()))
    benchmark.competitors = [Wrong([])]
    benchmark.measure()
    assert {entry.problem for entry in benchmark.entries} == {"DISAGREE: off by 1.0e+00"}
    assert not any(entry.seconds for entry in benchmark.entries)
    assert capsys.readouterr().out.count("DISAGREE") == 3


def test_a_wrong_prediction_is_not_timed():
    class Predicting(Fake):
        def __init__(self, name, result, seconds):
            super().__init__(seconds)
            self.name, self.result = name, result

        def request(self, call, **arguments):
            return {"result": self.result} if call == "prepare_function" else super().request(call, **arguments)

    benchmark = mlp.Benchmark(1, parse(["mlp", "--rounds", "1", "--threads", "1"]), Silent(), Silent())
    fakes = [Predicting("nnfast", [0.25, 0.75], [1.0]), Predicting("numpy", [0.25, 0.75], [1.0]),
             Predicting("torch", [0.26, 0.74], [1.0]), Predicting("jax", [0.25], [1.0])]
    benchmark.call("predict", fakes, "predict", "predict_1_row")
    assert [bool(entry.seconds) for entry in benchmark.entries] == [True, True, False, False]
    assert all(entry.problem.startswith("DISAGREE") for entry in benchmark.entries[2:])


@pytest.mark.parametrize("name", ["nnfast", "numpy", "torch", "jax"])
def test_everybody_predicts_the_same(name):
    expected = Tasks(competitor("numpy", "net"), 1).prepare_function("predict", "predict_1_row", 1e-3)["result"]
    result = Tasks(competitor(name, "net"), 1).prepare_function("predict", "predict_1_row", 1e-3)["result"]
    assert len(result) == 2 and np.allclose(result, expected, 1e-5, 1e-6)


def test_many_networks_have_the_penalty_of_one(monkeypatch):
    pytest.importorskip("sklearn")
    module = pytest.importorskip("benchmarks.nnfast_estimators")
    from nnfast.sklearn import NNClassifier

    monkeypatch.setattr(nf, "fit_many", lambda seeds, x, y, n_threads, model, **settings: model)
    many = module.fit("many", 1)()
    monkeypatch.setattr(NNClassifier, "fit", lambda self, x, y: self)
    one = module.fit("one", 1)()
    assert many._settings.regularizer.l2 == pytest.approx(one.alpha / one.batch_size)


def test_scores_of_one_library_stand_in_its_column(capsys):
    options = parse(["estimators", "--workloads", "scores", "--seeds", "3", "--threads", "1"])
    assert options.seeds == 3
    meter = peak.PeakMeter()
    meter.close()
    benchmark = estimators.Benchmark(1, options, meter, Report(meter))
    benchmark.entries = [suite.Entry("score", "iris", 1, "sklearn", "", "sklearn", accuracies=[0.5] * 3)]
    benchmark.summary()
    assert re.search(r"^iris +- +0\.5000 +3$", capsys.readouterr().out, re.M)


def test_a_failed_reference_ends_the_workload():
    options = parse(["cnn", "--rounds", "1", "--threads", "1"])
    benchmark = cnn.Benchmark(1, options, Silent(), Silent())
    numpy = Fake([])
    numpy.name, numpy.running = "numpy", False
    benchmark.started = [numpy]
    benchmark.train("lenet5")
    assert [entry.problem for entry in benchmark.entries] == ["FAILED: the process has ended"]


@pytest.mark.parametrize("arguments", [
    [], ["nothing"], ["mlp", "--workloads", "vgg16"], ["cnn", "--workloads", ""], ["conv", "--against", "jax"],
    ["conv", "--threads", "0"], ["cnn", "--rounds", "x"], ["accuracy"], ["accuracy", "--path", "/no/such/folder"],
    ["mlp", "--json", "/no/such/folder/file"], ["mlp", "--json", str(ROOT)], ["conv", "--only", "no such row"],
])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        parse(arguments)
    assert done.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_looking_whether_a_file_can_be_written_leaves_it_alone(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("kept")
    assert parse(["mlp", "--json", str(old)]).json == str(old) and old.read_text() == "kept"
    assert parse(["mlp", "--json", str(new)]).json == str(new) and not new.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' polls and links are others")
def test_a_pipe_or_a_link_may_take_the_figures(tmp_path):
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "target"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert parse(["mlp", "--json", str(pipe)]).json == str(pipe)
        # Who reads waits as before: a poll says that the other end was closed only if it was ever opened.
        poll = select.poll()
        poll.register(reader)
        assert poll.poll(0) == []
    finally:
        os.close(reader)
    link.symlink_to(target)
    assert parse(["mlp", "--json", str(link)]).json == str(link) and link.is_symlink() and not target.exists()


@pytest.mark.parametrize("rounds", ["0", "-1", "x", "\u00b2"])
def test_wrong_rounds_of_neighbours(rounds, capsys):
    with pytest.raises(SystemExit):
        neighbours.main(["--rounds", rounds])
    assert "is not a positive whole number" in capsys.readouterr().err.splitlines()[-1]


def test_a_peak_that_does_not_run_is_missing(tmp_path):
    meter = peak.PeakMeter()
    meter.missing, meter.program = "", tmp_path / "nothing"
    meter.measure(1)
    meter.close()
    assert "does not run" in meter.missing and not meter.best


def run(*arguments):
    """The finished process of a quick run against nobody but NumPy, or against nobody."""
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    done = python("-m", "benchmarks", *arguments, "--quick", "--threads", "1", PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_ctrl_c_while_the_peak_is_compiled(tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nkill -INT $PPID\nsleep 1\n")
    compiler.chmod(0o755)
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    done = python("-m", "benchmarks", "conv", "--threads", "1", PYTHONPATH=path, CC=str(compiler))
    assert (done.returncode, done.stdout, done.stderr) == (130, "\ninterrupted\n", "")


def test_conv_command(tmp_path):
    output = run("conv", "--against", "numpy", "--rounds", "1", "--only", "LeNet conv2", "--json", str(tmp_path / "j"))
    assert len(re.findall(r"^LeNet conv2 (?:forward|dx|dw) .*\d%", output, re.M)) == 3
    assert "PyTorch was not timed" in output and "PyTorch is faster" not in output
    assert re.search(r"^all +3 +- +- +\d+\.\d\d +\d+\.\d\d$", output, re.M)
    entries = json.loads((tmp_path / "j").read_text())["entries"]
    assert len(entries) == 6 and all(len(entry["seconds"]) == 1 and not entry["problem"] for entry in entries)


def test_cnn_command():
    output = run("cnn", "--against", "", "--rounds", "1", "--workloads", "lenet5")
    assert re.search(r"^lenet5 .*\d%$", output, re.M)
    assert sys.platform != "linux" or len(re.findall(r"^lenet5 +\d+\.\d / \d+ +\d+\.\d / \d+$", output, re.M)) == 2


def test_models_command():
    output = run("models", "--against", "", "--rounds", "1", "--workloads", "table,signal")
    assert len(re.findall(r"^(?:table|signal) +\d+\.\d+ / \d+\.\d+ +- +-$", output, re.M)) == 2


def test_estimators_command():
    pytest.importorskip("sklearn")
    output = run("estimators", "--rounds", "1", "--workloads", "one,many")
    assert len(re.findall(r"^(?:one|many)( +\d+\.\d+ / \d+\.\d+){3}$", output, re.M)) == 2


def test_accuracy_command(tmp_path, rng):
    for part, n in (("train", 200), ("t10k", 50)):
        head = b"\0\0\x08\x03" + np.array([n, 28, 28], ">u4").tobytes()
        images = rng.integers(0, 256, n * 784, dtype=np.uint8).tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(head + images)
        labels = rng.integers(0, 10, n, dtype=np.uint8).tobytes()
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + np.array([n], ">u4").tobytes() + labels)
    output = run("accuracy", "--path", str(tmp_path), "--against", "", "--seeds", "2")
    assert len(re.findall(r"seed [01]  nnfast +\d+\.\d\d%", output)) == 2
    assert re.search(r"^nnfast( +\d+\.\d\d%){3}", output, re.M)


def test_neighbours_command(capsys):
    neighbours.main(["--rounds", "1"])
    assert len(re.findall(r"(?:idle|busy process|after NumPy) +\w+( +\d+\.\d){3}\n", capsys.readouterr().out)) == 9

"""The commands that train and use models, as a new user types them."""

import csv
import gzip
import json
import os

import numpy as np
import pytest
from child import python
from PIL import Image

import nnfast as nf
from nnfast.__main__ import main

EPOCHS = ["--epochs", "60", "--lr", "0.01"]


@pytest.fixture
def animals(tmp_path, rng):
    """A spreadsheet with numbers, texts, gaps and a target of text."""
    path = tmp_path / "animals.csv"
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "legs", "cover", "weight", "animal"])
        for i in range(120):
            kind = i % 3
            weight = [4, 1, 30][kind] * (1 + 0.1 * rng.standard_normal())
            rows.writerow([f"n{i}", [4, 2, 4][kind], ["fur", "feathers", "fur"][kind],
                           "" if i == 7 else f"{weight:.3f}",
                           ["cat", "hen", "dog"][kind]])
    return str(path)


@pytest.fixture
def trained(animals, tmp_path, capsys):
    out = str(tmp_path / "animals.safetensors")
    assert main(["train", animals, "--target", "animal", "--drop", "id", "--missing", "mean", "--out", out,
                 *EPOCHS]) == 0
    capsys.readouterr()
    return out


def run(capsys, *arguments):
    code = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return code, out, err


def test_predict_needs_no_targets(animals, trained, tmp_path, capsys):
    with open(animals, newline="") as file:
        table = list(csv.reader(file))
    empty = tmp_path / "empty.csv"
    with open(empty, "w", newline="") as file:
        csv.writer(file).writerows([table[0], *([*row[:-1], ""] for row in table[1:])])
    assert (run(capsys, "predict", trained, empty, "--missing", "mean")
            == run(capsys, "predict", trained, animals, "--missing", "mean"))
    assert run(capsys, "evaluate", trained, empty, "--missing", "mean")[0] == 1
    rows = list(csv.reader(run(capsys, "predict", trained, empty, "--missing", "drop")[1].splitlines()))
    assert rows[0][:2] == ["row", "prediction"]
    assert [int(row[0]) for row in rows[1:]] == [i for i in range(2, 122) if i != 9]    # the gap is in the eighth row
    empty.write_text(empty.read_text().replace("\n", "\n\n\n", 1))
    shifted = csv.reader(run(capsys, "predict", trained, empty, "--missing", "drop")[1].splitlines()[1:])
    assert [int(row[0]) for row in shifted] == [i for i in range(4, 124) if i != 11]    # after two empty lines
    answers = json.loads(run(capsys, "predict", trained, empty, "--missing", "drop", "--json")[1])
    assert answers[7]["row"] == 12 and isinstance(answers[7]["p(cat)"], float)


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C at the end of every `fit`."""
    fit = nf.Model.fit

    def fit_and_interrupt(model, *arguments, **settings):
        fit(model, *arguments, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(nf.Model, "fit", fit_and_interrupt)


def test_ctrl_c_saves_what_was_reached(interrupted, animals, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    code, text, err = run(capsys, "train", animals, "--target", "animal", "--drop", "id", "--missing", "mean", "--out",
                          out, "--epochs", "2", "--quiet")
    assert (code, text) == (130, "") and err == f"\nsaved what was reached as {out}\ninterrupted\n"
    assert nf.load(out).epochs_trained == 2


def test_train_a_classifier(animals, tmp_path, capsys):
    out, plot = tmp_path / "a.safetensors", tmp_path / "loss.png"
    code, text, err = run(capsys, "train", animals, "--target", "animal", "--drop", "id", "--missing", "mean",
                          "--model", "dense:16 relu dropout:0.1", "--out", out, "--plot", plot, *EPOCHS)
    assert code == 0 and err == ""
    assert "96 samples to train, 24 to validate; predicting 3 classes from 4 values" in text
    assert "accuracy 1" in text and "true  predicted\n" in text and "cat      8    0    0" in text
    assert plot.read_bytes().startswith(b"\x89PNG")
    model = nf.load(out)
    assert model.class_names == ["cat", "dog", "hen"]
    assert [layer.kind for layer in model.layers] == ["batch_norm", "dense", "activation", "dropout", "dense"]


def test_train_says_it_in_json_or_not_at_all(animals, capsys):
    arguments = ["train", animals, "--target", "animal", "--drop", "id", "--missing", "drop", "--epochs", 2]
    code, text, err = run(capsys, *arguments, "--json")
    report = json.loads(text)
    assert code == 0 and err == "" and report["epochs"] == 2 and report["classes"] == ["cat", "dog", "hen"]
    assert np.sum(report["confusion"]) == report["validation_samples"] == 24
    assert run(capsys, *arguments, "--quiet") == (0, "", "")
    assert json.loads(run(capsys, *arguments, "--quiet", "--json")[1])["epochs"] == 2


def test_what_to_do_about_gaps_is_remembered(animals, trained, tmp_path, capsys):
    filled = run(capsys, "predict", trained, animals)
    assert filled == run(capsys, "predict", trained, animals, "--missing", "mean")
    assert json.loads(run(capsys, "evaluate", trained, animals, "--json")[1])["samples"] == 120
    code, _, err = run(capsys, "predict", trained, animals, "--missing", "error")
    assert code == 1 and "values are missing in the columns 'weight' (1)" in err
    out = tmp_path / "dropped.safetensors"
    run(capsys, "train", animals, "--target", "animal", "--drop", "id", "--missing", "drop", "--out", out, *EPOCHS)
    assert run(capsys, "predict", out, animals)[1].count("\n") == 120       # a header, and a row less
    assert run(capsys, "predict", out, animals)[1].startswith("row,prediction,")
    model = nf.load(out)
    model.metadata = {"data": {name: value for name, value in model.metadata["data"].items() if name != "missing"}}
    model.save(out)         # a file from before it was remembered
    assert run(capsys, "predict", out, animals)[0] == 1


def test_predict_and_evaluate(trained, animals, tmp_path, capsys):
    code, text, _ = run(capsys, "evaluate", trained, animals, "--missing", "mean", "--json")
    assert code == 0 and json.loads(text)["figures"]["accuracy"] > 0.95
    new = tmp_path / "new.csv"
    new.write_text("weight,cover,legs\n30,fur,4\n1.1,feathers,2\n")
    code, text, err = run(capsys, "predict", trained, new)
    rows = list(csv.reader(text.splitlines()))
    assert code == 0 and err == "" and rows[0] == ["prediction", "p(cat)", "p(dog)", "p(hen)"]
    assert [row[0] for row in rows[1:]] == ["dog", "hen"] and abs(sum(map(float, rows[1][1:])) - 1) < 1e-5
    out = tmp_path / "p.csv"
    assert run(capsys, "predict", trained, new, "--out", out)[1] == f"2 predictions in {out}\n"
    assert (tmp_path / "p.csv").read_text() == text
    code, text, _ = run(capsys, "predict", trained, new, "--json")
    assert [row["prediction"] for row in json.loads(text)] == ["dog", "hen"]
    assert "has no targets to compare with" in run(capsys, "evaluate", trained, new)[2]


def test_train_a_regression(tmp_path, capsys, rng):
    path, out = tmp_path / "houses.csv", tmp_path / "h.safetensors"
    area = rng.uniform(50, 200, 150)
    path.write_text("area;price\n" + "".join(f"{a:.1f};{2000 * a + 50_000:.2f}\n".replace(".", ",") for a in area))
    code, text, _ = run(capsys, "train", path, "--target", "price", "--out", out, "--patience", 30, *EPOCHS)
    assert code == 0 and "predicting a number from 1 value;" in text
    assert nf.load(out).evaluate(np.float32(area)[:, None], 2000 * area + 50_000)["r2"] > 0.95
    assert "true" not in text
    text = run(capsys, "predict", out, path)[1].splitlines()
    assert text[0] == "price" and len(text) == 151
    assert float(text[1]) == pytest.approx(2000 * area[0] + 50_000, rel=0.2)


def test_train_several_numbers_of_different_size(tmp_path, capsys, rng):
    path, out = tmp_path / "sums.csv", tmp_path / "s.safetensors"
    a, b = rng.standard_normal((2, 300))
    targets = np.stack([50_000 + 1000 * (a + b), 1e-9 * (a - b), np.full(300, 0.1)], axis=1)
    path.write_text("a,b,u,v,w\n" + "".join(",".join(map(repr, map(float, row))) + "\n"
                                            for row in np.column_stack([a, b, targets])))
    arguments = ["train", path, "--target", "u", "--target", "v", "--target", "w", "--out", out, *EPOCHS]
    report = json.loads(run(capsys, *arguments, "--json")[1])
    assert run(capsys, *arguments)[1].splitlines()[1] == ("the errors of the epochs are in units of the targets' "
                                                           "standard deviations")
    predictions = list(csv.reader(run(capsys, "predict", out, path)[1].splitlines()))
    assert predictions[0] == ["u", "v", "w"]
    got = np.array(predictions[1:], float)
    assert (np.abs(got - targets).max(axis=0) < [500, 5e-10, 0.05]).all()
    figures = json.loads(run(capsys, "evaluate", out, path, "--json")[1])["figures"]
    assert figures["mae"] == pytest.approx(np.abs(got - targets).mean(), rel=1e-4)
    assert 0.5 < report["figures"]["mae"] / figures["mae"] < 2


@pytest.mark.parametrize("target", ["price", "class"])
def test_train_on_columns_of_many_texts(target, tmp_path, capsys, rng):
    """A vector for each of 70 towns, and one for 20 that are in a single row."""
    path, out = tmp_path / "towns.csv", tmp_path / "towns.safetensors"
    level = rng.permutation(90)
    towns = np.append(rng.integers(0, 70, 2000), np.arange(70, 90))
    size = rng.random(len(towns))
    rows = [f"town {town},{s:.3f},{level[town] + s:.3f},{'dear' if level[town] > 45 else 'cheap'}\n"
            for town, s in zip(towns, size)]
    path.write_text("town,size,price,class\n" + "".join(rows))
    other = "class" if target == "price" else "price"
    code, text, err = run(capsys, "train", path, "--target", target, "--drop", other, "--out", out, "--epochs", "20",
                          "--lr", "0.01")
    assert code == 0, err
    assert "from 1 value, 1 column of ids (71); " in text
    figures = json.loads(run(capsys, "evaluate", out, path, "--json")[1])
    assert figures["samples"] == 2020 and figures["figures"]["r2" if target == "price" else "accuracy"] > 0.95
    path.write_text("size,town\n0.5,town 3\n0.5,a new one\n")
    answers = json.loads(run(capsys, "predict", out, path, "--json")[1])
    assert len(answers) == 2
    if target == "price":
        assert answers[0]["price"] == pytest.approx(level[3] + 0.5, abs=6)
    else:
        assert answers[0]["prediction"] == ("dear" if level[3] > 45 else "cheap")
    path.write_text("town,size,price,class\n" + "".join(rows))
    text = run(capsys, "train", path, "--target", target, "--drop", other, "--max-one-hot", "90", "--epochs", "1")[1]
    assert "from 91 values; " in text


@pytest.fixture
def times(tmp_path):
    """A table of seconds since 1970, within two minutes, and what follows from them."""
    path = tmp_path / "times.csv"
    rows = np.random.default_rng(0).integers(0, 100, 300)
    path.write_text("time,late,end\n" + "".join(
        f"{1_700_000_000 + i},{'yes' if i > 50 else 'no'},{1_700_000_000 + 30 * i}\n" for i in rows))
    return path


def test_train_on_numbers_far_from_0(times, tmp_path, capsys):
    out = tmp_path / "t.safetensors"
    report = run(capsys, "train", times, "--target", "late", "--drop", "end", "--out", out, "--json", *EPOCHS)[1]
    assert json.loads(report)["figures"]["accuracy"] == 1
    new = tmp_path / "new.csv"
    new.write_text("time\n1700000090\n1700000010\n")
    answers = json.loads(run(capsys, "predict", out, new, "--json")[1])
    assert [row["prediction"] for row in answers] == ["yes", "no"]


def test_train_towards_numbers_far_from_0(times, tmp_path, capsys):
    out = tmp_path / "t.safetensors"
    report = json.loads(run(capsys, "train", times, "--target", "end", "--drop", "late", "--out", out, "--json",
                            *EPOCHS)[1])
    assert report["figures"]["r2"] > 0.99
    figures = json.loads(run(capsys, "evaluate", out, times, "--json")[1])["figures"]
    assert figures["r2"] > 0.99 and figures["mae"] < 60
    rows = list(csv.reader(times.read_text().splitlines()))[1:]
    predictions = list(csv.reader(run(capsys, "predict", out, times)[1].splitlines()))
    assert predictions[0] == ["end"]
    errors = np.float64(predictions[1:])[:, 0] - np.float64([row[2] for row in rows])
    assert np.abs(errors).mean() == pytest.approx(figures["mae"], rel=1e-3)


def test_arrays_of_numbers_far_from_0(tmp_path, capsys):
    x = 1.7e9 + np.arange(99.0)[:, None]
    np.savez(tmp_path / "x.npz", x=x, y=x[:, 0] - 1.7e9 + 0.5)
    assert "normalization: the numbers of column 0 (mean 17000000" in run(capsys, "train", tmp_path / "x.npz")[2]
    np.savez(tmp_path / "y.npz", x=x - 1.7e9, y=x[:, 0])
    assert "y.npz: y: its numbers lie so close together" in run(capsys, "train", tmp_path / "y.npz")[2]


def test_ctrl_c_saves_numbers_in_their_units(interrupted, tmp_path, capsys, rng):
    x, out = rng.standard_normal((90, 2)), tmp_path / "m.safetensors"
    np.savez(tmp_path / "d.npz", x=x, y=1e6 + x[:, 0])
    assert run(capsys, "train", tmp_path / "d.npz", "--out", out, "--epochs", "3", "--quiet")[0] == 130
    np.testing.assert_allclose(nf.load(out).predict(x)[:, 0], 1e6 + x[:, 0], atol=3)


def test_targets_that_are_not_finite(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=np.ones((9, 2)), y=[1.5, 2.5, np.nan] * 3)
    assert "d.npz: y: nan at row 2; data must be finite" in run(capsys, "train", tmp_path / "d.npz")[2]


def test_images(tmp_path, capsys):
    for name, grey in (("dark", 20), ("light", 220)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(15):
            Image.new("RGB", (9, 8 + i % 2), (grey + i,) * 3).save(tmp_path / "images" / name / f"{i}.png")
    out = tmp_path / "m.safetensors"
    arguments = ["train", tmp_path / "images", "--out", out, "--epochs", 8, "--lr", 0.01]
    code, _, err = run(capsys, *arguments)
    assert code == 1 and err == ("nnfast train: image_folder: the images have different sizes (16 of 8 x 9, 14 of 9 x "
                                 "9); scale them to one with --size 8 9\n")
    code, text, _ = run(capsys, *arguments, "--size", 8, 8)
    assert code == 0 and "from 8 x 8 x 3 values" in text and "accuracy 1" in text
    (tmp_path / "images" / "dark").rename(tmp_path / "images" / "dim")
    assert "folder 'dim' is not among the classes dark, light" in run(capsys, "evaluate", out, tmp_path / "images")[2]
    (tmp_path / "images" / "dim").rename(tmp_path / "images" / "dark")
    assert "30 samples: loss" in run(capsys, "evaluate", out, tmp_path / "images")[1]
    # New pictures are not sorted yet.
    dark = tmp_path / "images" / "dark"
    rows = list(csv.reader(run(capsys, "predict", out, dark)[1].splitlines()))
    assert rows[0] == ["file", "prediction", "p(dark)", "p(light)"] and len(rows) == 16
    assert all(row[:2] == [str(dark / row[0].rsplit("dark")[-1].strip("/\\")), "dark"] for row in rows[1:])
    picture = json.loads(run(capsys, "predict", out, dark / "3.png", "--json")[1])
    assert [list(entry.values())[:2] for entry in picture] == [[str(dark / "3.png"), "dark"]]
    (tmp_path / "one").mkdir()
    dark.rename(tmp_path / "one" / "dark")
    assert "samples of one class only, 'dark'" in run(capsys, "train", tmp_path / "one", "--size", 8, 8)[2]


@pytest.mark.parametrize("texts", [False, True])
def test_arrays(tmp_path, capsys, rng, texts):
    x = rng.standard_normal((90, 4))
    y = np.array(["low", "high"])[(x[:, 0] > 0).astype(int)] if texts else (x[:, 0] > 0).astype(int)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    out = tmp_path / "m.safetensors"
    assert run(capsys, "train", tmp_path / "d.npz", "--out", out, *EPOCHS)[0] == 0
    assert nf.load(out).class_names == (["high", "low"] if texts else ["0", "1"])
    report = json.loads(run(capsys, "evaluate", out, tmp_path / "d.npz", "--json")[1])
    assert report["figures"]["accuracy"] > 0.9


def save(path, model, *settings, names=None, **arrays):
    """A model made through the API, and an .npz file beside it."""
    model.compile("adam", *settings)
    model.class_names = names
    model.save(path / "m.safetensors")
    np.savez(path / "d.npz", **arrays)
    return path / "m.safetensors", path / "d.npz"


@pytest.mark.parametrize("names", [None, ["a", "b", "c"]])
@pytest.mark.parametrize("y", [[1, 2, 1], np.eye(3)[[1, 2, 1]], ["b", "c", "b"], [b"b", b"c", b"b"]])
def test_evaluate_takes_targets_as_the_model_does(tmp_path, capsys, names, y):
    softmax = nf.Sequential([nf.Activation("softmax")], input_shape=(3,))
    files = save(tmp_path, softmax, "cross_entropy", ["accuracy"], names=names, x=np.eye(3)[[1, 2, 1]] * 9, y=y)
    code, text, err = run(capsys, "evaluate", *files, "--json")
    if names is None and np.array(y).dtype.kind in "US":
        assert code == 1 and "y: expected real numbers, got" in err
        return
    report = json.loads(text)
    assert code == 0 and report["figures"]["accuracy"] == 1 and report["classes"] == names
    counts = names is not None and np.ndim(y) == 1
    assert report["confusion"] == ([[0, 0, 0], [0, 2, 0], [0, 0, 1]] if counts else None)


def test_evaluate_a_regression_on_whole_numbers(tmp_path, capsys):
    line = nf.Sequential([nf.Rescale(10)], input_shape=(1,))
    files = save(tmp_path, line, "squared_error", ["mae"], x=[[1.0], [2.0], [3.0]], y=[10, 20, 31])
    assert run(capsys, "evaluate", *files) == (0, "3 samples: loss 0.3333, mae 0.3333\n", "")


@pytest.mark.parametrize("logits", [False, True])
def test_evaluate_one_yes_or_no(tmp_path, capsys, logits):
    unit = nf.Sequential([nf.Rescale(5), *([] if logits else [nf.Activation("sigmoid")])], input_shape=(1,))
    files = save(tmp_path, unit, nf.BinaryCrossEntropy(from_logits=logits), ["accuracy"], names=["no", "yes"],
                 x=[[3.0], [-3], [0.1]], y=[1, 0, 0])
    report = json.loads(run(capsys, "evaluate", *files, "--json")[1])
    assert report["confusion"] == [[1, 1], [0, 1]] and report["figures"]["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("logits", [False, True])
def test_predict_one_yes_or_no(tmp_path, capsys, logits):
    unit = nf.Sequential([nf.Rescale(5), *([] if logits else [nf.Activation("sigmoid")])], input_shape=(1,))
    files = save(tmp_path, unit, nf.BinaryCrossEntropy(from_logits=logits), names=["no", "yes"], x=[[0.1], [-3]])
    rows = json.loads(run(capsys, "predict", *files, "--json")[1])
    p = 1 / (1 + np.exp([-0.5, 15]))
    assert [row.pop("prediction") for row in rows] == ["yes", "no"]
    np.testing.assert_allclose([list(row.values()) for row in rows], np.stack([1 - p, p], axis=1), rtol=1e-5)
    assert list(rows[0]) == ["p(no)", "p(yes)"]


def test_predict_several_outputs(tmp_path, capsys):
    x = nf.Input((2,))
    kind, price = nf.Activation("softmax", name="kind")(x), nf.Rescale(3, name="price")(x)
    model = nf.Model(x, [kind, price])
    files = save(tmp_path, model, names={"kind": ["cat", "dog"]}, x=[[0.5, 0.5], [-99, 1]])
    assert run(capsys, "predict", *files)[1] == ("kind:prediction,kind:p(cat),kind:p(dog),price:output0,price:output1\n"
                                                 "cat,0.5,0.5,1.5,1.5\ndog,0.0,1.0,-297.0,3.0\n")
    assert json.loads(run(capsys, "predict", *files, "--json")[1])[1]["price:output0"] == -297


def test_predict_images(tmp_path, capsys):
    model = nf.Sequential([nf.Rescale(0.1)], input_shape=(2, 1, 2))
    files = save(tmp_path, model, x=np.arange(4).reshape(1, 2, 1, 2))
    assert run(capsys, "predict", *files)[1] == "output0,output1,output2,output3\n0.0,0.1,0.2,0.3\n"


def test_predict_refuses_what_is_not_finite(tmp_path, capsys):
    model = nf.Sequential([nf.Activation("softmax")], input_shape=(2,))
    files = save(tmp_path, model, names=["cat", "dog"], x=[[0.5, 0.5], [np.nan, 1]])
    code, text, err = run(capsys, "predict", *files)
    assert (code, text) == (1, "") and "d.npz: the prediction of sample 1 is not finite" in err


def test_idx(tmp_path, capsys):
    (x, y), _ = nf.datasets.digits(flatten=False)
    images, labels = tmp_path / "images-idx3-ubyte", tmp_path / "labels-idx1-ubyte"
    head = b"\0\0\x08"
    images.write_bytes(head + b"\x03" + np.array([200, 8, 8], ">u4").tobytes() + np.uint8(x[:200] * 255).tobytes())
    labels.write_bytes(head + b"\x01" + np.array([200], ">u4").tobytes() + np.uint8(y[:200]).tobytes())
    code, text, _ = run(capsys, "train", images, "--labels", labels, "--epochs", 3, "--model", "flatten dense:32 relu")
    assert code == 0 and "predicting 10 classes from 8 x 8 x 1 values" in text
    assert "has no targets; an .npz file needs an array y, idx files --labels FILE" in run(capsys, "train", images)[2]


def test_summary_export_bench(trained, tmp_path, capsys):
    assert "classes: cat, dog, hen" in run(capsys, "summary", trained)[1]
    report = json.loads(run(capsys, "summary", trained, "--json")[1])
    assert report["classes"] == ["cat", "dog", "hen"]
    assert [layer["kind"] for layer in report["layers"]] == ["Input", "BatchNorm", "Dense", "Activation", "Dense",
                                                             "Activation", "Dense"]
    assert sum(layer["parameters"] for layer in report["layers"]) == report["parameters"]
    normal, dense = report["layers"][1:3]
    assert dense == {"name": "dense", "kind": "Dense", "output_shape": [64], "parameters": 4 * 64 + 64,
                     "frozen": False, "flops": 2 * 4 * 64, "fused": dense["fused"]}
    assert normal["frozen"] and normal["output_shape"] == [4]
    assert run(capsys, "export", trained, "--out", tmp_path / "m.c")[0] == 0
    assert (tmp_path / "m.c").exists() and (tmp_path / "m.h").exists()
    assert ".onnx or .c" in run(capsys, "export", trained, "--out", tmp_path / "m.txt")[2]
    seconds = json.loads(run(capsys, "bench", trained, "--batch-size", 32, "--json")[1])["seconds"]
    assert list(seconds) == ["predict 1", "predict 32", "train step 32"] and all(s > 0 for s in seconds.values())
    assert json.loads(run(capsys, "info", "--json")[1])["version"] == nf.__version__


@pytest.mark.parametrize("loss", [nf.CrossEntropy(from_logits=True), nf.BinaryCrossEntropy(from_logits=True),
                                  nf.Huber(), None])
def test_bench_trains_with_any_loss(tmp_path, capsys, loss):
    model = nf.Sequential([nf.Dense(3)], input_shape=(4,))
    seconds = json.loads(run(capsys, "bench", save(tmp_path, model, loss)[0], "--json")[1])["seconds"]
    assert list(seconds) == ["predict 1", "predict 256", *(["train step 256"] if loss else [])]


def test_bench_of_several_outputs(tmp_path, capsys):
    x = nf.Input((4,))
    model = nf.Model(x, [nf.Dense(3, activation="softmax", name="kind")(x), nf.Dense(1, name="price")(x)])
    file = save(tmp_path, model, {"kind": "cross_entropy", "price": "squared_error"})[0]
    assert "train step, 256 samples" in run(capsys, "bench", file)[1]


def test_export_onnx(trained, tmp_path, capsys):
    code, out, _ = run(capsys, "export", trained, "--out", tmp_path / "m.onnx")
    assert code == 0 and out.splitlines()[0] == f"written: {tmp_path / 'm.onnx'}"
    x = np.float32([[4, 0, 1, 30]])
    np.testing.assert_allclose(nf.onnx.load(tmp_path / "m.onnx").predict(x), nf.load(trained).predict(x), rtol=1e-5)


def test_export_says_what_a_network_of_a_table_reads_and_gives(trained, tmp_path, capsys):
    written, numbers = run(capsys, "export", trained, "--out", tmp_path / "m.c")[1].splitlines()
    assert written == f"written: {tmp_path / 'm.c'}, {tmp_path / 'm.h'}"
    assert numbers == "numbers: legs, cover=feathers, cover=fur, weight"
    path = tmp_path / "times.csv"
    rows = [f"{i},town{i % 50},{1_700_000_000 + 5 * i},{1_600_000_000 + i}" for i in range(100)]
    path.write_text("\n".join(["size,town,begin,end", *rows]))
    assert main(["train", str(path), "--target", "end", "--max-one-hot", "3", "--out", str(tmp_path / "t.safetensors"),
                 *EPOCHS]) == 0
    capsys.readouterr()
    report = json.loads(run(capsys, "export", tmp_path / "t.safetensors", "--out", tmp_path / "t.c", "--json")[1])
    assert report == {"files": [str(tmp_path / "t.c"), str(tmp_path / "t.h")], "numbers": ["size", "begin-1700000000"],
                      "ids": ["town"], "target": ["end-1600000000"]}


@pytest.mark.parametrize("own", ["titanic.csv", None, {"encoding": "utf-8"}])
def test_export_of_a_model_with_metadata_of_its_own(own, tmp_path, capsys):
    model = nf.Sequential([nf.Dense(2)], input_shape=(3,))
    model.metadata = {"data": own}
    model.save(tmp_path / "m.safetensors")
    assert run(capsys, "export", tmp_path / "m.safetensors", "--out", tmp_path / "m.c")[0] == 0


def test_summary_of_a_model_with_several_outputs(tmp_path, capsys):
    x = nf.Input((2,))
    model = nf.Model(x, [nf.Dense(2, name="kind")(x), nf.Dense(2, name="size")(x)])
    model.class_names = {"kind": ["cat", "dog"], "size": ["small", "large"]}
    model.save(tmp_path / "m.safetensors")
    assert run(capsys, "summary", tmp_path / "m.safetensors")[1].splitlines()[-2:] == ["kind: cat, dog",
                                                                                       "size: small, large"]


@pytest.mark.parametrize("name", ["data.xlsx", "data.json", "data", "data.csv.zip"])
def test_unknown_kinds_of_files_are_named_first(trained, tmp_path, capsys, name):
    path = tmp_path / name
    path.write_bytes(b"PK")
    for arguments in (["train", path, "--target", "bought"], ["train", path, "--size", 8, 8],
                      ["train", path, "--labels", path], ["predict", trained, path]):
        assert f"{name}: unknown kind of file; expected a table (.csv" in run(capsys, *arguments)[2]


@pytest.mark.parametrize("arguments, message", [
    (["train", "nothing.csv"], "there is no file or folder 'nothing.csv'"),
    (["train", "ANIMALS"], "which column is to be predicted? --target COLUMN (columns: id, legs, cover, weight, "
     "animal)"),
    (["train", "ANIMALS", "--target", "Animal"], "no column 'Animal'; did you mean 'animal'?"),
    (["train", "ANIMALS", "--target", "animal"], "values are missing in the columns 'weight' (1); --missing drop "
     "leaves such rows out, --missing mean fills them"),
    (["train", "ANIMALS", "--target", "animal", "--missing", "mean"], "leave it out with --drop 'id'"),
    (["train", "ANIMALS", "--target", "animal", "--missing", "mean", "--drop", "id", "--model", "dens:3"],
     "--model: unknown layer 'dens:3'; known: dense, conv"),
    (["train", "ANIMALS", "--target", "animal", "--missing", "mean", "--drop", "id", "--model", "dense"],
     "--model: 'dense': dense takes 1 number, as in dense:64"),
    (["train", "ANIMALS", "--target", "animal", "--missing", "mean", "--drop", "id", "--model", "dense:many"],
     "--model: 'dense:many': 'many' is not a number"),
    (["train", "ANIMALS", "--target", "animal", "--missing", "mean", "--drop", "id", "--validation", "2"],
     "--validation: SHARE must be a finite number above 0 and below 1"),
    (["train", __file__], "unknown kind of file"),
    (["train", "ANIMALS", "--target", "animal", "--size", "8", "8"], "--size is for images, "),
    (["train", "ANIMALS", "--target", "animal", "--labels", "FILE"], "--labels goes with an idx file of images"),
    (["train", "ANIMALS", "--target", "animal", "--out", "nowhere/a"], "--out nowhere/a: there is no folder 'nowhere'"),
    (["train", "nothing.csv", "--out", "m.onnx"], "m.onnx: models are saved as .safetensors, not as .onnx; nnfast exp"),
    (["train", "nothing.csv", "--plot", "x.xyz"], "x.xyz: pictures are not written as .xyz; expected one of "),
    (["summary", "nothing"], "nnfast summary: nothing: no such file or directory"),
    (["summary", "ANIMALS"], "animals.csv: "),
])
def test_errors_are_one_line_that_says_what_to_do(animals, capsys, arguments, message):
    code, out, err = run(capsys, *[animals if word == "ANIMALS" else word for word in arguments])
    assert code == 1 and err.count("\n") == 1 and err.startswith(f"nnfast {arguments[0]}: ") and out == ""
    assert message in err


@pytest.mark.parametrize("arguments", [
    ["train", "ANIMALS", "--target", "animal", "--out", "LINK"],
    ["train", "ANIMALS", "--target", "animal", "--plot", "ANIMALS"],
    ["train", "images-ubyte", "--labels", "ANIMALS", "--out", "ANIMALS"],
    ["predict", "MODEL", "ANIMALS", "--missing", "mean", "--out", "ANIMALS"],
    ["predict", "MODEL", "ANIMALS", "--missing", "mean", "--out", "MODEL"],
    ["export", "MODEL", "--out", "MODEL"],
])
def test_no_output_overwrites_what_is_read(animals, trained, tmp_path, capsys, arguments):
    link = tmp_path / "link"
    link.symlink_to(animals)
    names = {"ANIMALS": animals, "MODEL": trained, "LINK": link}
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, err = run(capsys, *[names.get(word, word) for word in arguments])
    assert code == 1 and out == "" and err.startswith(f"nnfast {arguments[0]}: --{arguments[-2][2:]} ")
    assert "which is read; give it another name" in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_train_replaces_an_older_model(trained, animals, capsys):
    assert run(capsys, "train", animals, "--target", "animal", "--drop", "id", "--missing", "mean", "--epochs", 1,
               "--out", trained)[0] == 0
    assert nf.load(trained).epochs_trained == 1


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_model_and_data_the_wrong_way_round(trained, animals, tmp_path, capsys, command):
    for data, form in ((animals, "a table"), (tmp_path, "images")):
        assert run(capsys, command, data, trained) == (
            1, "", f"nnfast {command}: {data}: holds {form}, not a model; the order is MODEL DATA\n")
    (tmp_path / "model").write_bytes(b"PK")
    assert "model: is damaged, or not a safetensors file" in run(capsys, command, tmp_path / "model", animals)[2]


def test_too_little_memory(animals, capsys):
    code, _, err = run(capsys, "train", animals, "--target", "animal", "--drop", "id", "--missing", "mean", "--model",
                       "dense:100000000000")
    assert code == 1 and err.startswith("nnfast train: not enough memory: ") and err.count("\n") == 1


def test_damaged_arrays(tmp_path, capsys):
    path = tmp_path / "d.npz"
    path.write_bytes(b"PK\3\4 and nothing else")
    assert "d.npz: is not an .npz file of numbers and texts, or damaged" in run(capsys, "train", path)[2]
    np.savez(path, x=np.array([1, "a", None], object), y=np.arange(3))
    assert "d.npz: is not an .npz file of numbers and texts" in run(capsys, "train", path)[2]
    np.savez_compressed(path, x=np.zeros((99, 99)))
    packed = bytearray(path.read_bytes())
    packed[100:120] = b"\xff" * 20
    path.write_bytes(packed)
    assert "d.npz: is not an .npz file of numbers and texts, or damaged" in run(capsys, "train", path)[2]
    np.savez(path, x=np.arange(8.0), y=np.arange(8))
    assert "d.npz: x has shape (8,); expected (samples, values)" in run(capsys, "train", path)[2]


def test_damaged_packed_table(animals, tmp_path, capsys):
    path = tmp_path / "animals.csv.gz"
    with open(animals, "rb") as file:
        path.write_bytes(gzip.compress(file.read())[:-20])
    code, _, err = run(capsys, "train", path, "--target", "animal")
    assert code == 1 and err.startswith(f"nnfast train: {path}: damaged gzip file: ") and err.count("\n") == 1


def test_no_hidden_layers(animals, tmp_path, capsys):
    text = run(capsys, "train", animals, "--target", "animal", "--drop", "id", "--missing", "mean", "--model", "",
               "--epochs", "1")[1]
    assert "1 epoch in" in text and "23 parameters" in text            # 4 x 3 + 3 and 4 means, 4 variances


def test_exit_codes():
    assert python("-m", "nnfast", "train").returncode == 2
    assert python("-m", "nnfast", "summary", "nothing").returncode == 1
    done = python("-m", "nnfast", "summary", "nothing", "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr
    for command in ("train", "evaluate", "predict", "summary", "export", "bench", "demo", "examples", "info"):
        done = python("-m", "nnfast", command, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: nnfast {command}")


def no_gain(tmp_path):
    """Data on which a high learning rate ends in infinity."""
    path = tmp_path / "p.csv"
    path.write_text("a,price\n" + "".join(f"{i % 13 + 0.5},{(i * 7) % 11 + 0.25}\n" for i in range(60)))
    return path


def test_a_loss_that_is_not_finite_saves_what_was_reached(tmp_path, capsys):
    path, out = no_gain(tmp_path), tmp_path / "m.safetensors"
    code, _, err = run(capsys, "train", path, "--target", "price", "--lr", "1e30", "--epochs", "50", "--out", out,
                       "--quiet")
    assert code == 1 and "not finite" in err and f"saved what was reached as {out}" in err
    assert np.isfinite(nf.load(out).get_weights()[0]).all()


def test_json_has_no_infinity(tmp_path, capsys):
    path, out = no_gain(tmp_path), tmp_path / "m.safetensors"
    assert run(capsys, "train", path, "--target", "price", "--epochs", "1", "--out", out, "--quiet")[0] == 0
    path.write_text("a,price\n1.5,1e30\n2.5,1\n")

    def refuse(name):
        raise AssertionError(name)

    report = json.loads(run(capsys, "evaluate", out, path, "--json")[1], parse_constant=refuse)
    assert report["figures"]["loss"] is None


@pytest.mark.parametrize(("arguments", "text"), [
    (["--out", "{folder}"], "is a folder"),
    (["--out", "{pipe}"], "is not a file, and would be replaced by one"),
    (["--out", "{folder}/none/m.safetensors"], "there is no folder"),
    (["--out", "/proc/m.safetensors"], "cannot be written"),
    (["--out", "{folder}/m.png", "--plot", "{folder}/m.png"], "would overwrite the model"),
])
@pytest.mark.skipif(not hasattr(os, "mkfifo") or not os.path.isdir("/proc"), reason="pipes and /proc are Linux's")
def test_outputs_are_checked_before_training(arguments, text, animals, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.safetensors")
    arguments = [word.format(folder=tmp_path, pipe=tmp_path / "pipe.safetensors") for word in arguments]
    code, out, err = run(capsys, "train", animals, "--target", "animal", "--drop", "id", *arguments)
    assert code == 1 and text in err and out == ""
    with pytest.raises(OSError, match="Not a file"):
        nf.Sequential([nf.Dense(1)], input_shape=(1,)).save(tmp_path / "pipe.safetensors")


def test_kind_of_arrays(tmp_path, capsys, rng):
    x = rng.standard_normal((60, 2))
    y = (x[:, 0] > 0).astype(float)
    for values in (y, y[:, None], y.astype(int)[:, None], np.where(y > 0, b"yes", b"no")):
        np.savez(tmp_path / "d.npz", x=x, y=values)
        out = run(capsys, "train", tmp_path / "d.npz", "--kind", "classes", "--epochs", "1")[1]
        assert "predicting 2 classes" in out and "b'" not in out
    np.savez(tmp_path / "d.npz", x=x, y=x)
    assert "--kind classes needs one label for each sample, y has shape (60, 2)" in run(
        capsys, "train", tmp_path / "d.npz", "--kind", "classes")[2]
    np.savez(tmp_path / "d.npz", x=3, y=4)
    assert "y is a single value" in run(capsys, "train", tmp_path / "d.npz")[2]


def test_a_model_of_many_classes_is_saved_whatever_follows(tmp_path, capsys, rng):
    np.savez(tmp_path / "d.npz", x=rng.standard_normal((2400, 2)), y=np.arange(2400) % 1200)
    out = tmp_path / "m.safetensors"
    report = json.loads(run(capsys, "train", tmp_path / "d.npz", "--epochs", "1", "--out", out, "--json")[1])
    assert report["confusion"] is None and out.exists()


def test_a_column_that_is_predicted_twice(animals, capsys):
    twice = ["--target", "legs"] * 2
    assert "--target: a column is named twice" in run(capsys, "train", animals, *twice)[2]

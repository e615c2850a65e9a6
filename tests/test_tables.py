"""Tables: as a beginner's files are, with messages that say what to do."""

import decimal
import gzip
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import nnfast as nf
from nnfast.data import csv, encode_labels, frame, normalization


@pytest.fixture
def write(tmp_path):
    def write(text, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path
    return write


HOUSES = """name,area,heating,garden,price
A,100,gas,yes,250000
B,80,,no,180000.5
C,NA,oil,no,200000
D,60,gas,yes,150000
"""


def test_a_spreadsheet(write):
    path = write(HOUSES)
    table = csv(path, target="price", missing="mean", drop="name")
    assert table.feature_names == ["area", "heating=gas", "heating=oil", "heating=", "garden=no", "garden=yes"]
    np.testing.assert_array_equal(table.x, np.float32([
        [100, 1, 0, 0, 0, 1], [80, 0, 0, 1, 1, 0], [80, 0, 1, 0, 1, 0], [60, 1, 0, 0, 0, 1]]))
    np.testing.assert_array_equal(table.y, np.float32([250000, 180000.5, 200000, 150000]))
    assert table.classes is None and table.x.dtype == table.y.dtype == np.float32
    dropped = csv(path, target=["price", "area"], missing="drop", drop=["name"])
    np.testing.assert_array_equal(dropped.y, np.float32([[250000, 100], [150000, 60]]))
    assert table.rows.tolist() == [0, 1, 2, 3] and dropped.rows.tolist() == [0, 3]


@pytest.mark.parametrize("text", [
    "a;b;c\n1,5;x;0\n2,5;y;1\n", "a\tb\tc\r\n1.5\tx\t0\r\n2.5\ty\t1\r\n", "\ufeffa,b,c\n1.5,x,0\n2.5,y,1\n",
    "a|b|c\n1.5|x|0\n\n2.5| y |1\n", '"a","b","c"\n"1.5","x","0"\n2.5,"y",1',
], ids=["comma", "tabs", "bom", "bars", "quotes"])
def test_dialects(write, text):
    table = csv(write(text), target="c")
    np.testing.assert_array_equal(table.x, [[1.5, 1, 0], [2.5, 0, 1]])
    np.testing.assert_array_equal(table.y, [0, 1])


@pytest.mark.parametrize("values, kind, expected", [
    (["b", "a", "b"], "auto", ["a", "b"]),
    (["0", "1", "0", "1", "0", "1"], "auto", ["0", "1"]),
    (["0", "1", "2"], "auto", None),
    (["0.5", "1", "1"], "auto", None),
    (["0.5", "1", "1"], "classes", ["0.5", "1"]),
    (["0", "1"] * 3, "numbers", None),
])
def test_kind_of_target(write, values, kind, expected):
    path = write("a,t\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values)))
    table = csv(path, target="t", kind=kind)
    assert table.classes == expected
    if expected:
        assert [table.classes[i] for i in table.y] == [format(float(v), "g") if v[0].isdigit() else v for v in values]


@pytest.mark.parametrize("classes, kind", [([20240101, 20240102], "auto"), ([1.2345678, 1.2345679], "classes")])
def test_classes_of_many_digits_stay_apart(write, classes, kind):
    data = pd.DataFrame({"a": range(12), "y": classes * 6})
    for table in (frame(data, "y", kind=kind), csv(write(data.to_csv(index=False)), "y", kind=kind)):
        assert table.classes == list(map(str, classes)) and table.y.tolist() == [0, 1] * 6
        assert frame(data, encoding=table.encoding).y.tolist() == [0, 1] * 6


def test_further_data_are_encoded_alike(write):
    table = csv(write(HOUSES), target="garden", missing="mean", drop=["name", "price"])
    again = csv(write("garden,heating,area,more\nno,oil,,1\nyes,,7,2\n", "b.csv"),
                encoding=table.encoding.to_dict(), missing="mean")
    assert again.feature_names == table.feature_names
    np.testing.assert_array_equal(again.x, [[80, 0, 1, 0], [7, 0, 0, 1]])
    np.testing.assert_array_equal(again.y, [0, 1])
    without = csv(write("heating,area\ngas,3\n", "c.csv"), encoding=table.encoding)
    assert without.y is None
    with pytest.raises(ValueError, match="column 'heating' has 'wood' in row 3, which the data before did not have"):
        csv(write("heating,area\ngas,1\nwood,3\n", "d.csv"), encoding=table.encoding)
    with pytest.raises(ValueError, match="column 'area' has 'big' in row 2, where the data before had numbers"):
        csv(write("heating,area\ngas,big\n", "d.csv"), encoding=table.encoding)
    with pytest.raises(ValueError, match="leave target, kind, drop, categories and max_one_hot out"):
        csv(write(HOUSES), target="price", encoding=table.encoding)
    with pytest.raises(ValueError, match="garden' has 'maybe', which is not among the classes no, yes"):
        csv(write("heating,area,garden\ngas,1,maybe\n", "d.csv"), encoding=table.encoding)


FRAMES = [lambda columns: pd.DataFrame(columns), lambda columns: pl.DataFrame(columns),
          lambda columns: pa.table(columns)]

SALES = """town,size,colour,price
Rome,1,red,10
Oslo,2,blue,20
Rome,3,red,30
Bonn,4,,40
Oslo,5,blue,50
Kiel,6,,60
"""


def towns(counts):
    """A table with a town in so many rows each: "t0", "t1", ..."""
    names = [f"t{i}" for i, count in enumerate(counts) for _ in range(count)]
    return "town,price\n" + "".join(f"{name},{i % 7}.5\n" for i, name in enumerate(names))


def test_texts_as_ids(write):
    table = csv(write(SALES), target="price", missing="mean", max_one_hot=3)        # colour has two and no value
    assert table.feature_names == ["size", "colour=blue", "colour=red", "colour="]
    assert table.encoding.id_names == ["town"] and table.encoding.n_ids == 4
    assert list(table.x) == ["numbers", "ids"]
    np.testing.assert_array_equal(table.x["numbers"][:, 0], [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(table.x["ids"], [[3], [2], [3], [0], [2], [1]])
    assert table.x["numbers"].dtype == np.float32 and table.x["ids"].dtype == np.int32
    assert repr(table) == "<Table: 6 rows, 4 features, 1 column of ids (4), target 'price'>"


def test_ids_of_columns_do_not_overlap(write):
    table = csv(write(SALES), target="price", missing="mean", drop="size", max_one_hot=0)
    assert list(table.x) == ["ids"] and table.feature_names == [] and table.encoding.id_names == ["town", "colour"]
    np.testing.assert_array_equal(table.x["ids"], [[3, 5], [2, 4], [3, 5], [0, 6], [2, 4], [1, 6]])
    assert table.encoding.n_ids == 7
    assert repr(table.encoding) == "<TableEncoding: 2 columns, 2 columns of ids (7)>"


@pytest.mark.parametrize(("counts", "shared"), [
    ([1] * 20 + [30] * 3, 20),              # of one row, whatever share of the rows that is
    ([1] * 19 + [2, 30, 30], 0),            # 21 rows would do, but two of them are 1.2 % less to learn from
    ([1] * 19 + [2, 100, 100], 20),
    ([1] * 5 + [3] * 5 + [2000], 10),
    ([4] * 12 + [5000], 10),                # ten of twelve
    ([4] * 12 + [400], 0),
    ([1] * 9 + [3000], 0),                  # too few
])
def test_rare_texts_share_an_id(write, counts, shared):
    encoding = csv(write(towns(counts)), target="price", max_one_hot=0).encoding
    (column,) = encoding.columns
    assert len(column["values"]) == len(counts) - shared and column["other"] == bool(shared)
    assert encoding.n_ids == len(counts) - shared + bool(shared)
    if shared:
        last = f"t{len(counts) - 1}"
        again = csv(write(f"town\nt0\n{last}\n{last}\n", "b.csv"), encoding=encoding)
        np.testing.assert_array_equal(again.x["ids"][:, 0], [encoding.n_ids - 1] + [column["values"].index(last)] * 2)


def test_further_texts_as_ids(write):
    table = csv(write(SALES), target="price", missing="mean", max_one_hot=0)
    encoding = table.encoding.to_dict()
    again = csv(write("colour,town,size\nred,Kiel,1\n,Rome,2\n", "b.csv"), encoding=encoding, missing="mean")
    np.testing.assert_array_equal(again.x["ids"], [[1, 5], [3, 6]])
    with pytest.raises(ValueError, match=r"column 'colour' has 'rad' in row 2, which the data before did not have; did "
                                         r"you mean 'red'\? \(blue, red, no value\)"):
        csv(write("colour,town,size\nrad,Rome,1\n", "c.csv"), encoding=encoding)
    for arguments in ({"max_one_hot": 0}, {"categories": "town"}):
        with pytest.raises(ValueError, match="leave target, kind, drop, categories and max_one_hot out"):
            csv(write(SALES), encoding=encoding, **arguments)
    grades = csv(write("grade,mark\n" + "1,1\n1.0,2\nA,3\nB,4\n" * 2), target="mark", max_one_hot=0)
    again = csv(write("grade\n1.0\n1\n", "d.csv"), encoding=grades.encoding)          # texts, though all are numbers
    np.testing.assert_array_equal(again.x["ids"], [[1], [0]])


@pytest.mark.parametrize("make", FRAMES)
def test_ids_of_frames(make, write):
    columns = {"town": ["a", "b", "a", "c", "b", "a"], "price": [1.0, 2, 3, 4, 5, 6.5]}
    table, expected = frame(make(columns), "price", max_one_hot=2), csv(write("town,price\n" + "".join(
        f"{town},{price}\n" for town, price in zip(*columns.values()))), "price", max_one_hot=2)
    np.testing.assert_array_equal(table.x["ids"], [[0], [1], [0], [2], [1], [0]])
    assert table.encoding == expected.encoding


def test_most_texts_unknown(write):
    encoding = csv(write(towns([1] * 20 + [30, 30])), target="price", max_one_hot=0).encoding
    for further in ("town\nx\nt20\n", "town\nt21\nt20\nx\n"):
        csv(write(further, "b.csv"), encoding=encoding)
    with pytest.warns(UserWarning, match=r"'town': in 2 of 3 rows it has texts that .* as 'T20'; did you mean 't20'\?"):
        csv(write("town\nt20\nT20\nT21\n", "b.csv"), encoding=encoding)


@pytest.mark.parametrize("make", FRAMES)
def test_empty_texts_and_none_are_one(make):
    columns = {"s": ["", "a", None, "b", "a", "", "c", None], "price": [1.5, 2, 3, 4, 5, 6, 7, 8]}
    table = frame(make(columns), "price", missing="mean", max_one_hot=0)
    assert table.encoding.columns[0]["values"] == ["a", "b", "c", ""]
    np.testing.assert_array_equal(table.x["ids"][:, 0], [3, 0, 3, 1, 0, 3, 2, 3])
    assert frame(make(columns), "price", missing="mean").feature_names == ["s=a", "s=b", "s=c", "s="]


def test_numbers_that_are_names(write):
    """Postcodes: their order means nothing, and a first zero counts."""
    codes = [f"{i % 30:05d}" for i in range(120)]
    data = pd.DataFrame({"code": codes, "number": [int(code) for code in codes], "price": np.arange(120) / 7})
    data["kind"] = data.code.astype("category")
    path = write(data.to_csv(index=False))
    table = csv(path, target="price", categories=["code", "kind", "number"], max_one_hot=25)
    assert table.encoding.id_names == ["code", "number", "kind"]
    assert table.encoding.columns[0]["values"][:2] == ["00000", "00001"]
    assert table.encoding.columns[1]["values"][:2] == ["0", "1"]
    same = frame(data, "price", categories=["code", "number"], max_one_hot=25)      # kind says it itself
    assert same.encoding == table.encoding
    for again in (csv(path, encoding=table.encoding), frame(data, encoding=table.encoding.to_dict())):
        np.testing.assert_array_equal(again.x["ids"], table.x["ids"])
    assert csv(path, target="price").feature_names == ["code", "number", "kind"]
    with pytest.raises(ValueError, match=r"'code' holds numbers as texts, as '00000' in row 0; make numbers of "
                                         r"them \(pandas.to_numeric\), or .* names with categories=\['code'\], or"):
        frame(data, "price")
    with pytest.raises(ValueError, match="'number' is among categories and in drop; leave it out of one"):
        csv(path, target="price", categories="number", drop="number")
    with pytest.raises(ValueError, match="the target 'number' is among categories, so .* leave kind='numbers' out"):
        csv(path, target="number", categories="number", kind="numbers")
    with pytest.raises(ValueError, match="there is no column 'Code'; did you mean 'code'?"):
        csv(path, target="price", categories="Code")


def test_a_target_whose_numbers_are_names(write):
    codes = ["9007199254740992", "9007199254740993", "007"]
    path = write("a,code\n" + "".join(f"{i},{code}\n" for i, code in enumerate(2 * codes)))
    table = csv(path, target="code", categories="code")
    assert table.classes == ["007", *codes[:2]] and table.y.tolist() == [1, 2, 0, 1, 2, 0]
    assert csv(path, encoding=table.encoding.to_dict()).y.tolist() == table.y.tolist()
    data = pd.DataFrame({"a": range(4), "code": [2**53, 2**53 + 1] * 2})
    table = frame(data, "code", categories="code")
    assert table.classes == codes[:2] and table.y.tolist() == [0, 1, 0, 1]
    for again in (frame(data, encoding=table.encoding), csv(write(data.to_csv(index=False)), encoding=table.encoding)):
        assert again.y.tolist() == [0, 1, 0, 1]
    classes = frame(data[::2].assign(code=[5, 2**53]), "code", kind="classes").encoding
    with pytest.raises(ValueError, match="'code' has '9007199254740993', which is not among the classes 5, 900719925"):
        frame(data[1:2], encoding=classes)


@pytest.mark.parametrize("make", FRAMES)
def test_whole_numbers_that_a_float_would_round(make, write):
    numbers = [2**53, 2**53 + 1, 2**53 + 2, -2**60 - 1]
    columns = {"id": numbers, "y": [1.5, 2.5, 3.5, 4.5]}
    file = write("id,y\n" + "".join(f"{number},{y}\n" for number, y in zip(*columns.values())))
    told = (r"column 'id' has 9007199254740993 in row {}, .* beyond 2\*\*53; subtract .* categories=\['id'\], "
            "as texts keep ")
    for kwargs, advice in (({"target": "y"}, r"all digits, or leave the column out with drop=\['id'\]$"),
                           ({"target": "id", "kind": "classes"}, "all digits$"), ({"target": "id"}, "all digits$")):
        with pytest.raises(ValueError, match=told.format(1) + advice):
            frame(make(columns), **kwargs)
        with pytest.raises(ValueError, match=told.format(3) + advice):
            csv(file, **kwargs)
    with pytest.raises(ValueError, match=r"'id' has 9007199254740993 in row 1, .*2\*\*53; leave it out of the targets"):
        frame(make({**columns, "x": numbers}), ["y", "id"], categories="x")
    names = sorted(map(str, numbers))
    tables = [frame(make(columns), "y", categories="id"), csv(file, "y", categories="id")]
    for table in (*tables, frame(make(columns), encoding=tables[1].encoding), csv(file, encoding=tables[0].encoding)):
        assert table.encoding.columns[0]["values"] == names
        np.testing.assert_array_equal(table.x.argmax(axis=1), [names.index(str(number)) for number in numbers])
    for target in (None, "id"):
        exact = frame(make({"id": [2**53, 2**60], "y": [1, 2]}), target).encoding       # nothing is lost
        with pytest.raises(ValueError, match="has 9007199254740993 in row 1, .* is this the same column"):
            frame(make(columns), encoding=exact)
    assert frame(make(columns), drop="id").feature_names == csv(file, drop="id").feature_names == ["y"]


def test_missing_values_are_no_names(write):
    data = pd.DataFrame({"code": pd.array([7, None, 2**53 + 1, 7], "Int64"), "y": [1.5, 2.5, 3.5, 4.5]})
    table = frame(data, "y", "mean", categories="code")
    assert table.feature_names == ["code=7", "code=9007199254740993", "code="]
    assert frame(data, missing="mean", encoding=table.encoding).x.argmax(axis=1).tolist() == [0, 2, 1, 0]
    with pytest.raises(ValueError, match=r"values are missing in the columns 'code' \(1\)"):
        frame(data, "y", categories="code")


@pytest.mark.parametrize("values", [
    [1, None, 2], [1.5, None, float("nan")], [True, None, False], [decimal.Decimal("1.5"), None, decimal.Decimal(2)],
    [np.int8(1), None, np.float32(2.5)], [True, 2, 3.5],
])
def test_objects_that_are_numbers(values):
    data = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    table = frame(data, missing="mean")
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    assert table.feature_names == ["a"]
    np.testing.assert_array_equal(table.x[:, 0], np.float32(np.where(np.isnan(numbers), np.nanmean(numbers), numbers)))
    with pytest.raises(ValueError, match="'a' has 9007199254740993 in row 3"):
        frame(pd.DataFrame({"a": pd.Series([*values, 2**53 + 1], dtype=object)}), missing="mean")


def test_sparse_columns_are_numbers():
    data = pd.DataFrame({"town": list("abca")})
    for dtype in (bool, int, float):
        sparse = pd.get_dummies(data, sparse=True, dtype=dtype)
        table = frame(sparse)
        assert table.feature_names == ["town_a", "town_b", "town_c"]
        np.testing.assert_array_equal(table.x, sparse.to_numpy())


@pytest.mark.parametrize("make", FRAMES)
@pytest.mark.parametrize("words", [("True", "False"), ("true", "FALSE")])
def test_booleans_of_frames_and_files(make, words, write):
    values = [True, False, True, True, False, True]
    data = make({"open": values, "y": values})
    path = write("open,y\n" + "".join(f"{words[not value]},{words[not value]}\n" for value in values))
    table = frame(data, "y")
    assert table.feature_names == ["open"] and table.classes == ["0", "1"]
    numbers, names = frame(data, "y", kind="numbers"), frame(data, "y", categories=["open", "y"])
    assert names.feature_names == ["open=False", "open=True"] and names.classes == ["False", "True"]
    for earlier in (table, numbers, names, csv(path, "y")):
        for further in (csv(path, encoding=earlier.encoding), frame(data, encoding=earlier.encoding)):
            np.testing.assert_array_equal(further.x, earlier.x)
            np.testing.assert_array_equal(further.y, earlier.y)
    digits = csv(write("open,y\n" + "".join(f"{value:d},{i}.5\n" for i, value in enumerate(values)), "digits.csv"),
                 "y", categories="open")
    np.testing.assert_array_equal(frame(data, encoding={**digits.encoding.to_dict(), "target": None}).x, digits.x)
    with pytest.raises(ValueError, match="'open' has 'true' in row 2, where the data before had numbers"):
        csv(write("open\ntrue\n1\n", "mixed.csv"), encoding=table.encoding)


def test_encodings_that_are_none(write):
    for encoding in ([1], "town", {"columns": []}):
        with pytest.raises(TypeError, match=r"csv: encoding must be that of a table \(table.encoding\), got"):
            csv(write(SALES), encoding=encoding)


def test_columns_of_many_texts(write):
    """As columns of 0 and 1 they would fill the memory."""
    path = write("town,price\n" + "".join(f"town {i % 1001},{i % 7}.5\n" for i in range(5000)))
    with pytest.raises(ValueError, match="'town' has 1001 different texts; max_one_hot=50 makes ids of them"):
        csv(path, target="price")
    assert csv(path, target="price", max_one_hot=50).encoding.n_ids == 992       # ten share one
    assert csv(path, target="price", max_one_hot=1001).x.shape == (5000, 1001)   # who asks for it gets it
    names = write("name,price\n" + "".join(f"{f'n{i}' if i % 3 else 'x'},{i % 7}.5\n" for i in range(300)), "names.csv")
    with pytest.raises(ValueError, match="201 different texts in 300 rows, so it names rows"):
        csv(names, target="price", max_one_hot=10)
    with pytest.raises(ValueError, match="40 different texts in 40 rows, so it names rows"):
        csv(write(towns([1] * 40), "names.csv"), target="price", max_one_hot=10)
    for value in (-1, 1.5, "many", True):
        with pytest.raises((ValueError, TypeError), match="max_one_hot"):
            csv(path, target="price", max_one_hot=value)


def test_numbers_in_a_column_of_texts_stay_texts(write):
    grades = ["1", "1.0", "A", "B"]
    table = csv(write("grade,size,mark\n" + "".join(f"{g},{i},{g}\n" for i, g in enumerate(grades))), "mark")
    assert table.classes == grades
    for i, grade in enumerate(grades):
        again = csv(write(f"grade,size,mark\n{grade},3,{grade}\n"), encoding=table.encoding)
        assert again.x[0, i] == 1 and again.y.tolist() == [i]
    data = pd.DataFrame({"grade": [1], "size": [3], "mark": [1.0]})
    again = frame(data, encoding=table.encoding.to_dict())
    np.testing.assert_array_equal(again.x, [[1, 0, 0, 0, 3]])
    assert again.y.tolist() == [0]
    with pytest.raises(ValueError, match="'grade' has '01' in row 2, which the data before did not have"):
        csv(write("grade,size\n01,3\n"), encoding=table.encoding)
    with pytest.raises(ValueError, match="'mark' has '2.0', which is not among the classes 1, 1.0, A, B"):
        csv(write("grade,size,mark\n1,3,2.0\n"), encoding=table.encoding)


def test_classes_that_are_numbers_are_compared_as_numbers(write):
    table = csv(write("a;y\n" + "1;0,5\n2;1000000\n" * 3), "y", kind="classes")
    assert table.classes == ["0.5", "1000000"]
    further = write("a;y\n1;1e6\n1;0,50\n", "b.csv")
    assert csv(further, encoding=table.encoding).y.tolist() == [1, 0]
    earlier = table.encoding.to_dict() | {"target": {"names": ["y"], "kind": "classes", "classes": ["0.5", "1e+06"]}}
    assert csv(further, encoding=earlier).y.tolist() == [1, 0]      # as versions before 1000000 wrote it
    with pytest.raises(ValueError, match="'y' has 'maybe', which is not among the classes 0.5, 1000000"):
        csv(write("a,y\n1,0.50\n1,maybe\n", "c.csv"), encoding=table.encoding)


@pytest.mark.parametrize("text, arguments, message", [
    (HOUSES, {"target": "Price"}, "no column 'Price'; did you mean 'price'"),
    (HOUSES, {"target": "price"}, r"in the columns 'area' \(1\), 'heating' \(1\); .*'drop' .*'mean' fills them"),
    (HOUSES, {"target": "heating", "missing": "mean"}, r"'heating' \(1\); missing='drop' leaves such rows out$"),
    (HOUSES, {"target": ["price", "garden"], "missing": "mean"}, "several targets must be numbers, but 'garden'"),
    (HOUSES, {"target": "garden", "kind": "numbers", "missing": "mean"}, "is not all numbers, it has 'yes'"),
    (HOUSES, {"missing": "ignore"}, "unknown missing 'ignore'"),
    ("", {}, "is empty; the first line must name the columns"),
    (' \n\n," "\n', {}, "is empty; the first line must name the columns"),
    ("a,b\n", {}, "has no rows below the names"),
    ("a::b\n", {"separator": "::"}, "table.csv: separator must be one character, .* got '::'"),
    ("a::b\n", {"separator": "\n"}, "separator must be one character"),
    ("a,a\n1,2\n", {}, "the name 'a' twice"),
    ("a,\n1,2\n", {}, "a column without name"),
    ("1,2\n3,4\n", {}, "the first line holds numbers .* put a line of names above it"),
    ('a;"b\n1;2\n', {}, r"line 2: unexpected end of data; a quotation mark \(\"\) is not closed"),
    ('"a"x;b\n1;2\n', {}, "line 1: ';' expected after '\"'; a quotation mark"),
    ("a,b\n1,2\n3\n", {}, "line 3 has 1 values, the first line 2 names"),
    ("a,t\n1,x\n2,x\n", {"target": "t"}, "is 'x' in every row; there is nothing to learn"),
    ("a,t\n,1\n,2\n", {"target": "t", "missing": "mean"}, r"column 'a' is empty; leave it out with drop=\['a'\]"),
    ("t\n1\n", {"target": "t"}, "no column is left to predict from"),
    ("id,t\n" + "".join(f"k{i},{i}\n" for i in range(99)), {"target": "t"}, "99 different texts in 99 rows, so it"),
    ("a,t\n" + "".join(f"{i},k{i}\n" for i in range(99)), {"target": "t"}, "is it the right column?"),
])
def test_tables_that_are_none(write, text, arguments, message):
    with pytest.raises(ValueError, match=message):
        csv(write(text), **arguments)


def test_a_file_that_is_no_text(write):
    with pytest.raises(ValueError, match="spreadsheets can save as 'CSV UTF-8'"):
        csv(write("größe\n1\n", encoding="latin-1"))


@pytest.mark.parametrize("make", FRAMES, ids=["pandas", "polars", "arrow"])
class TestFrames:
    def test_as_tables(self, make, write):
        columns = {"area": [100.0, 80.0, None, 60.0], "heating": ["gas", None, "oil", "gas"],
                   "garden": [True, False, False, True], "price": [250000.0, 180000.5, 200000.0, 150000.0]}
        table = frame(make(columns), target="price", missing="mean")
        expected = csv(write(HOUSES.replace("yes", "1").replace("no,", "0,")), "price", missing="mean", drop="name")
        assert table.encoding == expected.encoding
        np.testing.assert_array_equal(table.x, expected.x)

    def test_in_fit_and_predict(self, make, rng):
        x = rng.standard_normal((50, 3))
        columns = {name: x[:, i] for i, name in enumerate("abc")}
        model, other = (nf.Sequential([nf.Dense(1)], input_shape=(3,)) for _ in range(2))
        for m, data in ((model, x), (other, make(columns))):
            m.compile("sgd", "squared_error")
            m.fit(data, x[:, :1], epochs=2, verbose=0)
        np.testing.assert_array_equal(model.predict(x), other.predict(make(columns)))

    def test_errors_name_the_column(self, make):
        model = nf.Sequential([nf.Dense(1)], input_shape=(2,))
        model.compile("sgd", "squared_error")
        with pytest.raises(ValueError, match="nan at row 1, column 'weight'; data must be finite"):
            model.fit(make({"age": [1.0, 2.0], "weight": [3.0, float("nan")]}), [1.0, 2.0], verbose=0)
        with pytest.raises(TypeError, match="column 'name'"):
            model.fit(make({"age": [1.0, 2.0], "name": ["x", "y"]}), [1.0, 2.0], verbose=0)
        with pytest.raises(TypeError, match="Decimal.* at row 0, column 'price'"):
            model.fit(make({"age": [1.0, 2.0], "price": [decimal.Decimal("1.5")] * 2}), [1.0, 2.0], verbose=0)


@pytest.mark.parametrize(("values", "shown"), [
    (["1.5", "2", "n. b."], "'n. b.' in row 4"), (["1.5%", "2%", "3%"], "'1.5%' in row 2"),
    (['"1,234.5"', "7.5", "8.5"], "'1,234.5' in row 2"), (["1.5", "inf", "2"], "'inf' in row 3"),
    ([f"${i}" for i in range(30)], "'$0' in row 2"), ([f"{i}%" for i in range(20)], "'0%' in row 2"),
    (["$5", "$7", "$5"], "'$5' in row 2"), (["7 €", "12 €"] * 9, "'7 €' in row 2"),
])
def test_spoilt_numbers_are_not_text(write, values, shown):
    path = write("amount,y\n" + "".join(f"{value},{i}.5\n" for i, value in enumerate(values)))
    with pytest.raises(ValueError, match=re.escape(f"column 'amount' has {shown}")):
        csv(path, target="y")


@pytest.mark.parametrize(("typo", "rows"), [("1O", 1000), ("inf", 1000), ("1O", 12)])
def test_a_typo_among_few_whole_numbers(write, typo, rows):
    values = [str(1 + i % 4) for i in range(rows - 1)]
    for name in ("rooms", "y"):                 # also in the target
        path = write("rooms,y\n" + "".join(f"{value},{value}\n" for value in values) +
                     (f"{typo},1\n" if name == "rooms" else f"1,{typo}\n"))
        with pytest.raises(ValueError, match=f"column '{name}' has '{typo}' in row {rows + 1}, but most of its values"):
            csv(path, target="y")


@pytest.mark.parametrize("codes", ["123A", "0123456789X", "0E"])
def test_codes_that_come_as_often_as_others_stay_text(write, codes):
    table = csv(write("code,y\n" + "".join(f"{code},{i}.5\n" for i, code in enumerate(50 * codes))), target="y")
    assert table.feature_names == [f"code={code}" for code in codes]
    assert frame(pd.DataFrame({"code": list("121")})).feature_names == ["code=1", "code=2"]


def test_thousands_beside_decimal_commas(write):
    path = write("amount;y\n999,5;1,5\n1.234;2,5\n")       # twelve hundred, or a little more than one?
    with pytest.raises(ValueError, match="column 'amount' has '1.234' in row 3"):
        csv(path, target="y")
    np.testing.assert_array_equal(csv(write("a;y\n9,5;1\n12;2\n1,25;3\n"), target="y").x[:, 0], [9.5, 12, 1.25])


@pytest.mark.parametrize("values", [["999", "1,000"], ["0", "12", "-250,000"]])
def test_commas_of_thousands_or_decimals(write, values):
    path = write("amount;y\n" + "".join(f"{value};{i},5\n" for i, value in enumerate(values)))
    with pytest.raises(ValueError, match=f"'amount' has '{values[-1]}' in row {len(values) + 1}: does its comma mark "
                                         f"thou.* Write {values[-1].replace(',', '')} or {values[-1]}0"):
        csv(path, target="y")


@pytest.mark.parametrize("values", [["1,859", "2,000"], ["2", "0,125"], ["2", "1,25", "1,125"], ["1,125", "1500"]])
def test_commas_of_decimals_before_three_digits(write, values):
    path = write("litre;y\n" + "".join(f"{value};{i},5\n" for i, value in enumerate(values)))
    np.testing.assert_array_equal(csv(path, "y").x[:, 0], np.float32([value.replace(",", ".") for value in values]))


@pytest.mark.parametrize("values", [["980", "1.250"], ["NA", "1.250", "1.000"], ["980", "1.234.567", "-12.500"]])
@pytest.mark.parametrize("price", ["10,5", "1.010,5"])
def test_points_of_thousands_or_decimals(write, values, price):
    rows = "".join(f"{value};{price};{i},5\n" for i, value in enumerate(values))
    row, value = next((row, value) for row, value in enumerate(values, 2) if value.count(".") == 1)
    with pytest.raises(ValueError, match=f"'amount' has '{value}' in row {row}, and other columns have decimal commas: "
                                         f"does its point mark thou.* Write {value.replace('.', '')} or "
                                         f"{value.replace('.', ',')}$"):
        csv(write("amount;price;y\n" + rows), target="y", drop="price", missing="mean")
    assert csv(write("amount;price;y\n" + rows), drop=["amount", "price"]).feature_names == ["y"]
    table = csv(write("amount;price;y\n" + rows), target="y", categories="amount", drop="price", missing="mean")
    assert set(table.encoding.columns[0]["values"]) == {"" if value == "NA" else value for value in values}


@pytest.mark.parametrize("text", [
    "a;y\n1.250;10,5\n980.5;9,5\n3;1\n", "a;y\n0.125;10,5\n1.250;9,5\n", "a;y\n1.25;10,5\n980;9,5\n",
    "a;y\n1.250;10\n980;9\n", "a;y;town\n1.250;10;Berlin, West\n980;9;Bonn\n", "a,y\n1.250,10\n980,9\n",
    "a;y\n980;10,5\n7;9,5\n",
], ids=["decimals", "below 1", "two digits", "no commas", "commas of texts", "commas", "whole"])
def test_points_of_decimals(write, text):
    separator = text[1]
    expected = [float(line.split(separator)[0]) for line in text.splitlines()[1:]]
    np.testing.assert_array_equal(csv(write(text), "y", kind="numbers").x[:, 0], np.float32(expected))


@pytest.mark.parametrize("names", ['"Price, EUR";"Size, m2, net"', '"a,b,c,d";"e"', '\n \n"x,y";y'])
def test_commas_within_names_separate_nothing(write, names):
    table = csv(write(f"{names}\n1,5;2,5\n3;4,5\n"))
    np.testing.assert_array_equal(table.x, [[1.5, 2.5], [3, 4.5]])


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", "\ufeffsep=;\n", '"sep=;"\n'])
def test_the_separator_for_excel(write, line):
    text = line + "a,b,c;y\n1,5;2\n\n2,5;3\n"
    for separator in (None, ";"):
        table = csv(write(text), "y", separator=separator)
        assert table.feature_names == ["a,b,c"] and table.lines.tolist() == [2, 4]      # Excel does not show the line
        np.testing.assert_array_equal(table.x[:, 0], [1.5, 2.5])
    with pytest.raises(ValueError, match="line 6 has 1 values, the first line 2 names"):
        csv(write(text + "7\n"))
    assert csv(write("sep=|\na|y\n1|2\n3|4\n")).feature_names == ["a", "y"]
    assert csv(write("sep=;y\n1;2\n3;4\n")).feature_names == ["sep=", "y"]


def test_codes_of_text_and_numbers_stay_text(write):
    table = csv(write("stars,y\n" + "".join(f"{stars},{i}.5\n" for i, stars in enumerate("12345x"))), target="y")
    assert table.feature_names == [f"stars={code}" for code in "12345x"]


@pytest.mark.parametrize("date", ["2024-01-{:02d}", "{:02d}.01.2024", "2024-1-{} 12:30", "1/{}/24", "{:02d}-01-2024",
                                  "{}-1-24"])
@pytest.mark.parametrize("others", ["", "unknown,1.5\n", "spring,1.5\n7,2.5\nunknown,3.5\nunknown,4.5\n"])
def test_dates_in_a_file(write, date, others):
    path = write("day,y\n" + others + "".join(f"{date.format(i)},{i}.5\n" for i in range(1, 6)))
    with pytest.raises(ValueError, match=r"column 'day' holds dates or times; .*, or leave it out with drop=\['day'\]"):
        csv(path, target="y")
    with pytest.raises(ValueError, match=r"column 'day' holds dates or times; turn it into numbers \(.* the day\)$"):
        csv(path, target="day")


@pytest.mark.parametrize("codes", [["A1", "B2"], ["1A", "2B", "3A"], ["1-2", "3-4"], ["12-34-5", "34-5-1234"],
                                   ["1", "2", "3+"], ["5", "+", "x"], ["v1.2", "v1.3"], ["10:30", "11:30"]])
def test_codes_are_neither_amounts_nor_dates(write, codes):
    table = csv(write("code,y\n" + "".join(f"{code},{i}.5\n" for i, code in enumerate(4 * codes))), "y")
    assert table.feature_names == sorted(f"code={code}" for code in codes)


@pytest.mark.parametrize("make", FRAMES)
def test_numbers_as_texts_of_a_frame(make):
    data = make({"size": ["1.5", "2.5", "3"], "y": [1.5, 2.5, 3.5]})
    told = r"frame: column 'size' holds numbers as texts, as '1.5' in row 0; .* categories=\['size'\]"
    with pytest.raises(ValueError, match=told + r", or leave the column out with drop=\['size'\]$"):
        frame(data, "y")
    with pytest.raises(ValueError, match=told + "$"):
        frame(data, "size")
    assert frame(data, "y", categories="size").feature_names == ["size=1.5", "size=2.5", "size=3"]


def test_numbers_beyond_float32(write):
    with pytest.raises(ValueError, match="column 'a' has 1e\\+39 in row 3"):
        csv(write("a,y\n1,1.5\n1e39,2.5\n"), target="y")
    with pytest.raises(ValueError, match="row 0; numbers must be finite"):
        frame(pd.DataFrame({"a": [np.inf, 1.0], "y": [1.5, 2.5]}), "y")
    with pytest.raises(ValueError, match="normalization: the numbers of column 1 are so large"):
        normalization(np.array([[1.0, 1e30], [2.0, 3e30]]))


SINCE_1970 = 1_700_000_000


@pytest.mark.parametrize("numbers", [
    SINCE_1970 + np.arange(99), [16777216, 16777217], -SINCE_1970 - np.arange(9), SINCE_1970 + 900 * np.arange(96),
    48.137 + 1e-6 * np.arange(9), 1.5e18 + 1e9 * np.arange(50),
], ids=["seconds", "ids", "below 0", "a day", "degrees", "nanoseconds"])
def test_numbers_far_from_0_stay_apart(write, numbers):
    data = pd.DataFrame({"a": numbers, "b": np.arange(len(numbers)), "y": numbers})
    offset = float(min(numbers))
    for table in (frame(data, "y"), csv(write(data.to_csv(index=False)), "y", kind="numbers")):
        expected = np.float32(np.float64(numbers) - offset)
        np.testing.assert_array_equal(table.x[:, 0], expected)
        np.testing.assert_array_equal(table.y, expected)
        assert table.encoding.columns[0]["offset"] == offset and table.encoding.target["offsets"] == [offset]
        assert "offset" not in table.encoding.columns[1] and table.feature_names[1] == "b"
        again = frame(data[::-1], encoding=table.encoding.to_dict())
        np.testing.assert_array_equal(again.x, table.x[::-1])
        np.testing.assert_array_equal(again.y, table.y[::-1])


def test_names_say_what_was_subtracted():
    data = pd.DataFrame({"a": [SINCE_1970 + 7, None, SINCE_1970 + 9], "b": [-SINCE_1970 - 1.5, -SINCE_1970, 0.5],
                         "c": [-SINCE_1970 - 1.5, -SINCE_1970, -SINCE_1970], "y": [1e9, 1e9 + 1, 1e9], "z": [1, 2, 4]})
    table = frame(data, ["y", "z"], missing="mean")
    assert table.feature_names == ["a-1700000007", "b", "c+1700000001.5"] and table.x[:, 0].tolist() == [0, 1, 2]
    assert repr(table) == "<Table: 3 rows, 3 features, target 'y-1000000000', 'z'>"
    np.testing.assert_array_equal(table.y, [[0, 1], [1, 2], [0, 4]])


@pytest.mark.parametrize("numbers", [
    [0.1] * 9, [0.1 + 0.2, 0.3], np.arange(2000, 2025), 2**24 - np.arange(9), [1e-30, 2e-30], [1e30, 2e30],
    np.random.default_rng(0).uniform(0, 1, 9999), 290 + np.random.default_rng(0).standard_normal(9999),
], ids=["equal", "rounded", "years", "whole", "small", "large", "random", "degrees"])
def test_numbers_that_float32_keeps_apart_stay_as_they_are(numbers):
    table = frame(pd.DataFrame({"a": numbers}))
    np.testing.assert_array_equal(table.x[:, 0], np.float32(numbers))
    assert table.feature_names == ["a"]


def test_rows_are_counted_as_spreadsheets_do(write):
    text = 'a,b,y\n\n\n1,"two\nlines",0\n,x,1\n2,x,1\n'
    table = csv(write(text), missing="drop")
    assert table.rows.tolist() == [0, 2] and table.lines.tolist() == [4, 6]
    with pytest.raises(ValueError, match="'b' has 'y' in row 7, which"):
        csv(write(text + "2,y,1\n"), encoding=table.encoding, missing="mean")
    frames = frame(pd.DataFrame({"a": [None, 1.0, 2.0]}), missing="drop")
    assert frames.rows.tolist() == frames.lines.tolist() == [1, 2]


@pytest.mark.parametrize("empty", ["\n", " \r\n\n", ",\n", '" ",\n'])
def test_empty_lines_above_the_names(write, empty):
    table = csv(write(empty + "a,y\n1,2.5\n2,3.5\n"), "y")
    assert table.feature_names == ["a"] and table.lines.tolist() == [empty.count("\n") + 2, empty.count("\n") + 3]


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_a_frame_without_rows(missing):
    with pytest.raises(ValueError, match="^frame: has no rows$"):
        frame(pd.DataFrame({"a": [], "y": []}), "y", missing)


def test_a_packed_file(write, tmp_path):
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(HOUSES.encode()))
    packed = csv(tmp_path / "table.csv.gz", "price", "mean")
    np.testing.assert_array_equal(packed.x, csv(write(HOUSES), "price", "mean").x)


def test_damaged_packed_files(tmp_path, rng):
    path = tmp_path / "table.csv.gz"
    packed = gzip.compress(b"a,y\n" + b"".join(b"%f,1\n" % value for value in rng.random(5000)))
    for damaged in (packed[:-9], packed[:10_000], packed[:5000] + b"\xff" * 99 + packed[5100:], b"a,y\n1,2\n"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"table.csv.gz: damaged gzip file: "):
            csv(path)


def test_frames_of_every_kind_of_column():
    data = pd.DataFrame({
        "day": pd.date_range("2024", periods=4), "open": [True, False, True, True], "size": [1.5, 2.5, None, 4.5],
        "rooms": pd.array([1, None, 3, 4], "Int64"), "lift": pd.array([True, None, True, False], "boolean"),
        "heat": pd.Series(["gas", None, "oil", "gas"], dtype="string"), "y": [1.5, 2.5, 3.5, 4.5]})
    table = frame(data, "y", "mean", drop="day")
    assert table.feature_names == ["open", "size", "rooms", "lift", "heat=gas", "heat=oil", "heat="]
    np.testing.assert_array_equal(frame(pl.from_pandas(data), "y", "mean", drop="day").x, table.x)
    np.testing.assert_array_equal(frame(data, missing="mean", encoding=table.encoding).x, table.x)  # the day unused
    numbered = data[["size", "y"]].set_axis([0, 1], axis=1)
    assert frame(numbered, 1, "mean").feature_names == ["0"]
    with pytest.raises(ValueError, match="two columns have the name 'y'"):
        frame(data[["y", "y"]], "y")
    with pytest.raises(TypeError, match=r"got LazyFrame; call \.collect\(\) first"):
        frame(pl.DataFrame({"a": [1.0]}).lazy())


def test_fit_takes_pandas_columns_of_several_types():
    data = pd.DataFrame({"open": [True, False, True], "size": [1.5, 2.5, 3.0],
                         "rooms": pd.array([1, 2, 3], "Int64")})
    model = nf.Sequential([nf.Dense(1)], input_shape=(3,), seed=0)
    model.compile("sgd", "squared_error")
    values = np.array([[1, 1.5, 1], [0, 2.5, 2], [1, 3, 3]])
    np.testing.assert_array_equal(model.predict(data), model.predict(values))
    data["rooms"] = pd.array([1, None, 3], "Int64")
    with pytest.raises(ValueError, match="nan at row 1, column 'rooms'"):
        model.fit(data, [1, 2, 3], verbose=0)
    data["rooms"] = ["a", "b", "c"]
    with pytest.raises(TypeError, match="column 'rooms'; nf.data.frame encodes text"):
        model.predict(data)
    with pytest.raises(TypeError, match=r"got Table; pass its \.x and \.y"):
        model.predict(frame(data, "size"))
    with pytest.raises(TypeError, match=r"y: expected .* nf\.data\.encode_labels"):
        model.fit(values, np.array(["a", "b", "c"]), verbose=0)


@pytest.mark.parametrize("kind", [list, np.array, lambda y: np.array(y, object), pd.Series, pd.Categorical, pl.Series,
                                  lambda y: pd.Series(y, dtype="category"), lambda y: pd.Series(y, dtype=object),
                                  lambda y: np.array(y, getattr(np.dtypes, "StringDType", lambda: object)()), pa.array],
                         ids=["list", "strings", "objects", "series", "categorical", "polars", "category",
                              "series of objects", "string dtype", "arrow"])
def test_labels_of_text(kind):
    model = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=(1,))
    model.compile("sgd", "cross_entropy")
    y = kind(["cat", "dog", "cat"])
    with pytest.raises(TypeError, match=r"y: expected .*; nf\.data\.encode_labels makes labels of text$"):
        model.fit([[1.0], [2.0], [3.0]], y, verbose=0)
    assert encode_labels(y)[0].tolist() == [0, 1, 0]


def test_dates_and_what_is_no_frame():
    with pytest.raises(ValueError, match="column 'day' holds dates or times"):
        frame(pd.DataFrame({"day": pd.to_datetime(["2020-01-01"]), "x": [1]}), target="x")
    with pytest.raises(ValueError, match=r"column 'day' holds .* numbers \(days since a date, hour of the day\)$"):
        frame(pd.DataFrame({"day": pd.to_datetime(["2020-01-01"]), "x": [1]}), target="day")
    with pytest.raises(TypeError, match="expected a frame of pandas, polars or Arrow, got list"):
        frame([1, 2])
    for column in (pd.Series([1.5, 2.5]), pl.Series([1.5, 2.5])):
        with pytest.raises(TypeError, match=r"got Series, which is one column; \.to_frame\(\) makes a frame of it"):
            frame(column)


def test_a_target_named_twice(write):
    with pytest.raises(ValueError, match="the target 'price' is named twice; name every target once"):
        csv(write(HOUSES), target=["price", "area", "price"], missing="drop")


@pytest.mark.parametrize("gap", ["", "NA", "n/a", "#N/A", "NaN", "null", "None", "?", "-"])
def test_what_stands_for_no_value(write, gap):
    assert csv(write(f"a,y\n1,2.5\n{gap},3.5\n3,4.5\n"), "y", missing="drop").rows.tolist() == [0, 2]


@pytest.mark.parametrize("texts", [["3+", "12+", "18+"], ["1+", "1-", "2+"], ['14"', '15"'], ["#1", "#2"]])
def test_signs_of_names(texts):
    data = pd.DataFrame({"rating": texts * 10, "n": np.arange(10.0 * len(texts)) + 0.5})
    assert frame(data, "n").feature_names == [f"rating={text}" for text in sorted(texts)]
    assert frame(data, "rating").classes == sorted(texts)

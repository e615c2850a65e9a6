"""Tables with text columns, missing values and a target, as arrays; and the encoding, to treat further data alike.

Encodings (encoding.py) are JSON-able: in ``model.metadata`` they are saved with the model.
"""

from __future__ import annotations

import csv as csv_module
import decimal
import gzip
import numbers
import os
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..configurable import integer, separator_of_fields
from ..names import choose
from ..summary import counted
from .encoding import (
    TableEncoding,
    dates,
    describe,
    describe_target,
    described_features,
    encode_features,
    encode_target,
    known,
    less,
    names_of,
    number_from,
    number_of,
    offsets_of,
    read_booleans,
    refuse_rounding,
    refuse_spoilt_numbers,
    text_columns,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Array, Arrays, Config, PathLike

#: what spreadsheets and programs write where a value is missing
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a"})
#: a whole number below a thousand, or with a comma where thousands end, which can also be that of decimals
GROUPED = re.compile(r"[+-]?(?!0,)\d{1,3}(,\d{3})?")
#: the same with points, as countries with decimal commas write it
GROUPED_BY_POINTS = re.compile(r"[+-]?(?!0\.)\d{1,3}(\.\d{3})*")
#: a number with a decimal comma, its thousands marked by points or not
DECIMAL_COMMA = re.compile(r"[+-]?(\d*|\d{1,3}(\.\d{3})+),\d+")
#: what counts as a number in a frame's column of any type
NUMBERS = (numbers.Real, decimal.Decimal, np.bool_)
#: what may separate the values of a file that does not say
SEPARATORS = ",;\t|"
#: the line above the names that tells Excel the separator
EXCEL = re.compile(r'("?)sep=([^"\r\n])\1[\r\n]*', re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Table:
    """What `csv` and `frame` return.

    Attributes
    ----------
    x : float32 array (N, features), or dict
        With ids (`max_one_hot`) {"numbers": float32 array (N, features), "ids": int32 array (N, columns)}, without
        "numbers" if all columns are ids. The ids of one column follow those of the columns before it, so that one
        `nnfast.Embedding` of `encoding.n_ids` serves them all.
    y : int32 array (N,) of classes, float32 array (N,) or (N, targets) of numbers, or None without a target
    encoding : TableEncoding
        Its `classes` and `feature_names` are also here. It says which offsets were subtracted from numbers of x and y
        that float32 would not tell apart; the names of the features and `repr` show them, too.
    rows : int array (N,)
        Which rows of the data these are, counted from 0: all, unless missing="drop" left some out.
    lines : int array (N,)
        The same as spreadsheets count the rows of a file: from 1, with the names and empty lines, without a line sep=;
        above them. Of a frame as `rows`.

    Examples
    --------
    >>> import pandas as pd
    >>> import nnfast as nf
    >>> table = nf.data.frame(pd.DataFrame({"cover": ["fur", "feathers"], "animal": ["cat", "hen"]}), target="animal")
    >>> table
    <Table: 2 rows, 2 features, 2 classes of 'animal'>
    >>> table.feature_names, table.y, table.classes
    (['cover=feathers', 'cover=fur'], array([0, 1], dtype=int32), ['cat', 'hen'])
    """

    x: Arrays
    y: Array | None
    encoding: TableEncoding
    rows: Array
    lines: Array

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, or None for a target of numbers."""
        return self.encoding.classes

    @property
    def feature_names(self) -> list[str]:
        """A name for each column of x, or of its numbers where there are ids, too."""
        return self.encoding.feature_names

    def __repr__(self) -> str:
        target = self.encoding.target
        if self.y is None or target is None:
            what = "no target"
        elif target["kind"] == "classes":
            what = f"{len(target['classes'])} classes of {target['names'][0]!r}"
        else:
            what = f"target {', '.join(repr(less(*pair)) for pair in zip(target['names'], offsets_of(target)))}"
        return f"<Table: {counted(len(self.rows), 'row')}, {described_features(self.encoding)}, {what}>"


def csv(path: PathLike, target: str | Sequence[str] | None = None, missing: Literal["error", "mean", "drop"] = "error",
        kind: Literal["auto", "classes", "numbers"] = "auto", drop: str | Sequence[str] = (),
        separator: str | None = None, encoding: TableEncoding | Config | None = None, *,
        categories: str | Sequence[str] = (), max_one_hot: int | None = None) -> Table:
    """Read a table from a text file with one line per row and names in the first line.

    Parameters
    ----------
    path : str or os.PathLike
        UTF-8; may end in .gz. With the separator ";" numbers may have a decimal comma, as spreadsheets of many
        countries write them; an error asks where it may also be one of thousands, as in 1,250 beside 999, and so may
        a point where other columns have decimal commas.
    target : str or list of str, optional
        The column, or columns, to predict.
    missing : {"error", "mean", "drop"}
        Where values are missing (empty, NA, n/a, #n/a, NaN, null, none, ?, -; in any case): an error that names the
        columns; the column's mean, and for text a value of its own; or leave such rows out. A missing target is an
        error, or dropped.
    kind : {"auto", "classes", "numbers"}
        What the target is. "auto": classes if it is text, or whole numbers of at most 20 different values that come
        back again and again.
    drop : str or list of str
        Columns to leave out: numbers of rows, names.
    separator : str, optional
        By default the one of "," ";" tab and "|" that parts the first line into most names, or the one that a line
        above it tells Excel, as sep=;
    encoding : TableEncoding or dict, optional
        Of earlier data: columns are treated as they were there. `target`, `kind`, `drop`, `categories` and
        `max_one_hot` must then be left out; a file without the target has y None.
    categories : str or list of str
        Columns whose numbers are names, as postcodes: they are treated as texts, which keep all their digits. The
        target may be among them: its numbers are then names of classes.
    max_one_hot : int, optional
        Text columns with more different texts than this (0: all of them) become ids, of which `nnfast.Embedding` learns
        a vector each: `Table.x` is then a dict of numbers and ids, for `nnfast.models.tabular`. By default no column
        does, and one with more than 1000 texts is an error. Texts that only one row has share an id, with the rarest
        others until they are ten in twenty rows, if not more than a hundredth of all rows lose their own text by it.
        Unknown texts of further data get this id; without it they are an error, as where texts are columns of 0 and 1.

    Returns
    -------
    Table
        Numbers that float32 would not tell apart (seconds since 1970, long IDs) are counted from the smallest of their
        column, also in y; see `TableEncoding`.

    Raises
    ------
    ValueError
        If the file is not such a table, or has whole numbers beyond 2**53 of which a number would lose digits; the
        message says the line or column and what to do.

    Examples
    --------
    >>> import os, tempfile
    >>> import nnfast as nf
    >>> path = os.path.join(tempfile.mkdtemp(), "animals.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("legs,cover,animal\\n4,fur,cat\\n2,feathers,hen\\n4,fur,dog\\n")
    >>> table = nf.data.csv(path, target="animal")
    >>> table, table.feature_names, table.classes
    (<Table: 3 rows, 3 features, 3 classes of 'animal'>, ['legs', 'cover=feathers', 'cover=fur'],
     ['cat', 'dog', 'hen'])
    >>> table.x
    array([[4., 0., 1.], [2., 1., 0.], [4., 0., 1.]], dtype=float32)

    The covers as ids, 0 for feathers and 1 for fur:

    >>> nf.data.csv(path, target="animal", max_one_hot=1).x
    {'numbers': array([[4.], [2.], [4.]], dtype=float32), 'ids': array([[1], [0], [1]], dtype=int32)}
    """
    encoding = as_encoding(encoding, "csv")
    texts = as_names(categories) + as_names(drop) if encoding is None else text_columns(encoding)
    columns, lines = read_csv(os.fspath(path), separator, texts)
    return encode(columns, lines, f"{path}", target, missing, kind, drop, encoding, categories, max_one_hot)


def frame(data: Any, target: str | Sequence[str] | None = None, missing: Literal["error", "mean", "drop"] = "error",
          kind: Literal["auto", "classes", "numbers"] = "auto", drop: str | Sequence[str] = (),
          encoding: TableEncoding | Config | None = None, *, categories: str | Sequence[str] = (),
          max_one_hot: int | None = None) -> Table:
    """A table from a frame of pandas, polars or Arrow, through narwhals; arguments as in `csv`.

    Booleans are the numbers 0 and 1. With an encoding they are also what a file has as True and False.

    Examples
    --------
    >>> import pandas as pd
    >>> import nnfast as nf
    >>> sales = pd.DataFrame({"size": [1.5, 2.5], "colour": ["red", "blue"], "price": [10.0, 20.5]})
    >>> nf.data.frame(sales, target="price")
    <Table: 2 rows, 3 features, target 'price'>
    """
    columns: dict[str, list[Any]] = {}
    native = as_frame(data, "frame")
    if len(native) == 0:
        raise ValueError("frame: has no rows")
    unused, texts, declared = as_names(drop), as_names(categories), []
    encoding = as_encoding(encoding, "frame")
    if encoding is not None:
        known_names = names_of(encoding)
        unused = [str(name) for name in native.columns if str(name) not in known_names]
        texts = text_columns(encoding)
    for name, column in zip(map(str, native.columns), native.iter_columns()):
        if name in unused:
            columns[name] = []
        elif column.dtype.is_temporal():
            raise ValueError(f"frame: {dates(name, encoding is not None or name in as_names(target))}")
        else:
            values = [None if gap else value for value, gap in zip(column.to_list(), column.is_null().to_list())]
            category = str(column.dtype).startswith(("Categorical", "Enum"))
            columns[name] = as_texts(values) if category else as_numbers_or_texts(values, name in texts)
            if category:
                declared.append(name)
    return encode(columns, range(len(native)), "frame", target, missing, kind, drop, encoding, categories, max_one_hot,
                  declared)


def as_numbers_or_texts(values, names):
    """A frame's column, whose library may call numbers objects: numbers as `number_from` makes them, or texts. `names`:
    booleans are texts, as in a file."""
    types = set(map(type, values)) - {type(None)}
    if not all(issubclass(kind, NUMBERS) for kind in types) or (names and types <= {bool, np.bool_}):
        return as_texts(values)
    if types == {float}:
        return [value if value == value else None for value in values]
    return [None if value is None or value != value else number_from(value) for value in values]


def as_texts(values):
    return [None if value is None else str(value) for value in values]


def narwhals():
    try:
        import narwhals
    except ImportError:
        raise ImportError("frames need narwhals; pip install 'nnfast[frame]'") from None
    return narwhals


def as_frame(data, what):
    """A narwhals frame of any library's."""
    if hasattr(data, "to_frame"):
        raise TypeError(f"{what}: expected a frame of pandas, polars or Arrow, got {type(data).__name__}, which is one "
                        "column; .to_frame() makes a frame of it")
    given = data.columns if hasattr(data, "iloc") else getattr(data, "column_names", ())
    names = [str(name) for name in given]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else ()
    if twice:
        raise ValueError(f"{what}: two columns have the name {twice[0]!r}; every column needs a name of its own")
    try:
        return narwhals().from_native(data, eager_only=True)
    except TypeError:
        hint = "; call .collect() first" if hasattr(data, "collect") else ""
        raise TypeError(f"{what}: expected a frame of pandas, polars or Arrow, got {type(data).__name__}"
                        f"{hint}") from None


def read_csv(path, separator=None, texts=()):
    """Columns by name, each a list of texts (None where missing) or of numbers; and the number of each row.

    Rows are counted as spreadsheets do: one with line breaks in quotes is one row, an empty line is, too.
    `texts`: columns that stay texts, even if all are numbers; nobody asks what 1.250 means in them.
    """
    if separator is not None:
        separator = separator_of_fields(path, separator)
    unpack = gzip.open if path.lower().endswith(".gz") else open
    with unpack(path, "rt", newline="", encoding="utf-8-sig") as file:
        try:
            top = file.readline()
            start, excel = 0, EXCEL.fullmatch(top)
            if excel:
                start, separator = file.tell(), separator or excel[2]
            if separator is None:
                separator = max(SEPARATORS, key=lambda candidate: (count_fields(file, candidate), top.count(candidate)))
            file.seek(start)
            rows = csv_module.reader(file, delimiter=separator, strict=True)
            numbered = enumerate(rows, 1)       # spreadsheets do not show the line for Excel
            names = next(([name.strip() for name in row] for _, row in numbered if "".join(row).strip()), None)
            if names is None:
                raise ValueError(f"{path}: is empty; the first line must name the columns")
            twice = {name for name in names if names.count(name) > 1}
            if twice or "" in names:
                problem = f"the name {sorted(twice)[0]!r} twice" if twice and twice != {""} else "a column without name"
                raise ValueError(f"{path}: the first line has {problem}; every column needs a name of its own")
            if all(number_of(name, separator == ";") is not None for name in names):
                raise ValueError(f"{path}: the first line holds numbers ({', '.join(names[:3])}, ...); it must name "
                                 "the columns, so put a line of names above it")
            columns, lines = {name: [] for name in names}, []
            for line, row in numbered:
                if not row:
                    continue
                lines.append(line)
                if len(row) != len(names):
                    raise ValueError(f"{path}: line {rows.line_num + bool(excel)} has {len(row)} values, the first "
                                     f"line {len(names)} names; is {separator!r} the separator?")
                for column, value in zip(columns.values(), row):
                    value = value.strip()
                    column.append(None if value.lower() in MISSING else value)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not a UTF-8 text file ({error.reason} at byte {error.start}); spreadsheets "
                             "can save as 'CSV UTF-8'") from None
        except csv_module.Error as error:
            hint = '' if "NUL" in str(error) else '; a quotation mark (") is not closed, or stands inside a value'
            raise ValueError(f"{path}: line {rows.line_num + bool(excel)}: {error}{hint}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip file: {error}") from error
    if not columns[names[0]]:
        raise ValueError(f"{path}: has no rows below the names")
    decimal_commas = separator == ";" and any(map(has_decimal_commas, columns.values()))
    for name, values in columns.items():
        if name in texts:
            continue
        # With decimal commas a point is a thousands separator, or a slip: 1.234 is then not known to be a number.
        comma = separator == ";" and any("," in value for value in values if value is not None)
        if comma:
            refuse_grouped_numbers(name, values, lines, path)
        elif decimal_commas:
            refuse_numbers_grouped_by_points(name, values, lines, path)
        found = [None if value is None or (comma and "." in value) else number_of(value, comma) for value in values]
        if all(number is not None for number, value in zip(found, values) if value is not None):
            columns[name] = found
    return columns, lines


def count_fields(file, separator):
    """How many fields a separator makes of the first line that is not empty. Where quotation marks forbid it, more than
    one that is not there, less than one that is: if no other is there, reading with it tells which mark it is."""
    file.seek(0)
    try:
        return next((len(row) for row in csv_module.reader(file, delimiter=separator, strict=True)
                     if "".join(row).strip(f'{SEPARATORS} "')), 0)
    except csv_module.Error:
        return 1.5


def refuse_grouped_numbers(name, values, lines, source):
    """Raise ValueError for 1,250 beside 999, where the comma may mark thousands."""
    present = [value for value in values if value is not None]
    if all(map(GROUPED.fullmatch, present)) and not all("," in value for value in present):
        line, value = next((line, value) for line, value in zip(lines, values) if value is not None and "," in value)
        raise ValueError(f"{source}: column {name!r} has {value!r} in row {line}: does its comma mark thousands, or "
                         f"decimals? Write {value.replace(',', '')} or {value}0")


def refuse_numbers_grouped_by_points(name, values, lines, source):
    """Raise ValueError for 1.250 where other columns have decimal commas, and the point may mark thousands."""
    if not all(value is None or GROUPED_BY_POINTS.fullmatch(value) for value in values):
        return
    for line, value in zip(lines, values):
        if value is not None and value.count(".") == 1:
            raise ValueError(f"{source}: column {name!r} has {value!r} in row {line}, and other columns have decimal "
                             "commas: does its point mark thousands, or decimals? Write "
                             f"{value.replace('.', '')} or {value.replace('.', ',')}")


def has_decimal_commas(values):
    """Whether a column is of numbers, some of them with decimal commas."""
    present = [value for value in values if value is not None]
    return any("," in value for value in present) and all(
        number_of(value, comma=True) is not None or DECIMAL_COMMA.fullmatch(value) for value in present)


def as_names(names):
    """A list of columns' names, for None, one, or several of them."""
    if names is None or isinstance(names, (str, int)):
        return [] if names is None else [str(names)]
    return [str(name) for name in names]


def as_encoding(encoding, who):
    """An encoding, or None, from one or from what `to_dict` has made of it."""
    if isinstance(encoding, dict) and encoding.keys() == {"columns", "target"}:
        return TableEncoding(**encoding)
    if encoding is not None and not isinstance(encoding, TableEncoding):
        raise TypeError(f"{who}: encoding must be that of a table (table.encoding), got {type(encoding).__name__}")
    return encoding


def encode(columns, lines, source, target, missing, kind, drop, encoding, categories, max_one_hot, declared=()):
    """The Table of columns. declared: columns of categories by their type."""
    missing = choose("missing", missing, ("error", "mean", "drop"))
    kind = choose("kind", kind, ("auto", "classes", "numbers"))
    if max_one_hot is not None:
        max_one_hot = integer(source, "max_one_hot", max_one_hot, at_least=0)
    if encoding is not None:
        if target is not None or kind != "auto" or len(drop) or len(categories) or max_one_hot is not None:
            raise ValueError(f"{source}: with encoding= leave target, kind, drop, categories and max_one_hot out; it "
                             "knows them")
        features = [column["name"] for column in encoding.columns]
        names = [] if encoding.target is None else encoding.target["names"]
        names = names if all(name in columns for name in names) else []
    else:
        drop, names, categories = as_names(drop), as_names(target), as_names(categories)
        for name in (*names, *drop, *categories):
            known(columns, name, source)
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{source}: the target {twice[0]!r} is named twice; name every target once")
        if both := set(categories) & set(drop):
            raise ValueError(f"{source}: {min(both)!r} is among categories and in drop; leave it out of one of them")
        if kind == "numbers" and (both := set(categories) & set(names)):
            raise ValueError(f"{source}: the target {min(both)!r} is among categories, so its numbers are names of "
                             "classes; leave kind='numbers' out, or categories")
        features = [name for name in columns if name not in names and name not in drop]
        if not features:
            raise ValueError(f"{source}: no column is left to predict from")
    for name in features:
        known(columns, name, source)
    columns = {name: columns[name] for name in (*features, *names)}
    rows = [i for i, row in enumerate(zip(*columns.values())) if missing != "drop" or None not in row]
    if not rows:
        raise ValueError(f"{source}: every row has a missing value; missing='mean' keeps them")
    lines = [lines[row] for row in rows]
    columns = {name: [values[i] for i in rows] for name, values in columns.items()}
    gaps = {name: sum(value is None for value in columns[name]) for name in columns}
    bad = {name: count for name, count in gaps.items() if count and (missing == "error" or name in names)}
    if bad:
        listed = ", ".join(f"{name!r} ({count})" for name, count in bad.items())
        hint = "missing='drop' leaves such rows out" + ("" if set(bad) & set(names) else ", missing='mean' fills them")
        raise ValueError(f"{source}: values are missing in the columns {listed}; {hint}")
    further = encoding is not None
    if encoding is None:
        for name in categories:
            columns[name] = [None if value is None else text_of(value) for value in columns[name]]
        for name in columns:
            leave = "" if name in names else f", or leave the column out with drop=[{name!r}]"
            advice = ("subtract what they have in common, or say that they are names with "
                      f"categories=[{name!r}], as texts keep all digits{leave}")
            several = name in names and len(names) > 1
            refuse_rounding(name, columns[name], lines, source, "leave it out of the targets" if several else advice)
            if name not in categories and name not in declared:
                refuse_spoilt_numbers(name, columns[name], lines, source, name in names)
        encoding = TableEncoding([describe(name, columns[name], source, max_one_hot) for name in features],
                                 describe_target(names, columns, kind, source))
    else:
        known_texts = {column["name"]: column.get("values") for column in encoding.columns}
        for name in columns:
            columns[name] = read_booleans(columns[name], known_texts.get(name, encoding.classes))
    x = encode_features(encoding, columns, lines, source, further)
    y = encode_target(encoding.target, [columns[name] for name in names], lines, source) if names else None
    return Table(x, y, encoding, np.array(rows), np.array(lines))

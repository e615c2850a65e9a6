"""Tables with text columns, missing values and a target, as arrays; and the encoding, to treat further data alike.

A column of numbers becomes one column of x, a column of text one column of 0 and 1 for each of its texts. Encodings are
JSON-able: in ``model.metadata`` they are saved with the model.
"""

from __future__ import annotations

import csv as csv_module
import gzip
import math
import os
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..arrays import varies_finely
from ..configurable import choose
from ..summary import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Array, Config, PathLike

#: what spreadsheets and programs write where a value is missing
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a"})
#: a target of whole numbers with more different values than this is a number to predict, not a class
MOST_CLASSES = 20
#: of a column's standard deviation: where float32 would move numbers by more, an offset is subtracted from them
FINEST = 1e-4
#: a text column with more different texts than this, and hardly a row like another, tells rows apart
MOST_TEXTS = 50
#: what is meant as a number, though float() may not take it: 1,234.5  1.234,5  12 %  $3.20  inf
NUMBER_LIKE = re.compile(r"[^\w\s]?\s?\d[\d.,' \u00a0\u202f]*(e[+-]?\d+)?\s?[^\w\s]?|[+-]?inf(inity)?", re.IGNORECASE)
#: a whole number below a thousand, or with a comma where thousands end, which can also be that of decimals
GROUPED = re.compile(r"[+-]?(?!0,)\d{1,3}(,\d{3})?")
DATE_LIKE = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?|\d\d?([./])\d\d?\2\d{2,4}( .*)?")
DATES = ("holds dates or times; turn it into numbers (days since a date, hour of the day), or leave it out with "
         "drop=['{}']")


@dataclass(frozen=True, repr=False)
class TableEncoding:
    """How columns become numbers.

    Attributes
    ----------
    columns : list of dict
        {"name", "kind": "number", "fill"} or {"name", "kind": "text", "values"}. Numbers that lie so close together,
        far from 0, that float32 would spoil them (seconds since 1970, long IDs) also have an "offset", their smallest,
        which is subtracted from them.
    target : dict or None
        {"names", "kind": "classes", "classes"} or {"names", "kind": "numbers"}, for such numbers with "offsets", one
        for each name: predictions plus the offset are in the target's own units.

    Examples
    --------
    >>> import pandas as pd
    >>> import nnfast as nf
    >>> table = nf.data.frame(pd.DataFrame({"legs": [4, 2], "animal": ["cat", "hen"]}), target="animal")
    >>> model = nf.models.softmax_regression(1, 2)
    >>> model.metadata = {"encoding": table.encoding.to_dict()}
    >>> nf.data.frame(pd.DataFrame({"legs": [2, 2, 4]}), encoding=model.metadata["encoding"])
    <Table: 3 rows, 1 feature, no target>

    >>> start = 1_700_000_000       # seconds since 1970
    >>> table = nf.data.frame(pd.DataFrame({"size": [1.5, 2.5], "time": [start, start + 30]}), target="time")
    >>> table, table.y, table.encoding.target["offsets"]
    (<Table: 2 rows, 1 feature, target 'time-1700000000'>, array([ 0., 30.], dtype=float32), [1700000000.0])
    """

    columns: list[Config]
    target: Config | None

    def to_dict(self) -> Config:
        """JSON-able data, from which ``TableEncoding(**data)`` is the same."""
        return {"columns": self.columns, "target": self.target}

    @property
    def feature_names(self) -> list[str]:
        """A name for each column of x."""
        names = []
        for column in self.columns:
            own = column["name"]
            names += ([less(own, column.get("offset", 0.0))] if column["kind"] == "number" else
                      [f"{own}={value}" for value in column["values"]])
        return names

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, or None for a target of numbers."""
        return None if self.target is None or self.target["kind"] != "classes" else list(self.target["classes"])

    def __repr__(self) -> str:
        return (f"<TableEncoding: {counted(len(self.columns), 'column')}, "
                f"{counted(len(self.feature_names), 'feature')}>")


@dataclass(frozen=True, repr=False)
class Table:
    """What `csv` and `frame` return.

    Attributes
    ----------
    x : float32 array (N, features)
    y : int32 array (N,) of classes, float32 array (N,) or (N, targets) of numbers, or None without a target
    encoding : TableEncoding
        Its `classes` and `feature_names` are also here. It says which offsets were subtracted from numbers of x and y
        that float32 would not tell apart; the names of the features and `repr` show them, too.
    rows : int array (N,)
        Which rows of the data these are, counted from 0: all, unless missing="drop" left some out.
    lines : int array (N,)
        The same as spreadsheets count the rows of a file: from 1, with the names and empty lines. Of a frame as `rows`.

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

    x: Array
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
        """A name for each column of x."""
        return self.encoding.feature_names

    def __repr__(self) -> str:
        target = self.encoding.target
        if self.y is None or target is None:
            what = "no target"
        elif target["kind"] == "classes":
            what = f"{len(target['classes'])} classes of {target['names'][0]!r}"
        else:
            what = f"target {', '.join(repr(less(*pair)) for pair in zip(target['names'], offsets_of(target)))}"
        return f"<Table: {counted(self.x.shape[0], 'row')}, {counted(self.x.shape[1], 'feature')}, {what}>"


def csv(path: PathLike, target: str | Sequence[str] | None = None, missing: Literal["error", "mean", "drop"] = "error",
        kind: Literal["auto", "classes", "numbers"] = "auto", drop: str | Sequence[str] = (),
        separator: str | None = None, encoding: TableEncoding | Config | None = None) -> Table:
    """Read a table from a text file with one line per row and names in the first line.

    Parameters
    ----------
    path : str or os.PathLike
        UTF-8; may end in .gz. With the separator ";" numbers may have a decimal comma, as spreadsheets of many
        countries write them; an error asks where it may also be one of thousands, as in 1,250 beside 999.
    target : str or list of str, optional
        The column, or columns, to predict.
    missing : {"error", "mean", "drop"}
        Where values are missing (empty, NA, NaN, null, ?, -): an error that names the columns; the column's mean, and
        for text a value of its own; or leave such rows out. A missing target is an error, or dropped.
    kind : {"auto", "classes", "numbers"}
        What the target is. "auto": classes if it is text, or whole numbers of at most 20 different values that come
        back again and again.
    drop : str or list of str
        Columns to leave out: numbers of rows, names.
    separator : str, optional
        By default the one of "," ";" tab and "|" that the first line has most of.
    encoding : TableEncoding or dict, optional
        Of earlier data: columns are treated as they were there. `target`, `kind` and `drop` must then be left out; a
        file without the target has y None.

    Returns
    -------
    Table
        Numbers that float32 would not tell apart (seconds since 1970, long IDs) are counted from the smallest of their
        column, also in y; see `TableEncoding`.

    Raises
    ------
    ValueError
        If the file is not such a table; the message says the line or column and what to do.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "animals.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("legs,cover,animal\\n4,fur,cat\\n2,feathers,hen\\n4,fur,dog\\n")
    >>> table = csv(path, target="animal")
    >>> table, table.feature_names, table.classes
    (<Table: 3 rows, 3 features, 3 classes of 'animal'>, ['legs', 'cover=feathers', 'cover=fur'],
     ['cat', 'dog', 'hen'])
    >>> table.x
    array([[4., 0., 1.], [2., 1., 0.], [4., 0., 1.]], dtype=float32)
    """
    encoding = as_encoding(encoding)
    texts = [] if encoding is None else text_columns(encoding)
    columns, lines = read_csv(os.fspath(path), separator, texts)
    return encode(columns, lines, f"{path}", target, missing, kind, drop, encoding)


def frame(data: Any, target: str | Sequence[str] | None = None, missing: Literal["error", "mean", "drop"] = "error",
          kind: Literal["auto", "classes", "numbers"] = "auto", drop: str | Sequence[str] = (),
          encoding: TableEncoding | Config | None = None) -> Table:
    """A table from a frame of pandas, polars or Arrow, through narwhals; arguments as in `csv`.

    Examples
    --------
    >>> import pandas as pd
    >>> frame(pd.DataFrame({"size": [1.5, 2.5], "colour": ["red", "blue"], "price": [10.0, 20.5]}), target="price")
    <Table: 2 rows, 3 features, target 'price'>
    """
    columns: dict[str, list[Any]] = {}
    native = as_frame(data, "frame")
    if len(native) == 0:
        raise ValueError("frame: has no rows")
    unused = as_names(drop)
    encoding = as_encoding(encoding)
    if encoding is not None:
        known_names = names_of(encoding)
        unused = [str(name) for name in native.columns if str(name) not in known_names]
    for name, column in zip(map(str, native.columns), native.iter_columns()):
        if name in unused:
            columns[name] = []
        elif column.dtype.is_numeric() or str(column.dtype) == "Boolean":
            values = column.cast(narwhals().Float64).to_list()
            columns[name] = [value if isinstance(value, float) and not math.isnan(value) else None for value in values]
        elif column.dtype.is_temporal():
            raise ValueError(f"frame: column {name!r} {DATES.format(name)}")
        else:
            gaps = column.is_null().to_list()
            columns[name] = [None if gap else str(value) for value, gap in zip(column.to_list(), gaps)]
    return encode(columns, range(len(native)), "frame", target, missing, kind, drop, encoding)


def narwhals():
    try:
        import narwhals
    except ImportError:
        raise ImportError("frames need narwhals; pip install 'nnfast[frame]'") from None
    return narwhals


def as_frame(data, what):
    """A narwhals frame of any library's."""
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
    """Columns by name, each a list of texts (None where missing) or of floats; and the number of each row.

    Rows are counted as spreadsheets do: one with line breaks in quotes is one row, an empty line is, too.
    `texts`: columns that stay texts, even if all are numbers.
    """
    if separator is not None and (not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n'):
        raise ValueError(f"{path}: separator must be one character, as ',' or ';', got {separator!r}")
    unpack = gzip.open if path.lower().endswith(".gz") else open
    with unpack(path, "rt", newline="", encoding="utf-8-sig") as file:
        try:
            if separator is None:
                separator = max(",;\t|", key=next(filter(str.strip, file), "").count)
            file.seek(0)
            rows = csv_module.reader(file, delimiter=separator, strict=True)
            numbered = enumerate(rows, 1)
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
                    raise ValueError(f"{path}: line {rows.line_num} has {len(row)} values, the first line {len(names)} "
                                     f"names; is {separator!r} the separator?")
                for column, value in zip(columns.values(), row):
                    value = value.strip()
                    column.append(None if value.lower() in MISSING else value)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not a UTF-8 text file ({error.reason} at byte {error.start}); spreadsheets "
                             "can save as 'CSV UTF-8'") from None
        except csv_module.Error as error:
            hint = '' if "NUL" in str(error) else '; a quotation mark (") is not closed, or stands inside a value'
            raise ValueError(f"{path}: line {rows.line_num}: {error}{hint}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip file: {error}") from error
    if not columns[names[0]]:
        raise ValueError(f"{path}: has no rows below the names")
    for name, values in columns.items():
        if name in texts:
            continue
        # With decimal commas a point is a thousands separator, or a slip: 1.234 is then not known to be a number.
        comma = separator == ";" and any("," in value for value in values if value is not None)
        if comma:
            refuse_grouped_numbers(name, values, lines, path)
        numbers = [None if value is None or (comma and "." in value) else number_of(value, comma) for value in values]
        if all(number is not None for number, value in zip(numbers, values) if value is not None):
            columns[name] = numbers
    return columns, lines


def refuse_grouped_numbers(name, values, lines, source):
    """Raise ValueError for 1,250 beside 999, where the comma may mark thousands."""
    present = [value for value in values if value is not None]
    if all(map(GROUPED.fullmatch, present)) and not all("," in value for value in present):
        line, value = next((line, value) for line, value in zip(lines, values) if value is not None and "," in value)
        raise ValueError(f"{source}: column {name!r} has {value!r} in row {line}: does its comma mark thousands, or "
                         f"decimals? Write {value.replace(',', '')} or {value}0")


def number_of(text, comma):
    """A text as a finite float, or None; `comma`: also one with a decimal comma."""
    if comma and "," in text and "." not in text:
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def text_of(value):
    """A value as a text; a number with all its digits, and no point if it is whole."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() else repr(value)


def less(name, offset):
    """The name of a column from which an offset was subtracted."""
    return f"{name}{'-' if offset > 0 else '+'}{text_of(abs(offset))}" if offset else name


def offset_of(values):
    """The smallest number where float32 would spoil the numbers as they are, else 0."""
    values = np.array(values)
    return float(values.min()) if varies_finely(values[:, None], FINEST)[0] else 0.0


def offsets_of(target):
    """What was subtracted from each target of numbers."""
    return target.get("offsets") or [0.0] * len(target["names"])


def encode(columns, lines, source, target, missing, kind, drop, encoding):
    """The Table of columns."""
    missing = choose("missing", missing, ("error", "mean", "drop"))
    kind = choose("kind", kind, ("auto", "classes", "numbers"))
    if encoding is not None:
        if target is not None or kind != "auto" or len(drop):
            raise ValueError(f"{source}: with encoding= leave target, kind and drop out; it knows them")
        features = [column["name"] for column in encoding.columns]
        names = [] if encoding.target is None else encoding.target["names"]
        names = names if all(name in columns for name in names) else []
    else:
        drop, names = as_names(drop), as_names(target)
        for name in (*names, *drop):
            known(columns, name, source)
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
    if encoding is None:
        for name in columns:
            refuse_spoilt_numbers(name, columns[name], lines, source)
        encoding = TableEncoding([describe(name, columns[name], source) for name in features],
                                 describe_target(names, columns, kind, source))
    parts = [encode_column(column, columns[column["name"]], lines, source) for column in encoding.columns]
    x = as_float32(np.concatenate(parts, axis=1), encoding.feature_names, lines, source)
    y = encode_target(encoding.target, [columns[name] for name in names], lines, source) if names else None
    return Table(x, y, encoding, np.array(rows), np.array(lines))


def as_names(names):
    """A list of columns' names, for None, one, or several of them."""
    if names is None or isinstance(names, (str, int)):
        return [] if names is None else [str(names)]
    return [str(name) for name in names]


def as_encoding(encoding):
    return TableEncoding(**encoding) if isinstance(encoding, dict) else encoding


def names_of(encoding):
    """The columns an encoding knows."""
    return [column["name"] for column in encoding.columns] + (encoding.target["names"] if encoding.target else [])


def text_columns(encoding):
    """The columns that held texts, so that in further data a number is one of them: 1 a grade beside 1.0 and A."""
    names = [column["name"] for column in encoding.columns if column["kind"] == "text"]
    classes = encoding.classes
    return names if classes is None or numbers_of(classes) else names + encoding.target["names"]


def numbers_of(classes):
    """Classes that are numbers as floats, or None for texts: what is no number, or 1 beside 01."""
    numbers = [number_of(name, comma=False) for name in classes]
    return None if None in numbers or len(set(numbers)) < len(numbers) else numbers


def known(columns, name, source):
    if name not in columns:
        import difflib

        close = difflib.get_close_matches(str(name), list(columns), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{source}: there is no column {name!r}{hint} (columns: {', '.join(list(columns)[:20])}"
                         f"{', ...' if len(columns) > 20 else ''})")


def is_text(values):
    return any(isinstance(value, str) for value in values)


def refuse_spoilt_numbers(name, values, lines, source):
    """Raise ValueError for text most of which is meant as numbers (one 'inf' among them, or 12 %), and for dates."""
    if not is_text(values):
        return
    texts = {str(value) for value in values if value is not None}
    if all(map(DATE_LIKE.fullmatch, texts)):
        raise ValueError(f"{source}: column {name!r} {DATES.format(name)}")
    likely = [text for text in texts if NUMBER_LIKE.fullmatch(text)]
    if 2 * len(likely) <= len(texts):
        return
    comma = 2 * sum("," in text and "." not in text for text in likely) >= len(likely)
    present = [(line, value) for line, value in zip(lines, values) if value is not None]
    spoilt = [(line, value) for line, value in present if number_of(value, comma) is None or (comma and "." in value)]
    # Few whole numbers may be codes as the texts beside them, unless such a text is rare: in a tenth of the rows at
    # most, and half as often as a number.
    others, kinds = len(present) - len(spoilt), len({value for _, value in spoilt})
    rare = 0 < 9 * len(spoilt) <= others and 2 * len(spoilt) * (len(texts) - kinds) <= others * kinds
    if not (rare or len(likely) > MOST_CLASSES or any("." in text or "," in text for text in likely)):
        return
    line, value = (spoilt or present)[0]
    raise ValueError(f"{source}: column {name!r} has {value!r} in row {line}, but most of its values look like "
                     "numbers; write them all alike, as 1234.5, without signs or thousands separators, and missing "
                     f"ones as NA, or leave the column out with drop=[{name!r}]")


def as_float32(x, names, lines, source):
    """x as float32; ValueError for infinities and numbers beyond its range."""
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    if not np.isfinite(narrow).all():
        row, column = np.argwhere(~np.isfinite(narrow))[0]
        raise ValueError(f"{source}: column {names[column]!r} has {x[row, column]:g} in row {lines[row]}; numbers must "
                         "be finite and fit into float32 (3.4e38)")
    return narrow


def describe(name, values, source):
    """The encoding of a column that is predicted from."""
    present = [value for value in values if value is not None]
    if not present:
        raise ValueError(f"{source}: column {name!r} is empty; leave it out with drop=[{name!r}]")
    if not is_text(present):
        offset = offset_of(present)
        return {"name": name, "kind": "number", "fill": math.fsum(present) / len(present),
                **({"offset": offset} if offset else {})}
    texts = sorted(set(present)) + ([""] if len(present) < len(values) else [])
    if len(texts) > MOST_TEXTS and len(texts) > len(values) / 4:
        raise ValueError(f"{source}: column {name!r} has {len(texts)} different texts in {len(values)} rows, so it "
                         f"names rows rather than describes them; leave it out with drop=[{name!r}]")
    return {"name": name, "kind": "text", "values": texts}


def encode_column(column, values, lines, source):
    """(N, 1) numbers, or (N, texts) of 0 and 1."""
    if column["kind"] == "number":
        for i, value in enumerate(values):
            if isinstance(value, str) and number_of(value, comma=False) is None:
                raise ValueError(f"{source}: column {column['name']!r} has {value!r} in row {lines[i]}, where "
                                 "the data before had numbers")
        numbers = np.array([[column["fill"] if value is None else float(value)] for value in values])
        return numbers - column.get("offset", 0.0)
    places = {text: i for i, text in enumerate(column["values"])}
    encoded = np.zeros((len(values), len(places)))
    for i, value in enumerate(values):
        text = "" if value is None else text_of(value)
        if text not in places:
            shown = repr(text) if value is not None else "no value"
            raise ValueError(f"{source}: column {column['name']!r} has {shown} in row {lines[i]}, which the "
                             f"data before did not have ({', '.join(column['values'][:10])})")
        encoded[i, places[text]] = 1
    return encoded


def describe_target(names, columns, kind, source):
    if not names:
        return None
    if len(names) > 1:
        text = [name for name in names if is_text(columns[name])]
        if text or kind == "classes":
            raise ValueError(f"{source}: several targets must be numbers"
                             + (f", but {text[0]!r} holds text" if text else "; leave kind out"))
        return describe_numbers(names, columns)
    values = columns[names[0]]
    if is_text(values):
        if kind == "numbers":
            word = next(value for value in values if isinstance(value, str))
            raise ValueError(f"{source}: the target {names[0]!r} is not all numbers, it has {word!r}; leave kind out")
        classes = sorted(set(values))
        if len(classes) > MOST_TEXTS and len(classes) > len(values) / 2:
            raise ValueError(f"{source}: the target {names[0]!r} has {len(classes)} different texts in {len(values)} "
                             "rows; is it the right column?")
    else:
        distinct = sorted(set(values))
        repeated = len(distinct) <= MOST_CLASSES and len(values) >= 3 * len(distinct)
        if kind == "numbers" or (kind == "auto" and not (repeated and all(value.is_integer() for value in distinct))):
            return describe_numbers(names, columns)
        classes = [text_of(value) for value in distinct]
    if len(classes) < 2:
        raise ValueError(f"{source}: the target {names[0]!r} is {classes[0]!r} in every row; there is nothing to learn")
    return {"names": names, "kind": "classes", "classes": classes}


def describe_numbers(names, columns):
    """The encoding of targets that are numbers."""
    offsets = [offset_of(columns[name]) for name in names]
    return {"names": names, "kind": "numbers", **({"offsets": offsets} if any(offsets) else {})}


def encode_target(target, columns, lines, source):
    if target["kind"] == "numbers":
        if any(is_text(column) for column in columns):
            raise ValueError(f"{source}: the target {target['names'][0]!r} holds text, in the data before numbers")
        numbers = np.array(columns, np.float64).T - offsets_of(target)
        y = as_float32(numbers, target["names"], lines, source)
        return y[:, 0] if len(columns) == 1 else y
    values, numbers = columns[0], numbers_of(target["classes"])
    if numbers:
        keys = [number_of(str(value), comma=False) for value in values]
    else:
        keys = list(map(text_of, values))
    places = {key: i for i, key in enumerate(numbers or target["classes"])}
    unknown = sorted({text_of(value) for value, key in zip(values, keys) if key not in places})
    if unknown:
        raise ValueError(f"{source}: the target {target['names'][0]!r} has {unknown[0]!r}, which is not among the "
                         f"classes {', '.join(target['classes'][:20])}")
    return np.array([places[key] for key in keys], np.int32)

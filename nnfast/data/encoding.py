"""How the columns of a table become numbers, and its target; the same for further data.

A column of numbers becomes one column of x. A column of texts becomes one column of 0 and 1 for each of its texts, or,
where they are many, a column of ids, for which `nnfast.Embedding` learns vectors.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import varies_finely
from ..summary import counted

if TYPE_CHECKING:
    from ..typing import Config

#: a target of whole numbers with more different values than this is a number to predict, not a class
MOST_CLASSES = 20
#: of a column's standard deviation: where float32 would move numbers by more, an offset is subtracted from them
FINEST = 1e-4
#: a text column with more different texts than this, and hardly a row like another, tells rows apart
MOST_TEXTS = 50
#: columns of 0 and 1 that a text column may become: more of them are mostly memory
MOST_ONE_HOT = 1000
#: what is meant as a number, though float() may not take it: 1,234.5  1.234,5  12 %  $3.20  inf
NUMBER_LIKE = re.compile(r"[^\w\s]?\s?\d[\d.,' \u00a0\u202f]*(e[+-]?\d+)?\s?[^\w\s]?|[+-]?inf(inity)?", re.IGNORECASE)
DATE_LIKE = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?|\d\d?([./])\d\d?\2\d{2,4}( .*)?")
DATES = ("holds dates or times; turn it into numbers (days since a date, hour of the day), or leave it out with "
         "drop=['{}']")


@dataclass(frozen=True, repr=False)
class TableEncoding:
    """How columns become numbers.

    Attributes
    ----------
    columns : list of dict
        {"name", "kind": "number", "fill"}, {"name", "kind": "text", "values"}, or {"name", "kind": "ids", "values",
        "other"} of texts that are ids: "other" is True if there is one more id than values, of all other texts. Numbers
        that lie so close together, far from 0, that float32 would spoil them (seconds since 1970, long IDs) also have
        an "offset", their smallest, which is subtracted from them.
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
        """A name for each column of x, or of its numbers where there are ids, too."""
        return [name for column in self.columns for name in feature_names(column)]

    @property
    def id_names(self) -> list[str]:
        """The text columns that are ids, one for each column of these."""
        return [column["name"] for column in self.columns if column["kind"] == "ids"]

    @property
    def n_ids(self) -> int:
        """How many ids these columns have together: they do not overlap."""
        return sum(count_ids(column) for column in self.columns if column["kind"] == "ids")

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, or None for a target of numbers."""
        return None if self.target is None or self.target["kind"] != "classes" else list(self.target["classes"])

    def __repr__(self) -> str:
        return f"<TableEncoding: {counted(len(self.columns), 'column')}, {described_features(self)}>"


def feature_names(column):
    """Names of the numbers that a column becomes."""
    if column["kind"] == "number":
        return [less(column["name"], column.get("offset", 0.0))]
    return [] if column["kind"] == "ids" else [f"{column['name']}={value}" for value in column["values"]]


def count_ids(column):
    return len(column["values"]) + column["other"]


def described_features(encoding):
    """What x has of each sample."""
    numbers, ids = len(encoding.feature_names), len(encoding.id_names)
    parts = [counted(numbers, "feature")] if numbers or not ids else []
    if ids:
        parts.append(f"{counted(ids, 'column')} of {encoding.n_ids:,} ids")
    return ", ".join(parts)


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


def names_of(encoding):
    """The columns an encoding knows."""
    return [column["name"] for column in encoding.columns] + (encoding.target["names"] if encoding.target else [])


def text_columns(encoding):
    """The columns that held texts, so that in further data a number is one of them: 1 a grade beside 1.0 and A."""
    names = [column["name"] for column in encoding.columns if column["kind"] != "number"]
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


def describe(name, values, source, max_one_hot):
    """The encoding of a column that is predicted from."""
    present = [value for value in values if value is not None]
    if not present:
        raise ValueError(f"{source}: column {name!r} is empty; leave it out with drop=[{name!r}]")
    if not is_text(present):
        offset = offset_of(present)
        return {"name": name, "kind": "number", "fill": math.fsum(present) / len(present),
                **({"offset": offset} if offset else {})}
    texts = sorted(set(present)) + ([""] if len(present) < len(values) else [])
    ids = max_one_hot is not None and len(texts) > max_one_hot
    # Of a text in one row nothing can be learnt but what texts in one row have in common.
    counts = Counter(present) + Counter({"": len(values) - len(present)})
    often = [text for text in texts if counts[text] > 1] if ids else texts
    names_rows = 2 * (len(texts) - len(often)) > len(values) if ids else len(texts) > len(values) / 4
    if len(texts) > MOST_TEXTS and names_rows:
        raise ValueError(f"{source}: column {name!r} has {len(texts)} different texts in {len(values)} rows, so it "
                         f"names rows rather than describes them; leave it out with drop=[{name!r}]")
    if ids:
        return {"name": name, "kind": "ids", "values": often, "other": len(often) < len(texts)}
    if len(texts) > MOST_ONE_HOT:
        raise ValueError(f"{source}: column {name!r} has {len(texts)} different texts; max_one_hot={MOST_TEXTS} "
                         "makes ids of them, for nf.models.tabular, or leave the column out with "
                         f"drop=[{name!r}]")
    return {"name": name, "kind": "text", "values": texts}


def encode_features(encoding, columns, lines, source):
    """x (N, features); where there are ids a dict of "numbers", unless there are none, and "ids" (N, columns)."""
    names = encoding.feature_names
    x = np.zeros((len(lines), len(names)), np.float32)
    ids = np.empty((len(lines), len(encoding.id_names)), np.int32)
    feature = id_column = first_id = 0
    for column in encoding.columns:
        values = columns[column["name"]]
        if column["kind"] == "ids":
            ids[:, id_column] = first_id + places_of(column, values, lines, source)
            id_column += 1
            first_id += count_ids(column)
            continue
        if column["kind"] == "number":
            numbers = numbers_of_column(column, values, lines, source)
            x[:, feature] = as_float32(numbers[:, None], names[feature:], lines, source)[:, 0]
        else:
            x[np.arange(len(lines)), feature + places_of(column, values, lines, source)] = 1
        feature += len(feature_names(column))
    if not ids.shape[1]:
        return x
    return {"numbers": x, "ids": ids} if names else {"ids": ids}


def numbers_of_column(column, values, lines, source):
    for i, value in enumerate(values):
        if isinstance(value, str) and number_of(value, comma=False) is None:
            raise ValueError(f"{source}: column {column['name']!r} has {value!r} in row {lines[i]}, where "
                             "the data before had numbers")
    numbers = np.array([column["fill"] if value is None else float(value) for value in values])
    return numbers - column.get("offset", 0.0)


def places_of(column, values, lines, source):
    """Of each text among those of the encoding, one beyond them for others."""
    places = {text: i for i, text in enumerate(column["values"])}
    found = [places.get("" if value is None else text_of(value), len(places)) for value in values]
    if len(places) in found and not column.get("other"):
        i = found.index(len(places))
        shown = "no value" if values[i] is None else repr(text_of(values[i]))
        raise ValueError(f"{source}: column {column['name']!r} has {shown} in row {lines[i]}, which the "
                         f"data before did not have ({', '.join(column['values'][:10])})")
    return np.array(found)


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

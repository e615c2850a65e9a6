"""How the columns of a table become numbers, and its target; the same for further data.

A column of numbers becomes one column of x. A column of texts becomes one column of 0 and 1 for each of its texts, or,
where they are many, a column of ids, for which `nnfast.Embedding` learns vectors.
"""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
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
#: columns of 0 and 1 that a text column becomes if nobody asks for more: they are mostly memory
MOST_ONE_HOT = 1000
#: texts, and rows, that an id for all other texts is to be learnt from,
LEAST_TEXTS, LEAST_ROWS = 10, 20
#: and the share of rows that may lose a text of their own to it
RARE = 0.01
#: what programs write for a boolean, in any case, and the number that a frame's booleans become
BOOLEANS = {"true": 1.0, "false": 0.0}
#: beyond it floats leave whole numbers out
WHOLE = 2.0**53
#: what is meant as a number, though float() may not take it: 1,234.5  1.234,5  12 %  $3.20  inf
NUMBER_LIKE = re.compile(r"[^\w\s]?\s?\d[\d.,' \u00a0\u202f]*(e[+-]?\d+)?\s?[^\w\s]?|[+-]?inf(inity)?", re.IGNORECASE)
DATE_LIKE = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?|\d\d?([./-])\d\d?\2\d{2,4}( .*)?")
ROUNDED_BEFORE = "in the data before were numbers that keep all of theirs; is this the same column?"


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
        parts.append(f"{counted(ids, 'column')} of ids ({encoding.n_ids:,})")
    return ", ".join(parts)


def number_of(text, comma):
    """A text as a finite number, or None, as `number_from` makes it; `comma`: also one with a decimal comma."""
    if comma and "," in text and "." not in text:
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or "_" in text:
        return None
    return number_from(int(text)) if abs(value) >= WHOLE and text.lstrip("+-").isdecimal() else value


def number_from(value):
    """A number of any type as a float; as an int if it is a whole one that a float would round."""
    try:
        number = float(value)
    except OverflowError:
        return int(value)
    if abs(number) < WHOLE or isinstance(value, (float, np.floating)) or not math.isfinite(number):
        return number
    return number if number == int(value) else int(value)


def refuse_rounding(name, values, lines, source, advice):
    """Raise ValueError for a whole number that a float would round, and might take for another."""
    for line, value in zip(lines, values):
        if isinstance(value, int):
            raise ValueError(f"{source}: column {name!r} has {value} in row {line}, of which a number would lose the "
                             f"last digits, as it is beyond 2**53; {advice}")


def read_booleans(values, texts):
    """Further data's values: if all are texts of booleans, as earlier data had these. `texts`: which these were, None
    for numbers."""
    present = {value for value in values if value is not None}
    if not present or not all(isinstance(value, str) and value.lower() in BOOLEANS for value in present):
        return values
    earlier = {None: None}
    for value in present:
        number = BOOLEANS[value.lower()]
        if texts is None:
            earlier[value] = number
        else:
            alike = [value, *(text for text in texts if text.lower() == value.lower()), text_of(number)]
            earlier[value] = next((text for text in alike if text in texts), value)
    return [earlier[value] for value in values]


def text_of(value):
    """A value as a text; a number with all its digits, and no point if it is whole."""
    if isinstance(value, (str, int)):
        return str(value)
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
        raise ValueError(f"{source}: there is no column {name!r}{like(name, columns)} (columns: "
                         f"{listed(columns, 20)})")


def like(name, names):
    """A hint to the name that was meant, if one is like it."""
    import difflib

    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def listed(texts, most):
    """The first of some texts."""
    return ", ".join(text or "no value" for text in list(texts)[:most]) + (", ..." if len(texts) > most else "")


def is_text(values):
    return any(isinstance(value, str) for value in values)


def dates(name, wanted):
    """What is wrong with a column of dates. wanted: it is the target, or earlier data had it."""
    leave = "" if wanted else f", or leave it out with drop=[{name!r}]"
    return f"column {name!r} holds dates or times; turn it into numbers (days since a date, hour of the day){leave}"


def is_amount(text):
    """Whether a sign says what a number counts: $5, 7 %. Signs as of 3+ or #1 are of names."""
    return any(sign in "%‰" or unicodedata.category(sign) == "Sc" for sign in text)


def refuse_spoilt_numbers(name, values, lines, source, target=False):
    """Raise ValueError for text most of which is meant as numbers (one 'inf' among them, or 12 %), and for dates."""
    if not is_text(values):
        return
    texts = {str(value) for value in values if value is not None}
    if 2 * sum(1 for text in texts if DATE_LIKE.fullmatch(text)) > len(texts):
        raise ValueError(f"{source}: {dates(name, target)}")
    likely = [text for text in texts if NUMBER_LIKE.fullmatch(text)]
    if 2 * len(likely) <= len(texts):
        return
    comma = 2 * sum("," in text and "." not in text for text in likely) >= len(likely)
    present = [(line, value) for line, value in zip(lines, values) if value is not None]
    spoilt = [(line, value) for line, value in present if number_of(value, comma) is None or (comma and "." in value)]
    # Few whole numbers may be codes as the texts beside them, unless such a text is rare: in a tenth of the rows at
    # most, and half as often as a number. With a sign each ($5, 7 %) they are amounts.
    others, kinds = len(present) - len(spoilt), len({value for _, value in spoilt})
    rare = 0 < 9 * len(spoilt) <= others and 2 * len(spoilt) * (len(texts) - kinds) <= others * kinds
    signs = not others and len(likely) == len(texts) and all(map(is_amount, texts))
    if not (rare or signs or len(likely) > MOST_CLASSES or any("." in text or "," in text for text in likely)):
        return
    line, value = (spoilt or present)[0]
    leave = "" if target else f", or leave the column out with drop=[{name!r}]"
    if all(number_of(text, comma=False) is not None for text in texts):
        raise ValueError(f"{source}: column {name!r} holds numbers as texts, as {value!r} in row {line}; make numbers "
                         f"of them (pandas.to_numeric), or say that they are names with categories=[{name!r}]{leave}")
    raise ValueError(f"{source}: column {name!r} has {value!r} in row {line}, but most of its values look like "
                     "numbers; write them all alike, as 1234.5, without signs or thousands separators, and missing "
                     f"ones as NA. Or say that they are names with categories=[{name!r}]{leave}")


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
    counts = Counter("" if value is None else value for value in values)
    texts = sorted(counts, key=lambda text: (text == "", text))     # no value last
    ids = max_one_hot is not None and len(texts) > max_one_hot
    rare = rare_texts(counts) if ids else set()
    rows = sum(counts[text] for text in rare) if ids else 4 * len(texts)
    if len(rare) == len(texts) or (len(texts) > MOST_TEXTS and rows > (len(values) / 2 if ids else len(values))):
        raise ValueError(f"{source}: column {name!r} has {len(texts)} different texts in {len(values)} rows, so it "
                         f"names rows rather than describes them; leave it out with drop=[{name!r}]")
    if ids:
        own = [text for text in texts if text not in rare]
        return {"name": name, "kind": "ids", "values": own, "other": bool(rare)}
    if max_one_hot is None and len(texts) > MOST_ONE_HOT:
        raise ValueError(f"{source}: column {name!r} has {len(texts)} different texts; max_one_hot={MOST_TEXTS} "
                         f"makes ids of them, or leave the column out with drop=[{name!r}]")
    return {"name": name, "kind": "text", "values": texts}


def rare_texts(counts):
    """Of a column's {text: rows}, those that share an id: the texts of one row, and the rarest others until there are
    enough to learn from. None, if these would be too few or make up too many rows."""
    rare, rows, lost = set(), 0, 0
    for text, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        if count > 1:
            if len(rare) >= LEAST_TEXTS and rows >= LEAST_ROWS:
                break
            lost += count
        rare.add(text)
        rows += count
    enough = len(rare) >= LEAST_TEXTS and rows >= LEAST_ROWS and lost <= RARE * counts.total()
    return rare if enough else set()


def encode_features(encoding, columns, lines, source, further):
    """x (N, features); where there are ids a dict of "numbers", unless there are none, and "ids" (N, columns). further:
    the encoding is of other data."""
    names = encoding.feature_names
    x = np.zeros((len(lines), len(names)), np.float32)
    ids = np.empty((len(lines), len(encoding.id_names)), np.int32)
    feature = id_column = first_id = 0
    for column in encoding.columns:
        values = columns[column["name"]]
        if column["kind"] == "ids":
            places = places_of(column, values, lines, source)
            if further:
                warn_of_unknown_texts(column, values, places, source)
            ids[:, id_column] = first_id + places
            id_column += 1
            first_id += count_ids(column)
            continue
        if column["kind"] == "number":
            numbers = numbers_of_column(column, values, lines, source)
            x[:, feature] = as_float32(numbers[:, None], names[feature:feature + 1], lines, source)[:, 0]
        else:
            x[np.arange(len(lines)), feature + places_of(column, values, lines, source)] = 1
        feature += len(feature_names(column))
    if not ids.shape[1]:
        return x
    return {"numbers": x, "ids": ids} if names else {"ids": ids}


def warn_of_unknown_texts(column, values, places, source):
    """Where most rows have other texts than those that the encoding knows: another spelling, another column?"""
    unknown = np.flatnonzero(places == len(column["values"]))
    if 2 * len(unknown) > len(places):
        text = "" if values[unknown[0]] is None else text_of(values[unknown[0]])
        warnings.warn(f"{source}: column {column['name']!r}: in {len(unknown)} of {counted(len(places), 'row')} it has "
                      f"texts that the data before did not have, or hardly, as {text!r}{like(text, column['values'])}; "
                      "they are taken for its rarest texts", stacklevel=5)


def numbers_of_column(column, values, lines, source):
    for i, value in enumerate(values):
        if isinstance(value, str) and number_of(value, comma=False) is None:
            raise ValueError(f"{source}: column {column['name']!r} has {value!r} in row {lines[i]}, where "
                             "the data before had numbers")
    refuse_rounding(column["name"], values, lines, source, ROUNDED_BEFORE)
    numbers = np.array([column["fill"] if value is None else float(value) for value in values])
    return numbers - column.get("offset", 0.0)


def places_of(column, values, lines, source):
    """Of each text among those of the encoding, one beyond them for others."""
    places = {text: i for i, text in enumerate(column["values"])}
    other = len(column["values"])
    found = [places.get("" if value is None else text_of(value), other) for value in values]
    if other in found and not column.get("other"):
        i = found.index(other)
        text = "" if values[i] is None else text_of(values[i])
        raise ValueError(f"{source}: column {column['name']!r} has {repr(text) if text else 'no value'} in row "
                         f"{lines[i]}, which the data before did not have{like(text, places)} "
                         f"({listed(column['values'], 10)})")
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
        for name, column in zip(target["names"], columns):
            refuse_rounding(name, column, lines, source, ROUNDED_BEFORE)
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

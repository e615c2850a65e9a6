"""Rows of a SciPy sparse matrix, as the compiled core reads them (nnfast/_core/sparse.pyx)."""

from functools import cached_property

import numpy as np


class SparseRows:
    """The numbers that some rows of a matrix store, and their columns; `np.asarray` puts the zeros between them.

    begin, end : int64, of each row among the numbers
    places : int32, the numbers' columns, ascending in a row
    values : the numbers
    width : columns
    """

    ndim = 2

    def __init__(self, begin, end, places, values, width):
        self.begin, self.end, self.places, self.values, self.width = begin, end, places, values, width
        self._precisions = {}

    @classmethod
    def of(cls, matrix):
        """All rows of a matrix, which stays as it is. The values are shared with it if it is in CSR format; the places
        are not: the core reads and writes where they say, and must not find them changed."""
        csr = matrix.tocsr()
        # SciPy's checks change what they find, and later take that for granted: hence a matrix of our own.
        csr = type(csr)((csr.data, csr.indices, csr.indptr), csr.shape)
        csr.check_format()
        if not csr.has_canonical_format:        # columns ascend, each once
            csr = csr.tocsc().tocsr()           # in order, and where a place comes several times in the order it had
            csr.sum_duplicates()
        starts = np.array(csr.indptr, np.int64)
        return cls(starts[:-1], starts[1:], np.array(csr.indices, np.int32), csr.data, csr.shape[1])

    def __len__(self):
        return len(self.begin)

    @property
    def shape(self):
        return len(self), self.width

    @property
    def dtype(self):
        return self.values.dtype

    @cached_property
    def share(self):
        """Of all numbers of these rows those that are stored."""
        return float((self.end - self.begin).sum()) / max(1, len(self) * self.width)

    def astype(self, dtype):
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(self.values, dtype)
        return SparseRows(self.begin, self.end, self.places, values, self.width)

    def in_precision(self, dtype):
        """The same in a network's precision, converted as its core converts arrays: what is subnormal in one of the two
        is 0."""
        if dtype not in self._precisions:
            rows = self.astype(dtype)
            if self.dtype.kind == "f" and self.dtype != dtype:
                rows.values[np.abs(rows.values) < np.finfo(np.float32).tiny] = 0
            self._precisions[dtype] = rows
        return self._precisions[dtype]

    def copy(self):
        return SparseRows(self.begin.copy(), self.end.copy(), self.places.copy(), self.values.copy(), self.width)

    def __getitem__(self, rows):
        """Some of the rows, by a slice or their numbers; they share the memory of all."""
        begin, end = (np.ascontiguousarray(ends[rows]) for ends in (self.begin, self.end))
        return SparseRows(begin, end, self.places, self.values, self.width)

    def __array__(self, dtype=None, copy=None):
        array = np.zeros(self.shape, dtype or self.dtype)
        numbers = self._numbers()
        array[np.repeat(np.arange(len(self)), self.end - self.begin), self.places[numbers]] = self.values[numbers]
        return array

    def _numbers(self):
        """Where the numbers of these rows are among all."""
        lengths = self.end - self.begin
        return np.repeat(self.end - np.cumsum(lengths), lengths) + np.arange(lengths.sum())

    def column_sizes(self):
        """The largest absolute value of each column, float64."""
        sizes, numbers = np.zeros(self.width), self._numbers()
        np.maximum.at(sizes, self.places[numbers], np.abs(self.values[numbers].astype(np.float64)))
        return sizes

    def place(self, number):
        """Row and column of one of the numbers of a whole matrix."""
        return int(np.searchsorted(self.end, number, side="right")), int(self.places[number])

    @cached_property
    def _longest(self):
        """How many numbers the longest row, the two longest, ... store."""
        return np.cumsum(np.sort(self.end - self.begin)[::-1])

    def most(self, n):
        """Numbers in n different ones of these rows, at most."""
        return int(self._longest[min(n, len(self)) - 1])

"""Rows of a SciPy sparse matrix, as the compiled core reads them (nnfast/_core/sparse.pyx)."""

import numpy as np


class SparseRows:
    """Numbers that are not 0, with their columns, for some rows of a matrix; `np.asarray` puts the zeros back.

    begin, end : int64, of each row among the numbers
    places : int32, the numbers' columns, ascending in a row
    values : the numbers
    width : columns
    """

    ndim = 2

    def __init__(self, begin, end, places, values, width):
        self.begin, self.end, self.places, self.values, self.width = begin, end, places, values, width

    @classmethod
    def of(cls, matrix):
        """All rows of a matrix; its arrays are not copied where they are as wanted."""
        matrix = matrix.tocsr()
        matrix.check_format()                   # SciPy itself does not look into what it is given
        if not matrix.has_canonical_format:     # columns ascend, each once
            matrix = matrix.copy()
            matrix.sum_duplicates()
        starts = matrix.indptr.astype(np.int64, copy=False)
        places = np.ascontiguousarray(matrix.indices, np.int32)
        return cls(starts[:-1], starts[1:], places, matrix.data, matrix.shape[1])

    def __len__(self):
        return len(self.begin)

    @property
    def shape(self):
        return len(self), self.width

    @property
    def dtype(self):
        return self.values.dtype

    @property
    def share(self):
        """Of all numbers of these rows those that are not 0."""
        return float((self.end - self.begin).sum()) / max(1, len(self) * self.width)

    def astype(self, dtype):
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(self.values, dtype)
        return SparseRows(self.begin, self.end, self.places, values, self.width)

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
        np.maximum.at(sizes, self.places[numbers], np.abs(self.values[numbers]))
        return sizes

    def place(self, number):
        """Row and column of one of the numbers of a whole matrix."""
        return int(np.searchsorted(self.end, number, side="right")), int(self.places[number])

    def most(self, n):
        """Numbers in n of these rows, at most."""
        lengths = self.end - self.begin
        return int((np.partition(lengths, len(lengths) - n)[-n:] if n < len(lengths) else lengths).sum())

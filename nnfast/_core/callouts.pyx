"""Layers and losses that are Python functions: thread 0 calls them for the whole batch, with the GIL.

They get new arrays of a batch's rows and give others, which are copied back. An error that they raise is kept and ends the
job (loop.pyx).
"""
from libc.string cimport memcpy

from nnfast._core.loss cimport Head
from nnfast._core.memory cimport address
from nnfast._core.network cimport PYTHON_BACKWARD, PYTHON_FORWARD, Network
from nnfast._core.node cimport Node

import numpy as np


cdef class Callouts(Network):
    """A network that calls what it was given from Python."""

    def _call_python(self, int action, Py_ssize_t at, Py_ssize_t batch, double scale):
        try:
            if action == PYTHON_FORWARD:
                self._python_forward(at, batch)
            elif action == PYTHON_BACKWARD:
                self._python_backward(at, batch)
            else:
                self._python_loss(at, batch, scale)
        except BaseException as error:
            self.error = error
            self.failed = True

    def _python_forward(self, Py_ssize_t at, Py_ssize_t batch):
        spec = self.node_specs[at]
        xs = self._inputs_of(spec, batch)
        y = self._checked(spec["forward"](*xs), batch, spec["shape"], f"{spec['name']}: forward")
        self._put(self.nodes[at].output.y, self.nodes[at].output.ld, y, False)

    def _python_backward(self, Py_ssize_t at, Py_ssize_t batch):
        cdef Py_ssize_t i
        cdef Node *node = &self.nodes[at]
        if node.output.dy == NULL:
            return
        spec = self.node_specs[at]
        xs = self._inputs_of(spec, batch)
        dxs = spec["backward"](self._rows(spec["output"], batch, True), *xs, self._rows(spec["output"], batch))
        if not isinstance(dxs, (tuple, list)):
            dxs = (dxs,)
        if len(dxs) != len(xs):
            raise ValueError(f"{spec['name']}: backward gave {len(dxs)} gradients for {len(xs)} inputs")
        for i, dx in enumerate(dxs):
            if node.inputs[i].dy != NULL:
                dx = self._checked(dx, batch, spec["input_shapes"][i], f"{spec['name']}: backward")
                self._put(node.inputs[i].dy, node.inputs[i].ld, dx, node.adds[i])

    def _python_loss(self, Py_ssize_t at, Py_ssize_t batch, double scale):
        cdef Head *head = &self.heads[at]
        cdef Py_ssize_t made = self.outputs[at].value, b
        shape = self.value_shapes[made]
        t = np.empty((batch,) + shape, self.dtype)
        self._get(head.target, head.output.ld, t)
        values, gradient = self.functions[at](t, self._rows(made, batch))
        values = np.ascontiguousarray(values, np.float64)
        if values.shape != (batch,):
            raise ValueError(f"loss: one value for each of the {batch} samples expected, got shape {values.shape}")
        gradient = self._checked(gradient, batch, shape, "loss: gradient")
        memcpy(head.loss_values, address(values), batch * sizeof(double))
        if self.job.gradient and head.output.dy != NULL:
            weights = np.full(batch, scale * head.weight)
            if self.job.weight != NULL:
                for b in range(batch):
                    weights[b] *= self.sample_weight[b]
            gradient = gradient * weights.reshape((batch,) + (1,) * len(shape)).astype(self.dtype)
            self._put(head.output.dy, head.output.ld, np.ascontiguousarray(gradient), False)

    def _checked(self, array, batch, shape, what):
        if array is None:
            raise TypeError(f"{what} gave None; is there no return?")
        if np.iscomplexobj(array):
            raise TypeError(f"{what} gave complex numbers, expected real ones")
        array = np.ascontiguousarray(array, self.dtype)
        if array.shape != (batch,) + tuple(shape):
            raise ValueError(f"{what} gave shape {array.shape}, expected {(batch,) + tuple(shape)}")
        return array

    def _inputs_of(self, spec, Py_ssize_t batch):
        """What a layer is called on: a value may be known by another shape where it was made."""
        return [self._rows(i, batch).reshape((batch,) + tuple(shape))
                for i, shape in zip(spec["inputs"], spec["input_shapes"])]

    def _rows(self, Py_ssize_t i, Py_ssize_t batch, bint gradient=False):
        """A value's rows (or its gradient's) as a new array."""
        array = np.empty((batch,) + self.value_shapes[i], self.dtype)
        self._get(self.job.values[i].dy if gradient else self.job.values[i].y, self.job.values[i].ld, array)
        return array

    cdef int _get(self, const char *at, Py_ssize_t ld, array) except -1:
        cdef Py_ssize_t batch = array.shape[0], b, size = self.k.real_size, n = array.size // batch
        cdef char *to = address(array, True)
        for b in range(batch):
            memcpy(to + b * n * size, at + b * ld * size, n * size)
        return 0

    cdef int _put(self, char *at, Py_ssize_t ld, array, bint add) except -1:
        cdef Py_ssize_t batch = array.shape[0], b, size = self.k.real_size, n = array.size // batch
        cdef const char *source = address(array)
        for b in range(batch):
            if add:
                self.k.add(n, at + b * ld * size, source + b * n * size, at + b * ld * size)
            else:
                memcpy(at + b * ld * size, source + b * n * size, n * size)
        return 0

"""3 x 3 convolution with stride 1 by Winograd's minimal filtering, and its kernel's gradient."""
from nnfast._core.convolution cimport Convolution
from nnfast._core.correlation cimport Correlation
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.window cimport Window

cdef bint suits(const nn_kernels *k, const Window *w, Py_ssize_t C, Py_ssize_t K, Py_ssize_t groups) noexcept nogil
cdef bint pays(const nn_kernels *k, const Window *w, Py_ssize_t C, Py_ssize_t K, Py_ssize_t samples) noexcept nogil
cdef enum:
    TILE = 4                # rows and columns of y

cdef inline Py_ssize_t tiles(Py_ssize_t pixels) noexcept nogil:
    """That cover a row or a column of y."""
    return (pixels + TILE - 1) // TILE

cdef Py_ssize_t transformed_size(const nn_kernels *k, Py_ssize_t C, Py_ssize_t K) noexcept nogil
cdef void transform_kernel(const nn_kernels *k, Py_ssize_t C, Py_ssize_t K, const char *w, char *u, int part, int team) noexcept nogil
cdef Py_ssize_t sum_scratch(const Correlation *x) noexcept nogil
cdef void sum_tiles(const Correlation *x, Py_ssize_t lo, Py_ssize_t hi, char *scratch) noexcept nogil
cdef Py_ssize_t gradient_scratch(const Convolution *c) noexcept nogil
cdef Py_ssize_t gradient_rows(const Convolution *c) noexcept nogil
cdef void gradient(const Convolution *c, const char *x, Py_ssize_t x_ld, const char *dz, Py_ssize_t dz_ld, Py_ssize_t batch, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t lo, Py_ssize_t hi, char *to, char *scratch) noexcept nogil

from nnfast._core.kernels cimport nn_update

cdef int optimizer_index(object kind) except -1
cdef void fill_update(nn_update *update, object hyper, double clip_value) except *
cdef void begin_step(nn_update *update, long long iteration, double lr) noexcept nogil

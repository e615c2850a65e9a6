"""A compiled network's buffers and programs (network.pyx), and one job of it (loop.pyx)."""
from libc.stdint cimport uint64_t

from nnfast._core.arena cimport Arena
from nnfast._core.augment cimport Operation
from nnfast._core.kernels cimport nn_kernels, nn_update
from nnfast._core.loss cimport Head
from nnfast._core.node cimport Node, Parameter, Sparse, Value
from nnfast._core.pace cimport Pace
from nnfast._core.threads cimport nn_atomic, nn_barrier
from nnfast._core.tiling cimport Tiling
from nnfast._core.transfer cimport Port

cdef enum:
    SLICE = 16384           # elements
    BATCHES = 24

cdef enum Action:
    PREPARE
    FORWARD                 # on rows
    BEFORE_FORWARD          # where all threads have parts in a pass: on rows; between two barriers; on rows
    TEAM_FORWARD
    AFTER_FORWARD
    LOSS
    BACKWARD
    BEFORE_BACKWARD
    TEAM_BACKWARD
    AFTER_BACKWARD
    PYTHON_FORWARD
    PYTHON_BACKWARD
    PYTHON_LOSS
    LEAVE
    BARRIER

cdef struct Instruction:
    Action action
    Py_ssize_t at           # node or head; -1: the end
    # Of the first of some passes on rows, one behind the other: how many they are, and how many samples they take
    # together before the first goes on to the next (0: all).
    Py_ssize_t count, samples

cdef struct Slice:          # what is summed together, of a shape that does not depend on the number of threads
    Parameter *parameter
    Py_ssize_t offset, size # elements within the flat arrays

cdef struct Source:         # rows to gather an input, or a target, from
    const char *data
    Py_ssize_t row_bytes
    int kind                # index in csrc/nnfast.h
    const Sparse *sparse    # the rows of an input without their zeros, instead of data; or NULL

cdef struct Report:         # what a thread tells the others; a cache line of its own
    bint finite             # its losses are
    nn_atomic taken         # of its share of the tiles, by all threads
    double bound            # on its part of any gradient
    Py_ssize_t tile_lo, tile_hi     # its share
    Py_ssize_t made         # of it, where nobody else takes any
    char padding[24]

cdef enum Status:
    OK
    BAD_LOSS
    BAD_GRADIENT

cdef struct Job:            # one call of Plan: what to run, over which rows
    const Instruction *program
    bint inference          # the program's nodes and values are those of inference
    bint prepare            # what the program makes of the parameters is to be made (inference: only once)
    Value *values
    bint loss, gradient, update, training
    Source *inputs
    Source *targets         # or output gradients (vjp)
    const Operation *operations     # that change samples as they are gathered
    Py_ssize_t n_operations
    const Operation *target_operations      # the same changes, of targets that are images, too
    Py_ssize_t n_target_operations
    double alpha            # of mixup; 0: none
    char **outputs          # where outputs are copied to, or NULL
    char **input_gradients  # where input gradients are copied to, or NULL
    double *sample_losses   # where samples' losses are copied to, or NULL
    const double *weight        # of samples, or NULL
    const char *pixel_weights   # of the pixels of every sample, in the network's precision, or NULL
    const Py_ssize_t *order
    Py_ssize_t n_samples, batch_size, first_step, n_steps
    const double *lr
    long long begun         # iterations before
    double scale            # of the loss gradient; 0: one over the batch's weight
    uint64_t seed
    # results
    Status status
    Py_ssize_t steps_done, samples_done
    double loss_total, weight_total


cdef class Network:
    cdef const nn_kernels *k
    cdef readonly object dtype
    cdef object n_threads_wanted, lock, owner, error, progress, progress_seen
    cdef list value_shapes, node_specs, parameter_specs, functions, _slots
    cdef dict actions                   # of each program, as (action, node or head, samples at a time or 0)
    # The values of training, then those of inference: n_values of each, by the numbers of the graph. The nodes of
    # training, n_nodes, then those of inference, n_all_nodes together.
    cdef Value *values
    cdef Node *nodes
    cdef char **gradient_at             # where each value's dy is when it is wanted
    cdef bint *needs_gradient           # a trainable parameter lies before it
    cdef Port *inputs
    cdef Port *outputs
    cdef Parameter *parameters
    cdef Head *heads
    cdef Tiling tiling
    cdef Slice *slices                  # of the trainable parameters
    cdef Py_ssize_t n_slices
    cdef double *penalties              # of each slice, in this step
    cdef double *squares                # of each slice's gradient
    cdef Py_ssize_t n_values, n_nodes, n_all_nodes, n_parameters, n_inputs, n_outputs, n_heads
    cdef Instruction *inference         # outputs
    cdef Instruction *evaluation        # and losses
    cdef Instruction *training_program
    cdef Instruction *backward_program  # without losses
    cdef char *flat[4]                  # parameters, gradients, optimizer state 0 and 1
    cdef Py_ssize_t flat_size           # elements
    cdef Py_ssize_t n_slots
    cdef Arena training_arena, inference_arena, head_arena      # heads': targets, losses, metrics
    cdef bint all_gradients             # the arena has room for the gradients of all values
    cdef bint prepared                  # what inference makes of the parameters is up to date
    cdef double *sample_weight          # of this batch
    cdef double work                    # multiply-adds of one sample, forward
    cdef bint penalized                 # there are L1 or L2 penalties
    cdef double fixed_penalty           # of the parameters that this job does not change
    cdef int optimizer
    cdef nn_update update
    cdef double clip_norm
    cdef public long long iterations
    cdef Job job
    cdef nn_barrier barrier
    cdef Report *reports
    cdef char *scratch
    cdef Py_ssize_t scratch_size        # bytes that the hungriest operation needs of a thread
    cdef Py_ssize_t columns_size        # bytes for some columns of a dense layer's x
    cdef Py_ssize_t row_size            # bytes of a thread's room for a row; 0 until samples are mixed
    cdef int n_contexts
    cdef bint has_python                # a layer is a Python function
    cdef bint bounded                   # gradients are bounded before they are known; else they are measured
    cdef volatile int stop, failed, interrupted
    cdef volatile int regroup           # with another number of threads, after the step
    cdef bint may_regroup, alone, ended # the others read them between barriers
    cdef readonly long long regrouped   # how often
    cdef Pace paces[2][BATCHES]         # without and with gradients, by the logarithm of the batch
    cdef Pace *pace                     # of this job
    cdef uint64_t mode                  # of floating point, in the calling thread
    cdef int forks                      # of this process, when the plan was last used
    cdef double seen_signals, seen_progress, seen_clock
    cdef Py_ssize_t seen_samples
    cdef int clock_every, unseen_steps

    cdef Py_ssize_t _context_bytes(self) noexcept nogil
    cdef void _free_contexts(self) noexcept
    cdef void _want_row(self) noexcept
    cdef int _allocate_flat(self, int i) except -1
    cdef int _enter(self) except -1
    cdef int _after_fork(self) except -1
    cdef int _leave(self) except -1
    cdef void _free_flat(self, int i) noexcept
    cdef Py_ssize_t _flat_bytes(self) noexcept
    cdef int _build_port(self, Port *port, Py_ssize_t value, bint channels_first) except -1
    cdef int _build_nodes(self, list specs, Py_ssize_t first, bint inference) except -1
    cdef int _build_slices(self) except -1
    cdef list _pass_actions(self, Py_ssize_t i, bint forward)
    cdef bint _takes_chunks(self, object action)
    cdef Py_ssize_t _bytes_of_sample(self, int action, Py_ssize_t i) noexcept
    cdef int _write_program(self, Instruction **program, object name, list actions) except -1
    cdef int _reserve(self, Py_ssize_t batch, bint inference, bint all_gradients) except -1
    cdef Arena _lay_out_training(self)
    cdef Arena _lay_out_inference(self)
    cdef Arena _lay_out_heads(self)
    cdef void _free_head(self, Head *head) noexcept
    cdef Py_ssize_t _describe_head(self, Head *head, Py_ssize_t at, dict spec) except -2

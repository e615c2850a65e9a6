"""Optimizers: what a plan keeps for each and how a step begins. The updates themselves are csrc/optimizer.c."""
from libc.math cimport pow

from nnfast._core.kernels cimport nn_update

# In the order of csrc/nnfast.h.
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")


def slot_names(kind, hyper):
    """Arrays like the parameters that the optimizer keeps, in the order of the kernel's arguments s0, s1."""
    return {
        "sgd": ["momentum"] if hyper["momentum"] else [],
        "adam": ["m", "v"],
        "adamw": ["m", "v"],
        "rmsprop": ["square_average", "momentum"] if hyper["momentum"] else ["square_average"],
        "adagrad": ["sum"],
    }[kind]


cdef int optimizer_index(object kind) except -1:
    return OPTIMIZERS.index(kind)


cdef void fill_update(nn_update *update, object hyper, double clip_value) except *:
    update.scale = 1
    update.clip = clip_value
    update.momentum = hyper["momentum"]
    update.nesterov = bool(hyper["nesterov"])
    update.beta1 = hyper["beta1"]
    update.beta2 = hyper["beta2"]
    update.rho = hyper["rho"]
    update.eps = hyper["eps"]
    update.weight_decay = hyper["weight_decay"]
    update.correction1 = update.correction2 = 1


cdef void begin_step(nn_update *update, long long iteration, double lr) noexcept nogil:
    """iteration: steps taken before this one."""
    update.lr = lr
    if update.beta1 == 0 and update.beta2 == 0:     # not one of Adam's kind
        return
    update.correction1 = 1 - pow(update.beta1, <double>(iteration + 1))
    update.correction2 = 1 - pow(update.beta2, <double>(iteration + 1))

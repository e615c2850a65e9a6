"""See pace.pyx."""
cdef struct Pace:
    double seconds[2]       # that a sample takes in a team, and alone; 0: not known yet
    double spent            # seconds of this measurement
    Py_ssize_t samples      # done in them
    double lost             # seconds by this trial
    double next_trial, patience
    bint alone              # the way that is measured now
    bint trial              # it seemed the slower one
    bint fresh              # caches and threads are not yet what they will be

cdef void measured(Pace *pace, double now, double seconds, Py_ssize_t samples, bint may_try) noexcept nogil

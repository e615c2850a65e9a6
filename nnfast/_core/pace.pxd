"""See pace.pyx."""
cdef struct Pace:
    int size                # of a step: the logarithm of its multiply-adds
    double seconds[2]       # that a sample takes in a team, and alone; 0: not known yet
    double spent            # seconds of this measurement
    Py_ssize_t samples      # done in them
    double tried, lost      # seconds of this trial; more than the other way had taken
    double next_trial, patience
    bint may_try            # steps are short enough for trials
    bint alone              # the way that is measured now
    bint trial              # it seemed the slower one
    bint fresh              # caches and threads are not yet what they will be

cdef void begin(Pace *pace, double work) noexcept nogil
cdef void measured(Pace *pace, double now, double seconds, Py_ssize_t samples) noexcept nogil

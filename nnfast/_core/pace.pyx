"""Whether a team of threads or one alone is faster for the steps of a plan: tried, now and then, and measured.

No count of operations tells. Threads that share small steps wait for each other's cache lines and at barriers, which takes
ten times as long between chips as on one, and more than any step where other programs hold a core or where two processors
are halves of one core; a virtual machine goes from one to the other within seconds.

A measurement is what the steps of half a millisecond took, or one step; a team on trial is watched for longer. The other
way is tried when it is due, or when the way that seemed faster takes longer than the other did. A trial that shows nothing
new makes the next one come later, and at least so late that all of them take a small share of the time. What a plan has
found out lately holds for new ones whose steps are as large, because many live for some milliseconds only.
"""
from libc.math cimport log2
from libc.string cimport memset

from nnfast._core.threads cimport nn_clock

cdef double WORK_TO_TRY = 5e8       # multiply-adds in a step that one thread does in some ms: larger ones are a team's
cdef double MEASUREMENT = 5e-4      # seconds at least
cdef double TEAM_TRIAL = 8e-3       # seconds at least: who shares a core with others has it for some ms, then not
cdef double PATIENCE = 0.005        # seconds to the first trial; then twice as long each time, until something is new
cdef double MOST_PATIENCE = 0.25
cdef double LONGEST = 1.0           # seconds without a trial
cdef double SHARE = 0.01            # of the time, for trials
cdef double GAIN = 0.97             # of the time that is worth a change
cdef double LOSS = 1.1              # more than the other way took: it is tried at once
cdef double MOST_LOST = 2e-3        # seconds: a trial that has lost so much, and half of its time, is over
cdef double NEW = 0.25              # weight of a new measurement beside the earlier ones

cdef double haste = 1

cdef struct Verdict:
    bint alone
    double patience, next_trial

cdef enum:
    SIZES = 64
# The latest of any plan, by the size of its steps. Plans write here without a lock: whichever verdict stays is one.
cdef Verdict[SIZES] verdicts


cdef void begin(Pace *pace, double work) noexcept nogil:
    """Before the first step of a plan, or of a new size."""
    cdef Verdict *verdict
    pace.size = min(<int>log2(max(work, 1.0)), SIZES - 1)
    verdict = &verdicts[pace.size]
    pace.may_try = work < WORK_TO_TRY
    pace.fresh = True
    if pace.may_try and verdict.patience > 0:
        pace.alone, pace.patience, pace.next_trial = verdict.alone, verdict.patience, verdict.next_trial
    else:
        pace.alone, pace.patience, pace.next_trial = False, PATIENCE * haste, nn_clock() + PATIENCE * haste


cdef inline void change(Pace *pace, bint trial) noexcept nogil:
    pace.alone = not pace.alone
    pace.trial = trial
    pace.fresh = True
    pace.lost = pace.tried = pace.spent = pace.samples = 0


cdef void end_trial(Pace *pace, double now, bint won) noexcept nogil:
    pace.patience = PATIENCE * haste if won else min(2 * pace.patience, MOST_PATIENCE * haste)
    pace.next_trial = now + min(max(pace.patience, pace.lost / SHARE), LONGEST * haste)
    pace.trial = False
    if not won:
        change(pace, False)
    verdicts[pace.size].alone, verdicts[pace.size].patience = pace.alone, pace.patience
    verdicts[pace.size].next_trial = pace.next_trial


cdef void measured(Pace *pace, double now, double seconds, Py_ssize_t samples) noexcept nogil:
    """Some steps have been done the way that pace.alone says, and taken so long, `now` (nn_clock) being their end. Says
    there how to go on."""
    cdef double *mine = &pace.seconds[pace.alone]
    cdef double *other = &pace.seconds[not pace.alone]
    cdef double taken
    if not 0 < seconds < 10:    # a clock that was set
        return
    if pace.trial:
        pace.lost += seconds - samples * other[0]
        pace.tried += seconds
        if pace.lost > MOST_LOST and 2 * pace.lost > pace.tried:
            mine[0] = seconds / samples
            end_trial(pace, now, False)
            return
    if pace.fresh:
        pace.fresh = False
        return
    pace.spent += seconds
    pace.samples += samples
    if pace.spent < (TEAM_TRIAL if pace.trial and not pace.alone else MEASUREMENT) * haste:
        return
    taken = pace.spent / pace.samples
    pace.spent = pace.samples = 0
    if pace.trial or mine[0] == 0:
        mine[0] = taken
    else:       # this one may be disturbed
        mine[0] += NEW * (min(taken, mine[0] * 4) - mine[0])
    if pace.next_trial - now > LONGEST * haste:     # a clock that was set
        pace.next_trial = now + PATIENCE * haste
    if pace.trial:
        if mine[0] < GAIN * other[0]:
            pace.lost = 2 * samples * (other[0] - mine[0])      # what it takes to see that nothing has changed
        end_trial(pace, now, mine[0] < GAIN * other[0])
    elif pace.may_try and (now >= pace.next_trial or 0 < LOSS * other[0] < mine[0]):
        change(pace, True)


def hurry(double factor=1):
    """Multiply all times by a factor, for tests."""
    global haste
    haste = factor


def simulate(steps, double work=1, bint first=True):
    """For tests: which of some steps of a new plan are done alone, when they would take (seconds in a team, seconds alone)
    each. work: a step's; plans of one multiply-add have no team. first: there was no plan of this size before."""
    cdef Pace pace
    cdef double now = nn_clock()
    memset(&pace, 0, sizeof(Pace))
    if first:
        memset(&verdicts[0], 0, sizeof(Verdict))
    begin(&pace, work)
    ways = []
    for seconds in steps:
        ways.append(bool(pace.alone))
        now += seconds[pace.alone]
        measured(&pace, now, seconds[pace.alone], 32)
    return ways

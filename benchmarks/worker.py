"""The process of one competitor: reads requests (JSON lines) from stdin, answers on stdout.

The parent sets the environment; this module limits the cores before the competitor's libraries are imported, because
they size their thread pools then. Requests are the methods of ``tasks.Tasks``.
"""

import importlib
import json
import os
import sys
import traceback

#: The files of a suite's competitors: ``<name>_<family>.py``.
FAMILIES = {"mlp": "net", "cnn": "net", "models": "models", "conv": "ops", "accuracy": "accuracy",
            "estimators": "estimators"}


def main():
    name, suite, n_threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # Answers go out on a copy of stdout; what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_threads])

    def answer(message):
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        competitor = importlib.import_module(f"benchmarks.{name}_{FAMILIES[suite]}")
    except ImportError as error:
        answer({"missing": str(error)})
        return
    from .tasks import Tasks  # imports NumPy

    tasks = Tasks(competitor, n_threads)
    answer(guarded(describe, competitor, suite))
    for line in sys.stdin:
        request = json.loads(line)
        answer(guarded(getattr(tasks, request.pop("call")), **request))


def guarded(function, /, *arguments, **named):
    """The answer, or the exception as an answer: one failed request leaves the others to go on."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def describe(competitor, suite):
    return {
        "version": competitor.versions(),
        "configuration": competitor.configuration() if hasattr(competitor, "configuration") else "",
        "variants": competitor.VARIANTS[suite],
        "tables": [table for table in ("gemm", "predict") if hasattr(competitor, table)],
    }


if __name__ == "__main__":
    main()

"""The float32 FMA peak of n cores, measured by a small C loop (``fma_peak.c``) compiled for this CPU at run time."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("fma_peak.c")


class PeakMeter:
    """``measure(n)`` gives the summed GFLOP/s of n loops running at once; ``best[n]`` the highest so far.

    ``lanes`` is the float32 vector width; ``missing`` says why there is no figure, else "".
    """

    def __init__(self):
        self.best, self.lanes, self.missing = {}, 0, ""
        self.folder = tempfile.TemporaryDirectory()
        self.program = Path(self.folder.name) / "fma_peak"
        compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
        if compiler is None:
            self.missing = "no C compiler found"
            return
        for flag in ("-march=native", "-mcpu=native"):  # clang on some arm64 systems knows only the second
            command = [compiler, "-O3", flag, "-ffp-contract=fast", str(SOURCE), "-o", str(self.program)]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode == 0:
                break
        else:
            self.missing = f"{SOURCE.name} does not compile: {result.stderr.strip()[-200:]}"

    def measure(self, n_threads, seconds=0.2):
        if self.missing:
            return
        pinned = shutil.which("taskset") is not None and hasattr(os, "sched_getaffinity")
        cpus = sorted(os.sched_getaffinity(0)) if pinned else []
        commands = []
        for i in range(n_threads):
            prefix = ["taskset", "-c", str(cpus[i % len(cpus)])] if pinned else []
            commands.append([*prefix, str(self.program), str(seconds)])
        try:
            loops = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                     for command in commands]
        except OSError as error:  # a folder for temporary files that holds no programs
            self.missing = f"what {SOURCE.name} was compiled to does not run ({error.strerror})"
            return
        answers = [loop.communicate()[0].split() for loop in loops]
        if not all(answers):
            self.missing = f"what {SOURCE.name} was compiled to does not run"
            return
        self.lanes = int(answers[0][0])
        total = sum(float(rate) for _, rate in answers)
        self.best[n_threads] = max(total, self.best.get(n_threads, 0.0))

    def close(self):
        self.folder.cleanup()

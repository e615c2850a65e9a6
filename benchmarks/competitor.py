"""A competitor as the parent sees it: one long-lived process, stopped whenever it is not its turn."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIME_LIMIT = 1800.0  # seconds a request may take; torch.compile of a network takes about a minute

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# These force old OpenBLAS kernels or block sizes and would flatter us.
CRIPPLING_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class WorkerError(Exception):
    """The process ended, took too long, or reported an exception; ``details`` is its traceback or last output."""

    def __init__(self, message, details=""):
        super().__init__(message)
        self.details = details


class Competitor:
    """Start the process of ``benchmarks/<name>_net.py`` (or ``_ops``, see `worker.FAMILIES`).

    ``missing`` is the reason when the library is not installed, else "". Between requests the process is stopped
    (SIGSTOP), so that a spinning thread pool does not disturb whoever's turn it is. It gets its own process group:
    Ctrl-C reaches the parent alone, and should the parent be killed, the kernel hangs up on the stopped group.
    """

    def __init__(self, name, suite, n_threads, **variables):
        self.name = name
        environment = {k: v for k, v in os.environ.items() if k not in CRIPPLING_VARIABLES}
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(n_threads)))
        environment.update(JAX_PLATFORMS="cpu", PYTHONUNBUFFERED="1", **variables)
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", name, suite, str(n_threads)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            **({} if os.name == "nt" else {"process_group": 0}),
        )
        try:
            hello = self.receive()
        except BaseException:
            self.close()
            raise
        self.missing = hello.get("missing", "")
        if self.missing:
            self.close()
            return
        self.version, self.configuration = hello["version"], hello["configuration"]
        self.variants, self.tables = hello["variants"], hello["tables"]
        self.signal("SIGSTOP")

    def request(self, call, **arguments):
        """Send one request and return the answer, a dict; the process runs only meanwhile."""
        self.signal("SIGCONT")
        try:
            self.process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"the process has ended ({error})") from error
        try:
            return self.receive()
        finally:
            self.signal("SIGSTOP")

    @property
    def running(self):
        return self.process.poll() is None

    def receive(self):
        limit = threading.Timer(TIME_LIMIT, self.kill)
        limit.start()
        try:
            line = self.process.stdout.readline()
        finally:
            limit.cancel()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            tail = "".join(self.errors.readlines()[-15:])
            raise WorkerError(f"the process ended with status {self.process.returncode}", tail)
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"], answer["traceback"])
        return answer

    def signal(self, name):
        number = getattr(signal, name, None)
        if number is None:  # Windows cannot stop a process: idle ones wait on their pipe
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass  # it has ended: the next read says so

    def kill(self):
        if hasattr(signal, "SIGKILL"):
            self.signal("SIGKILL")
        else:
            self.process.kill()

    def close(self):
        self.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

"""Runs Python in a process of its own that imports the same nnfast as this one, wherever that is installed."""
import os
import subprocess
import sys
from pathlib import Path

import nnfast

TIME_LIMIT = 120


def python(*arguments, **environment):
    """The finished process of ``python <arguments>``; a value of None removes an environment variable."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(nnfast.__file__).parents[1]), env.get("PYTHONPATH")]))
    for name, value in environment.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    # -P: the working directory may hold another nnfast.
    return subprocess.run([sys.executable, "-P", *arguments], env=env, capture_output=True, text=True, check=False,
                          timeout=TIME_LIMIT)


def evaluate(code, **environment):
    """What `code` prints, in a process that must succeed."""
    done = python("-c", code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout

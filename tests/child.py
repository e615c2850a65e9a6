"""Runs Python in a process of its own, with the environment that conftest.py has prepared and changes to it."""
import os
import subprocess
import sys

TIME_LIMIT = 120


def python(*arguments, **environment):
    """The finished process of ``python <arguments>``; a value of None removes an environment variable."""
    env = {name: value for name, value in (os.environ | environment).items() if value is not None}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=False,
                          timeout=TIME_LIMIT)


def evaluate(code, **environment):
    """What `code` prints, in a process that must succeed."""
    done = python("-c", code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout

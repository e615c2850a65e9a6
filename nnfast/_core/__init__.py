"""The compiled part of nnfast, see the README: Python says what, Cython where and by whom, C how fast."""

try:
    import nnfast._core.kernels  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "nnfast._core.kernels":
        raise
    raise ImportError(
        f"{__path__[0]} is source code that has not been compiled. If nnfast is installed, start Python in another "
        "folder, or with -P, so that the installed one is imported. To compile it in place: pip install -e ."
    ) from None

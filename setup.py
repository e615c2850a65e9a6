"""Build of the compiled core: one module per nnfast/_core/*.pyx, the C kernels inside nnfast._core.kernels.

Metadata is in pyproject.toml. What is here and why:

* The kernels are compiled once per instruction set: every csrc/isa_*.c includes the same kernel sources and gets its
  own flags (ISA_FLAGS). The choice among them is made at run time by csrc/dispatch.c.
* OpenMP is probed, not assumed. Without it, or with NNFAST_OPENMP=0, the build warns and the core is serial.
* All modules use CPython's limited API of 3.11, so that one wheel serves every later version. Free-threaded CPython
  has no limited API yet; there the modules are built for that one version.
"""

import os
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

CORE = "nnfast/_core"
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    # A network locks itself while it runs (nnfast/_core/network.pyx), because it runs without the GIL anyway, and the
    # modules share nothing that changes after import. Of no effect on CPython with the GIL.
    "freethreading_compatible": True,
}

# Never -ffast-math: it lets the compiler drop nan and inf and sets flush-to-zero for the whole process. Contraction is
# off so that a product is fused with a sum exactly where a kernel says so and results do not depend on the compiler.
UNIX_FLAGS = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-g0"]
MSVC_FLAGS = ["/O2", "/std:c11", "/fp:precise"]

# Flags of its own for a source file, on x86-64: (gcc and clang, MSVC). Other processors compile these files, too, and
# find all but the first empty. Few processors take the baseline: -O2 makes it 1.6 % slower and the wheel 95 KB smaller.
ISA_FLAGS = {
    "isa_baseline.c": (["-O2"], []),
    "isa_avx2.c": (["-mavx2", "-mfma"], ["/arch:AVX2"]),
    "isa_avx512.c": (
        ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"],
        ["/arch:AVX512"],
    ),
}

# (compile flags, link flags) to try in turn. Apple's clang has OpenMP but not the runtime, which Homebrew installs
# outside the default search path.
UNIX_OPENMP = [(["-fopenmp"], ["-fopenmp"])]
MSVC_OPENMP = [(["/openmp"], [])]
APPLE_OPENMP = [(["-Xpreprocessor", "-fopenmp"], ["-lomp"])] + [
    (["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"], [f"-L{prefix}/lib", "-lomp"])
    for prefix in ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp")
]

# These two, and whether it is x86-64, are compiled only: which flags and libraries it takes to link is setuptools'
# knowledge. It links no program with CFLAGS like -fsanitize=address or --coverage, but it links modules.
C_PROGRAM = """
#include <math.h>
#include <stdint.h>
int main(void) { return 0; }
"""

PYTHON_PROGRAM = "#include <Python.h>"

OPENMP_PROGRAM = """
#include <omp.h>
int main(void) {
    int sum = 0;
    #pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < 8; i++) sum += omp_get_num_threads() > 0;
    return sum != 8;
}
"""

X86_64_PROGRAM = """
#if !defined(__x86_64__) && !defined(_M_X64)
#error not x86-64
#endif
int main(void) { return 0; }
"""


def extensions():
    # Only these are translation units; the other csrc/*.c are included by the isa files.
    kernel_sources = [*sorted(glob("csrc/isa_*.c")), "csrc/dispatch.c"]
    # What distutils cannot see. Cython itself follows .pxd files.
    headers = ["csrc/nnfast.h", "csrc/random.h", *sorted(glob(f"{CORE}/*.h"))]
    modules = []
    for source in sorted(glob(f"{CORE}/*.pyx")):
        name = Path(source).stem
        has_kernels = name == "kernels"
        modules.append(
            Extension(
                f"nnfast._core.{name}",
                [source.replace(os.sep, "/"), *(kernel_sources if has_kernels else [])],
                include_dirs=["csrc", CORE],
                depends=sorted(glob("csrc/*")) if has_kernels else headers,
                define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED_API else [],
                py_limited_api=LIMITED_API,
            )
        )
    return modules


class BuildCore(build_ext):
    """build_ext with OpenMP probed, flags per source file, and Cython, modules and source files done in parallel."""

    def finalize_options(self):
        super().finalize_options()
        if self.parallel is None:
            self.parallel = os.cpu_count() or 1

    def build_extensions(self):
        self.msvc = self.compiler.compiler_type == "msvc"
        base_flags = MSVC_FLAGS if self.msvc else UNIX_FLAGS
        self.check_compiler(base_flags)
        flags, link_flags = self.openmp_flags()
        flags = base_flags + flags
        if not self.msvc and sys.platform != "darwin":
            link_flags = ["-s", *link_flags]
        for extension in self.extensions:
            extension.extra_compile_args = flags
            extension.extra_link_args = link_flags
        self.rebuild_if_changed(flags + link_flags)
        self.cythonize()
        self.compile_each_source_with_its_flags()
        super().build_extensions()

    def check_compiler(self, flags):
        """Say what a new machine lacks, before Cython's work, and not in the compiler's words for every module."""
        if failure := self.failure(C_PROGRAM, flags, None):
            raise PlatformError(
                f"building nnfast takes a C11 compiler, and the one here does not work: {failure} "
                "(Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc; macOS: xcode-select --install; "
                "Windows: the Build Tools for Visual Studio)"
            )
        if failure := self.failure(PYTHON_PROGRAM, flags, None):
            raise PlatformError(
                f"building nnfast takes the C headers of Python, and Python.h cannot be used: {failure} "
                "(Debian, Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)"
            )

    def openmp_flags(self):
        if os.environ.get("NNFAST_OPENMP", "1") == "0":
            self.warn("NNFAST_OPENMP=0: building nnfast without OpenMP, it will use one thread")
            return [], []
        if self.msvc:
            candidates = MSVC_OPENMP
        else:
            candidates = UNIX_OPENMP + (APPLE_OPENMP if sys.platform == "darwin" else [])
        for flags, link_flags in candidates:
            if self.builds(OPENMP_PROGRAM, flags, link_flags):
                return flags, link_flags
        self.warn(
            "this compiler has no working OpenMP: building nnfast without it, it will use one thread. "
            "(gcc: install libgomp; clang: libomp; macOS: brew install libomp)"
        )
        if "universal2" in self.plat_name:
            self.warn(
                "this Python is for arm64 and x86_64, Homebrew's libomp for one of the two: to build for that one, "
                "set ARCHFLAGS='-arch arm64' or '-arch x86_64'"
            )
        return [], []

    def builds(self, program, flags=(), link_flags=()):
        return self.failure(program, flags, link_flags) is None

    def failure(self, program, flags=(), link_flags=()):
        """The error with which the compiler does not compile a program, or link it if there are link flags, or None."""
        # distutils puts the object at output_dir + the source's path, which must therefore be relative.
        here = os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                Path("probe.c").write_text(program, encoding="ascii")
                objects = self.compiler.compile(["probe.c"], extra_postargs=list(flags))
                if link_flags is not None:
                    self.compiler.link_executable(objects, "probe", extra_postargs=list(link_flags))
            except Exception as error:
                # The distutils in use, setuptools' or the standard library's, decides which classes these are.
                if type(error).__name__ not in ("CompileError", "LinkError"):
                    raise
                return error
            finally:
                os.chdir(here)
        return None

    def rebuild_if_changed(self, flags):
        """Rebuild everything when flags or Cython are not those of the last build here: timestamps do not show it."""
        from Cython import __version__

        variables = [f"{name}={os.environ.get(name)}" for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "ARCHFLAGS")]
        state = "\n".join([sys.version, __version__, *flags, *variables])
        stamp = Path(self.build_temp, "flags.txt")
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != state:
            self.force = True
        # Written after the build: a build that failed must not count as done with the new flags.
        self.stamp = stamp, state

    def run(self):
        super().run()
        stamp, state = self.stamp
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(state, encoding="utf-8")

    def cythonize(self):
        from Cython.Build import cythonize

        # In place, so that sdist and the metadata commands never need Cython; all modules in one call for nthreads.
        generated = cythonize(
            self.extensions,
            nthreads=int(self.parallel),
            build_dir=str(Path("build", "cython")),
            compiler_directives=DIRECTIVES,
            force=bool(self.force),
        )
        for extension, done in zip(self.extensions, generated, strict=True):
            extension.sources = done.sources

    def compile_each_source_with_its_flags(self):
        compiler, compile_sources = self.compiler, self.compiler.compile
        isa_flags = self.isa_flags()

        def compile_one(source, options):
            flags = [*(options.get("extra_postargs") or []), *isa_flags.get(os.path.basename(source), [])]
            return compile_sources([source], **options | {"extra_postargs": flags})

        def compile_all(sources, **options):
            with ThreadPoolExecutor(int(self.parallel)) as pool:
                return [o for objects in pool.map(lambda s: compile_one(s, options), sources) for o in objects]

        compiler.compile = compile_all

    def isa_flags(self):
        if "universal2" in self.plat_name:
            return {
                name: [word for flag in unix for word in ("-Xarch_x86_64", flag)]
                for name, (unix, _) in ISA_FLAGS.items()
            }
        if not self.builds(X86_64_PROGRAM, link_flags=None):
            return {}
        return {name: msvc if self.msvc else unix for name, (unix, msvc) in ISA_FLAGS.items()}


# Cython's worker processes import this file again on systems that spawn instead of fork.
if __name__ == "__main__":
    setup(
        license="BSD-3-Clause",
        ext_modules=extensions(),
        cmdclass={"build_ext": BuildCore},
        options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
    )

"""Byte-compile one package of the standard library into ``compiled/`` of the working directory.

``python compile_package.py json``. The example ``hello`` sends this file's text to the cluster as
the command of its tasks, so it uses nothing but the standard library. The compiled files depend on
the sources alone: hash-based, with paths relative to the library.
"""

import pathlib
import py_compile
import sys
import sysconfig


def compile_package(package: str, into: pathlib.Path) -> int:
    """Compile every module below ``package``; returns how many."""
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    sources = sorted(
        source
        for source in (library / package).rglob("*.py")
        # Test data of the library has files that are not valid Python, on purpose.
        if not {"test", "tests"} & set(source.relative_to(library).parts)
    )
    for source in sources:
        relative = source.relative_to(library)
        py_compile.compile(
            str(source),
            cfile=str(into / f"{relative}c"),
            dfile=str(relative),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    return len(sources)


if __name__ == "__main__":
    count = compile_package(sys.argv[1], pathlib.Path("compiled"))
    if not count:
        sys.exit(f"{sys.argv[1]} is not a package of the standard library")
    print(f"compiled {count} modules of {sys.argv[1]}")

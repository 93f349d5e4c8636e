"""Builds the protobuf modules as part of every installation; all metadata is in ``setup.cfg``."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # an isolated build does not have the directory of setup.py there

from tools.generate_protos import generate  # noqa: E402


class GenerateAndBuildPy(build_py):
    """``build_py`` for wheels and editable installations, after generating the modules in place."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.package_data = {
            **self.package_data,
            "cluster.wire.pb": ["*.proto", "*.pyi"],
            "cluster.wire.pb.v1": ["*.proto", "*.pyi"],
        }

    def run(self) -> None:
        generate(ROOT)
        super().run()


setup(cmdclass={"build_py": GenerateAndBuildPy})

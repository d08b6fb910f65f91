"""Transformers' own tests of models and configurations, from the source distribution of the installed release.

    python -m pytest -m slow tests/models/test_transformers_mixins.py

The distribution is fetched once, into build/. It holds the mixins, but not those of generation and of exporters: empty
ones stand in for them. What does not apply is left out by name in mixins/checks.py.
"""

import os
import re
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import transformers

ROOT = Path(__file__).parents[2]
COMMON = "config_common_kwargs = {'return_dict': False, 'output_hidden_states': True}\n"
STAND_INS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": COMMON,
}


def transformers_tests() -> Path:
    """The folder above Transformers' `tests`, fetched where it is not there."""
    version = transformers.__version__
    build = ROOT / "build" / f"transformers-{version}"
    if not (build / "tests").is_dir():
        build.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        pip += ["--no-build-isolation", "--dest", str(build), f"transformers=={version}"]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=300)
        archive = build / f"transformers-{version}.tar.gz"
        if done.returncode != 0 or not archive.is_file():
            pytest.skip(f"the source distribution of transformers {version} cannot be had here")
        with tarfile.open(archive) as files:
            members = [item for item in files if re.fullmatch(r"[^/]+/tests/\w+\.py", item.name)]
            for item in members:
                item.name = item.name.partition("/")[2]
            files.extractall(build, members, filter="data")
        for name, text in STAND_INS.items():
            path = build / "tests" / name
            path.parent.mkdir(exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text, encoding="utf-8")
        (build / "tests" / "__init__.py").touch()
    return build


@pytest.mark.slow
@pytest.mark.skipif(find_spec("parameterized") is None, reason="Transformers' tests take the package parameterized")
def test_our_classes_pass_transformers_own_tests():
    build = transformers_tests()
    checks = Path(__file__).with_name("mixins") / "checks.py"
    command = [sys.executable, "-m", "pytest", str(checks), "-q", "-c", os.devnull, "--rootdir", str(build)]
    command += ["--import-mode=importlib", "--noconftest", "-p", "no:cacheprovider", "-p", "no:warnings", "--tb=short"]
    paths = [str(build), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=build, env=environment)
    assert done.returncode == 0, done.stdout[-5000:]
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed > 150, done.stdout[-300:]

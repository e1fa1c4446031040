"""AISBench in a virtual environment of its own, with as little as its performance mode needs.

`pip install ais-bench-benchmark` brings 6.6 GB, mostly torch and CUDA. vllm_api_stream_chat with synthetic_gen imports
much of that and uses little: what is imported is in PACKAGES; torch is imported and nothing is computed with it, so a
module that only has names stands in for it (data sets of Type "string", not "tokenid"). `full` installs all of it.
SPDX-License-Identifier: Apache-2.0
"""
import pathlib
import subprocess
import sys

AISBENCH = "ais-bench-benchmark==3.1.20260630"
# numpy and datasets as AISBench bounds them; a newer pyarrow wants a newer numpy. (The full set also needs pkg_resources.)
PACKAGES = """aiohttp datasets<=3.6.0 evaluate fuzzywuzzy janus jieba jsonlines mmengine-lite numpy<2.0.0 opencv-python-headless
orjson pandas Pillow plotly psutil pyarrow<20 regex requests rouge-chinese scipy sympy tabulate tiktoken tqdm
transformers""".split()

TORCH_STAND_IN = '''"""Not torch: it is imported and not used. Names are classes, or modules that can be called and return 0."""
import importlib.machinery
import sys
import types


class Module(types.ModuleType):
    __path__ = []
    __version__ = "0"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[0].isupper() else Module(name)

    def __call__(self, *args, **kwargs):
        return 0


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, Finder, is_package=True) if name.startswith("torch.") else None

    @staticmethod
    def create_module(spec):
        return Module(spec.name)

    @staticmethod
    def exec_module(module):
        pass


sys.modules[__name__].__class__ = Module
sys.meta_path.append(Finder)
'''


def site_packages(venv):
    return next(venv.glob("lib/python3*/site-packages"))


def install(venv, full):
    """Makes `venv` unless it is there and whole."""
    done = venv / f".{AISBENCH}{'-full' if full else ''}"
    if done.exists():
        return
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        sys.exit(f"python {sys.version_info[0]}.{sys.version_info[1]}, expected 3.10 to 3.12: AISBench wants numpy 1")
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if full:
        subprocess.run([*pip, AISBENCH, "pyarrow<20", "setuptools<81"], check=True)
    else:
        subprocess.run([*pip, *PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", AISBENCH], check=True)
        torch = site_packages(venv) / "torch"
        torch.mkdir()
        (torch / "__init__.py").write_text(TORCH_STAND_IN)
    done.touch()

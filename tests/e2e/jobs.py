"""Starts `penstock` under mpirun for a test. Standard library only. SPDX-License-Identifier: Apache-2.0"""
import os
import pathlib
import shutil
import signal
import subprocess
import time

from serving import ENVIRONMENT, ROOT, Server

BINARY = ROOT / "build/penstock"
MPIRUN = ["mpirun", "--bind-to", "none", "--oversubscribe"]
ENVIRONMENT.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
# Ranks share cores here, and nothing is measured.
JOB_FLAGS = ("--allow-oversubscription", "--calibration", "off")


def why_no_mpi():
    """Why jobs cannot be started here; None where they can."""
    if shutil.which("mpirun") is None:
        return "no mpirun here"
    if "libmpi" not in subprocess.run(["ldd", BINARY], capture_output=True, text=True).stdout:
        return "penstock was built without MPI"
    return None


def run_job(num_processes, *words, mpi_flags=(), timeout=60):
    """What a command that ends by itself has said, and its exit code."""
    command = [*MPIRUN, "-n", num_processes, *mpi_flags, BINARY, *words, *JOB_FLAGS]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout,
                          env=ENVIRONMENT)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def ranks_on(port):
    """rank -> process id, of the penstock processes that an MPI launcher has started with `--port PORT`."""
    ranks = {}
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"serve" not in words or str(port).encode() not in words:
                continue
            if "penstock" not in os.readlink(folder / "exe"):
                continue
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for text in variables:
            if text.startswith(b"OMPI_COMM_WORLD_RANK="):
                ranks[int(text.partition(b"=")[2])] = int(folder.name)
    return ranks


def all_gone(pids, seconds=10):
    deadline = time.monotonic() + seconds
    while any(map(is_running, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Job(Server):
    """A server of several processes."""

    def __init__(self, num_processes, model, *flags, mpi_flags=(), launcher=None, network=None, **more):
        """network: the name of the network namespace of process 0, "{pid}" standing for the launcher's id."""
        self.num_processes = num_processes
        self.network = network
        self.pids = {}
        super().__init__(model, *JOB_FLAGS, *flags,
                         launcher=launcher or [*MPIRUN, "-n", str(num_processes), *mpi_flags], **more)
        self.pids = ranks_on(self.port)
        assert sorted(self.pids) == list(range(num_processes)), self.pids

    @property
    def namespace(self):
        return self.network.format(pid=self.process.pid) if self.network else None

    def is_ready(self):
        if not self.network:
            return super().is_ready()
        return "Application startup complete" in self.log_text()

    def ask_to_end(self):
        """The signal goes to rank 0: mpirun would give all ranks two seconds."""
        pid = self.pids.get(0) or ranks_on(self.port).get(0)
        if pid is not None and is_running(pid):
            os.kill(pid, signal.SIGTERM)
        else:
            super().ask_to_end()

    def stop(self):
        code = super().stop()
        self.kill_all()
        return code

    def kill_all(self):
        """A failed test leaves nothing behind."""
        if self.process.poll() is None:
            self.process.terminate()
        for pid in self.pids.values():
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

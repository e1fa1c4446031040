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


def ranks_below(pid):
    """rank -> process id, of the penstock processes that mpirun has started below the process `pid`."""
    parents, ranks = {}, {}
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    for child in parents:
        ancestor = parents[child]
        while ancestor not in (0, pid):
            ancestor = parents.get(ancestor, 0)
        if ancestor != pid:
            continue
        try:
            is_ours = "penstock" in os.readlink(f"/proc/{child}/exe")
            variables = pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        numbers = [int(text.partition(b"=")[2]) for text in variables if text.startswith(b"OMPI_COMM_WORLD_RANK=")]
        if is_ours and numbers:
            ranks[numbers[0]] = child
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

    def __init__(self, num_processes, model, *flags, mpi_flags=(), launcher=None, **more):
        self.num_processes = num_processes
        self.pids = {}
        super().__init__(model, *JOB_FLAGS, *flags,
                         launcher=launcher or [*MPIRUN, "-n", str(num_processes), *mpi_flags], **more)
        self.pids = ranks_below(self.process.pid)
        assert sorted(self.pids) == list(range(num_processes)), self.pids

    def ask_to_end(self):
        """The signal goes to rank 0: mpirun would give all ranks two seconds."""
        pid = self.pids.get(0) or ranks_below(self.process.pid).get(0)
        if pid is not None and is_running(pid):
            os.kill(pid, signal.SIGTERM)
        else:
            super().ask_to_end()

    def stop(self):
        code = super().stop()
        for pid in self.pids.values():  # a failed test leaves nothing behind
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        return code

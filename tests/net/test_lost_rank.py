#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a job of four ranks that loses one, on one machine.

    test_lost_rank.py NET_PROBE [MPIRUN]

Killed or stopped: rank 0 says so, has the time to answer its clients, and the launcher ends with a code that is not 0;
no process is left. A rank that never comes is named within the limit of connecting.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

NET_PROBE, MPIRUN = sys.argv[1], (sys.argv[2:] or ["mpirun"])[0]
PATIENCE_S = 40  # for what must come; how quick it is on an idle machine is not what is tested


def mpirun(transports, command):
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.Popen([MPIRUN, "-n", "4", "--bind-to", "none", "--oversubscribe", "--mca", "btl", transports,
                             *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class LostRankTest(unittest.TestCase):
    def lose(self, transports, sign):
        """Sends the signal to rank 2 of a job that works. Returns what was printed after, and the exit code."""
        job = mpirun(transports, [NET_PROBE, "watch"])
        watchdog = threading.Timer(PATIENCE_S, job.kill)
        watchdog.start()
        pids, ready, lines = {}, 0, []
        with job.stdout:
            for line in job.stdout:
                lines.append(line)
                if match := re.search(r"pid (\d) (\d+)", line):
                    pids[int(match[1])] = int(match[2])
                ready += "READY" in line
                if ready == 4 and len(pids) == 4 and sign is not None:
                    time.sleep(0.3)
                    os.kill(pids[2], sign)
                    sign = None
        code = job.wait()
        in_time = watchdog.is_alive()
        watchdog.cancel()
        output = "".join(lines)
        self.assertTrue(in_time, f"the job did not end\n{output}")
        self.assertNotEqual(code, 0, output)
        self.assertRegex(output, r"rank 0: LOST", output)
        self.assertEqual(output.count("rank 0: answers clients"), 5, output)
        deadline = time.monotonic() + 10
        while any(map(is_running, pids.values())) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual([rank for rank, pid in pids.items() if is_running(pid)], [], output)
        return output

    def test_killed(self):
        for transports in ("vader,self", "tcp,self"):
            with self.subTest(transports):
                self.lose(transports, signal.SIGKILL)

    def test_stopped(self):
        output = self.lose("vader,self", signal.SIGSTOP)
        self.assertRegex(output, r"rank 0: LOST 2 no sign of life for \d+ ms")

    def test_one_that_never_comes_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            script = os.path.join(folder, "late")
            with open(script, "w", encoding="ascii") as file:
                file.write(f'#!/bin/sh\n[ "$OMPI_COMM_WORLD_RANK" = 2 ] && exec sleep {PATIENCE_S}\n'
                           f'exec {NET_PROBE} channel 2\n')
            os.chmod(script, 0o755)
            job = mpirun("vader,self", [script])
            output, _ = job.communicate(timeout=PATIENCE_S)
        self.assertNotEqual(job.returncode, 0)
        self.assertIn("not all ranks of the job have started after 2 s", output)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

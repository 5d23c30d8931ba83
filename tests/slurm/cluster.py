"""A SLURM of one node on loopback, with a configuration of its own, which is stopped when the tests end.

Debian and Ubuntu: `apt-get install slurm-wlm munge`. It runs as root, and touches no file outside its folder.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
_SECONDS = 30
_CONFIGURATION = """\
ClusterName=gradkern
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=20
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
MinJobAge=5
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes=one Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=one MaxTime=INFINITE State=UP PriorityTier=9
"""


def why_not() -> str:
    """Why SLURM cannot be started here; "" where it can."""
    missing = [name for name in PROGRAMS if _found(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)"
    return "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "it needs root"


class Cluster:
    """A SLURM that runs: the environment that its commands need, and its daemons."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start_slurmd(self) -> None:
        """Start the daemon of the node, and wait until the controller knows of it."""
        self.daemons.append(_daemon([_found("slurmd"), "-D", "-N", "one"], self.environment, self.folder))
        states = ("idle", "mixed", "allocated")
        _until(
            lambda: self.asked("sinfo", "--noheader", "--partition=all", "--format=%T").strip() in states,
            self.daemons,
            self.folder,
        )

    def kill_slurmd(self) -> None:
        """Kill the daemon of the node; its jobs go on."""
        slurmd = self.daemons.pop()
        slurmd.kill()
        slurmd.wait()

    def asked(self, *command: str) -> str:
        """What a command of SLURM prints."""
        return _asked(list(command), self.environment)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Start SLURM in a folder. It is stopped at the end.

    Raises
    ------
    RuntimeError : it does not start; the message has the last lines of its logs
    """
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    ports = {"controller": _free_port(), "daemon": _free_port()}
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(folder=folder, host=host, **ports))
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    places = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munge.pid",
              "log-file": folder / "munge.log", "seed-file": folder / "munge.seed"}  # fmt: skip
    munge = [_found("munged"), "--foreground", "--force", *(f"--{name}={place}" for name, place in places.items())]
    cluster = Cluster(folder, environment)
    try:
        cluster.daemons.append(_daemon(munge, environment, folder))
        _until(places["socket"].exists, cluster.daemons, folder)
        cluster.daemons.append(_daemon([_found("slurmctld"), "-D"], environment, folder))
        cluster.start_slurmd()
        yield cluster
    finally:
        _stop(cluster.daemons, environment)


def _stop(daemons: Sequence[subprocess.Popen[bytes]], environment: dict[str, str]) -> None:
    """End all jobs, the daemons, and what daemons left behind."""
    _asked(["scancel", "--full", "--signal=KILL", "--user=root"], environment)
    stop = time.monotonic() + 5
    while time.monotonic() < stop and _asked(["squeue", "--noheader"], environment).strip():
        time.sleep(0.1)
    for daemon in reversed(daemons):
        daemon.terminate()
    for daemon in reversed(daemons):
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(10)
        daemon.kill()
    for process in _steps(environment["SLURM_CONF"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _steps(configuration: str) -> Iterator[int]:
    """Processes of steps that this SLURM started, and nobody else's."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_step = (folder / "cmdline").read_bytes().startswith(b"slurmstepd")
            if is_step and f"SLURM_CONF={configuration}\0".encode() in (folder / "environ").read_bytes():
                yield int(folder.name)


def _found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _daemon(command: Sequence[str | None], environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "daemons.log").open("ab") as log:
        return subprocess.Popen([str(word) for word in command], env=environment, stdout=log, stderr=log)


def _asked(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _until(condition, daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:
    stop = time.monotonic() + _SECONDS
    while not condition():
        dead = [daemon.args[0] for daemon in daemons if daemon.poll() is not None]
        if dead or time.monotonic() > stop:
            logs = "\n".join(path.read_text(errors="replace")[-800:] for path in folder.glob("*.log"))
            raise RuntimeError(f"SLURM did not start ({dead or 'in time'}):\n{logs}")
        time.sleep(0.1)

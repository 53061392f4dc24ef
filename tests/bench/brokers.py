"""Brokers to be measured: how they are built, started, watched and ended."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
MIDGE = TARGET / "release" / "midge"
MQLOAD = TARGET / "release" / "mqload"
START_S = END_S = 20


class Failed(Exception):
    """What keeps a measurement from being made, as a sentence."""


def build():
    """The very binaries that are shipped and measured: the release profile."""
    for package in ("midge", "mqload"):
        subprocess.run(
            ["cargo", "build", "--quiet", "--release", "--locked", "--package", package],
            cwd=ROOT, check=True)


def install(*packages):
    """Debian packages, each given as (command, package), where the command is missing."""
    missing = [package for command, package in packages if not shutil.which(command)]
    if not missing:
        return
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    # A broker is compared with, not run as a service: RUNLEVEL=1 keeps it from starting.
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    try:
        subprocess.run([*root, "apt-get", "-qq", "update"], check=True)
        subprocess.run(
            [*root, *quiet, "apt-get", "-qq", "-o=Dpkg::Use-Pty=0", "install", "-y",
             "--no-install-recommends", *missing], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"these Debian packages are missing: {' '.join(missing)}; "
                     f"install them, or run this as root ({error})") from error


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def only_child(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if len(children) == 1 else None


@contextlib.contextmanager
def running(command, prefix=(), conf="", traced=False):
    """
    A broker, from when it listens until it has ended by SIGTERM: (process id, port).

    `{port}` and `{conf}` in `command` are replaced; the configuration is one listener for
    everybody, and the lines of `conf`. `prefix` is what the broker runs under; where that is
    a process of its own (`traced`), the broker is its only child.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="midge-bench-") as folder:
        file = pathlib.Path(folder) / "broker.conf"
        # Started by root, a broker would become another user, who may not write the counts.
        user = "user root\n" if os.geteuid() == 0 else ""
        file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{user}{conf}\n")
        words = [word.format(port=port, conf=file) for word in command]
        log = pathlib.Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*prefix, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            wait_for_port(process, port, log)
            broker = only_child(process.pid) if traced else process.pid
            yield broker, port
            os.kill(broker, signal.SIGTERM)
            process.wait(END_S)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{process.args[0]} does not end") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def wait_for_port(process, port, log):
    end = time.monotonic() + START_S
    while True:
        if process.poll() is not None:
            raise Failed(f"{process.args[0]} has ended at once:\n{log.read_text()}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        if time.monotonic() > end:
            raise Failed(f"{process.args[0]} does not listen:\n{log.read_text()}")
        time.sleep(0.02)


def load(port, scenario, *options, pid=None, prefix=()):
    """Runs the load generator, and returns what it measured."""
    words = [*prefix, str(MQLOAD), scenario, "--port", str(port), *map(str, options)]
    if pid:
        words += ["--pid", str(pid)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(words)}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    faults = ("lost", "duplicated", "out_of_order", "misrouted", "corrupt", "refused")
    result["wrong"] = {name: result[name] for name in faults if result.get(name)}
    return result

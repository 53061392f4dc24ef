#!/usr/bin/env python3
"""Starts the broker under test on a free loopback port and stops it again.

The one place that knows how the broker is called. The command comes from the environment
variable BROKER (default: the release build of this checkout; `BROKER=mosquitto` and
`BROKER='mosquitto -v'` work as well) and gets `-p PORT`: loopback only, anonymous clients
welcome. Python suites use the class. Others are run by this file as a command, which tells
them where the broker is in MQTT_HOST and MQTT_PORT:

    tests/clients/broker.py NAME COMMAND [ARGUMENT...]         NAME is that of the log

Nothing but a process started here is ever signalled, and that by its process id.
"""

import ctypes
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

HOST = "127.0.0.1"
ROOT = pathlib.Path(__file__).resolve().parents[2]
START_TIME_S = 10
STOP_TIME_S = 10
LOG_LINES_SHOWN = 60


def target_directory():
    """Where Cargo builds, and below which everything that can be thrown away is kept."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def command():
    """The broker's command line without its port."""
    return shlex.split(os.environ.get("BROKER", "")) or [str(target_directory() / "release" / "midge")]


def free_port():
    """A TCP port that nobody uses at the moment on either loopback address."""
    while True:
        with socket.socket(socket.AF_INET6) as six, socket.socket() as four:
            four.bind((HOST, 0))
            port = four.getsockname()[1]
            try:
                six.bind(("::1", port))
            except OSError:
                continue
            return port


def accepts(port):
    """Whether something listens on this port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
        return True
    except OSError:
        return False


def end_with_parent():
    """Runs in the child: the kernel kills it should this process die first (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Broker:
    """One broker process. `port=None` takes a free port; `arguments` replaces `-p PORT`."""

    def __init__(self, name, port=None, arguments=None):
        self.name = name
        self.port = port or free_port()
        self.arguments = ["-p", str(self.port)] if arguments is None else arguments
        self.process = None
        logs = target_directory() / "clients" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.log_path = logs / f"{name}.log"
        self.log_path.write_bytes(b"")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Returns once the port accepts; raises with the log's end if that does not happen."""
        # A working directory of its own: nothing that happens to lie here can be read or changed.
        self.directory = tempfile.TemporaryDirectory(prefix="broker-")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.abspath(command()[0]) if "/" in command()[0] else command()[0]]
                + command()[1:] + self.arguments,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory.name, preexec_fn=end_with_parent)
        give_up = time.monotonic() + START_TIME_S
        while not accepts(self.port):
            code = self.process.poll()
            if code is not None or time.monotonic() > give_up:
                self.show_log()
                state = "does not listen" if code is None else f"ended with code {code}"
                self.stop()
                raise RuntimeError(f"the broker {state}: {command()} {self.arguments}")
            time.sleep(0.02)

    def stop(self):
        """Ends the broker as a service manager would; returns its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(STOP_TIME_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        self.directory.cleanup()
        return code

    def must_be_alive(self):
        """Raises when the broker has ended by itself."""
        code = self.process.poll()
        assert code is None, f"the broker ended by itself with code {code}"

    def revive(self):
        """After a failed test: a broker that died is started again, for the tests to come."""
        if self.process is None or self.process.poll() is not None:
            self.stop()
            self.start()

    def show_log(self):
        """Prints the end of the broker's log to standard error."""
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        print(f"--- the broker's log ends so ({self.log_path})", file=sys.stderr)
        print("\n".join(lines), file=sys.stderr)
        print("---", file=sys.stderr, flush=True)


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: broker.py NAME COMMAND [ARGUMENT...]")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Broker(sys.argv[1]) as broker:
        environment = dict(os.environ, MQTT_HOST=HOST, MQTT_PORT=str(broker.port))
        child = subprocess.Popen(sys.argv[2:], env=environment, preexec_fn=end_with_parent)
        code = child.wait()
        died = broker.process.poll()
        if died is not None:
            print(f"FAILED broker_lives: the broker ended by itself with code {died}", flush=True)
            code = code or 1
        if code:
            broker.show_log()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()

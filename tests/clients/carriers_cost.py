#!/usr/bin/env python3
"""What TLS and WebSockets cost a broker: bytes for each idle connection, and processor time for each
handshake; for the broker under test and Debian's mosquitto, in one run.

Bytes are private ones of the whole process (/proc/PID/smaps_rollup) divided by the connections;
handshakes are counted for each second of processor time that the broker has used, so that neither
the clients' speed nor the machine's load matters. Each connection is one client with a CONNECT.

    [BROKER=COMMAND] tests/clients/carriers_cost.py [CONNECTIONS [HANDSHAKES]]
"""

import os
import pathlib
import resource
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from broker import HOST, accepts, command, end_with_parent, free_port

CONNECTIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
HANDSHAKES = int(sys.argv[2]) if len(sys.argv) > 2 else 2000

scratch = tempfile.TemporaryDirectory(prefix="carriers-cost-")
DIR = pathlib.Path(scratch.name)
os.chmod(DIR, 0o755)


def make_certificates():
    for name, kind in [("ecdsa", ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]), ("rsa", ["rsa:2048"])]:
        subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "9", "-subj", "/CN=localhost",
                        "-keyout", DIR / f"{name}.key", "-out", DIR / f"{name}.crt"], check=True, stderr=subprocess.DEVNULL)
        os.chmod(DIR / f"{name}.key", 0o644)


class Process:
    """One broker with a plain listener, one with WebSockets and one with TLS."""

    def __init__(self, name, words, key):
        self.name = name
        self.ports = {kind: free_port() for kind in ("plain", "websocket", "tls")}
        text = f"allow_anonymous true\nuser root\nlog_type error\nmax_queued_messages 10\nlistener {self.ports['plain']} {HOST}\n"
        text += f"listener {self.ports['websocket']} {HOST}\nprotocol websockets\n"
        text += f"listener {self.ports['tls']} {HOST}\ncertfile {DIR}/{key}.crt\nkeyfile {DIR}/{key}.key\n"
        path = DIR / f"{name}.conf"
        path.write_text(text)
        self.process = subprocess.Popen([*words, "-c", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=end_with_parent, cwd=DIR)
        while not all(accepts(port) for port in self.ports.values()):
            assert self.process.poll() is None, f"{name} does not start"
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def private_bytes(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        rows = [line.split() for line in text.splitlines() if line.startswith("Private_")]
        return sum(int(row[1]) for row in rows) * 1024

    def processor_s(self):
        # Nanoseconds on a processor, of the one thread that serves.
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def connect_packet(number):
    name = f"c{number:06}".encode()
    body = b"\x00\x04MQTT\x04\x02\x0e\x10" + len(name).to_bytes(2, "big") + name
    return b"\x10" + bytes([len(body)]) + body


def exactly(stream, count):
    bytes_ = b""
    while len(bytes_) < count:
        more = stream.recv(count - len(bytes_))
        assert more, "closed"
        bytes_ += more
    return bytes_


def context(version=ssl.TLSVersion.TLSv1_3):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    return made


def opens(broker, kind, number, tls=None, session=None):
    stream = socket.create_connection((HOST, broker.ports[kind]))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if kind == "tls":
        stream = tls.wrap_socket(stream, session=session)
    packet = connect_packet(number)
    if kind == "websocket":
        stream.sendall(b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                       b"Sec-WebSocket-Protocol: mqtt\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += exactly(stream, 1)
        packet = b"\x82" + bytes([0x80 | len(packet), 0, 0, 0, 0]) + packet
    stream.sendall(packet)
    answer = exactly(stream, 6 if kind == "websocket" else 4)
    assert answer.endswith(b"\x20\x02\x00\x00"), answer
    return stream


def idle_bytes(broker, kind):
    """Private bytes for each connection that is connected and says nothing."""
    tls = context()
    warm = [opens(broker, kind, number, tls) for number in range(20)]
    for stream in warm:
        stream.close()
    time.sleep(0.5)
    before = broker.private_bytes()
    streams = [opens(broker, kind, number, tls) for number in range(CONNECTIONS)]
    time.sleep(1)
    each = (broker.private_bytes() - before) / CONNECTIONS
    for stream in streams:
        stream.close()
    return each


def handshakes(broker, is_resumed, version):
    """Connections with a handshake for each second of processor time."""
    tls = context(version)
    session = None
    if is_resumed:
        first = opens(broker, "tls", 0, tls)
        session = first.session
        first.close()
    before = broker.processor_s()
    for number in range(HANDSHAKES):
        stream = opens(broker, "tls", number, tls, session)
        assert stream.session_reused == is_resumed
        if is_resumed:
            session = stream.session
        stream.close()
    time.sleep(0.2)
    return HANDSHAKES / (broker.processor_s() - before)


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    make_certificates()
    brokers = {"midge": command(), "mosquitto": shlex.split(os.environ.get("MOSQUITTO", "/usr/sbin/mosquitto"))}
    for kind in ("plain", "websocket", "tls"):
        for name, words in brokers.items():
            broker = Process(name, words, "ecdsa")
            print(f"{name}: {idle_bytes(broker, kind):,.0f} bytes for each idle {kind} connection", flush=True)
            broker.stop()
    versions = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}
    for key in ("ecdsa", "rsa"):
        for version, number in versions.items():
            for is_resumed in (False, True):
                for name, words in brokers.items():
                    broker = Process(name, words, key)
                    rate = handshakes(broker, is_resumed, number)
                    what = "resumed" if is_resumed else "full"
                    print(f"{name}: {rate:,.0f} {what} handshakes of TLS {version} with {key} per second of processor time", flush=True)
                    broker.stop()


main()

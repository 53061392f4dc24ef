"""What no well-behaved client library can be made to do, byte by byte on a socket.

Just enough of MQTT to open a connection and then fall silent, break off or say something
wrong; and a proxy that breaks other people's connections in the middle of a packet.
"""

import contextlib
import socket
import struct
import threading

from broker import HOST

LEVELS = {"v31": (b"MQIsdp", 3), "v311": (b"MQTT", 4), "v5": (b"MQTT", 5)}


def text(data):
    """A string as it is on the wire: two bytes of length, then the bytes."""
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("!H", len(data)) + data


def variable_byte_integer(number):
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def packet(first_byte, body):
    return bytes([first_byte]) + variable_byte_integer(len(body)) + body


def connect_packet(version, client_id, keep_alive_s=60, clean=True, will=None):
    """`will` is a (topic, payload) pair, sent with QoS 0 and without properties."""
    name, level = LEVELS[version]
    properties = b"\0" if version == "v5" else b""
    flags = (0x02 if clean else 0) | (0x04 if will else 0)
    body = text(name) + bytes([level, flags]) + struct.pack("!H", keep_alive_s) + properties + text(client_id)
    if will:
        body += properties + text(will[0]) + text(will[1])
    return packet(0x10, body)


class Raw:
    """One TCP connection that speaks in packets. Reading gives (first byte, body), or None
    at the end of the connection; silence beyond `timeout_s` raises TimeoutError."""

    def __init__(self, port, timeout_s=10):
        self.socket = socket.create_connection((HOST, port))
        self.socket.settimeout(timeout_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read(self):
        try:
            head = self._exactly(1)
            if not head:
                return None
            length, shift = 0, 0
            while True:
                byte = self._exactly(1)[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    return head[0], self._exactly(length)
        except ConnectionResetError:
            return None

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                assert not data, "the connection ends within a packet"
                return b""
            data += more
        return data

    def connect(self, version, client_id, **options):
        """Sends CONNECT; gives the return or Reason Code of the CONNACK."""
        self.send(connect_packet(version, client_id, **options))
        answer = self.read()
        assert answer and answer[0] == 0x20, f"expected a CONNACK, got {answer}"
        return answer[1][1]

    def ends(self):
        """Reads to the end of the connection; gives the packets that came before it."""
        packets = []
        while (got := self.read()) is not None:
            packets.append(got)
        return packets

    def answers_ping(self):
        self.send(b"\xc0\0")
        got = self.read()
        assert got == (0xD0, b""), f"expected a PINGRESP, got {got}"


def reset(connection):
    """Closes so that both the kernel and the peer drop what was on its way (RST, not FIN)."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
    with contextlib.suppress(OSError):
        connection.close()


class CuttingProxy:
    """Passes connections on to `port`. While `cuts_left` is above 0 it cuts one whenever
    `budget()` bytes have gone through it, wherever in a packet that is."""

    def __init__(self, port, budget):
        self.target = port
        self.budget = budget
        self.cuts_left = 0
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.cuts_left = 0
        reset(self.listener)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError):
            server = socket.create_connection((HOST, self.target))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            left = [self.budget()]
            pumps = [threading.Thread(target=self._pump, args=[a, b, left], daemon=True)
                     for a, b in ((client, server), (server, client))]
            for pump in pumps:
                pump.start()

    def _pump(self, source, sink, left):
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if self.cuts_left > 0:
                    sink.sendall(data[:max(left[0], 0)])
                    left[0] -= len(data)
                    if left[0] <= 0:
                        self.cuts_left -= 1
                        break
                else:
                    sink.sendall(data)
        reset(source)
        reset(sink)

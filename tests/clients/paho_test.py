#!/usr/bin/env python3
"""The broker as Eclipse Paho for Python sees it, the library most Python programs on boards use.

MQTT 3.1, 3.1.1 and 5 side by side where all of them have the feature. Where a well-behaved
client cannot ask the question, raw.py asks it. Needs the packages of requirements.txt.

    [BROKER=mosquitto] PYTHON-OF-A-VENV tests/clients/paho_test.py [PART-OF-A-TEST-NAME...]
"""

import collections
import contextlib
import itertools
import random
import socket
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker import Broker, HOST
from raw import CuttingProxy, Raw, connect_packet, packet, text, variable_byte_integer
from suite import for_each, main, test

VERSIONS = ("v31", "v311", "v5")
PROTOCOLS = {"v31": paho.MQTTv31, "v311": paho.MQTTv311, "v5": paho.MQTTv5}
PATIENCE_S = 10  # for what must happen
SILENCE_S = 0.25  # for what must not
BIG_BYTES = 1_900_000

broker = Broker("paho")
numbers = itertools.count(1)


# ---- a client one can wait for

Got = collections.namedtuple("Got", "topic payload qos retain dup properties mid")


def properties(kind, **values):
    """PUBLISH(UserProperty=[("a", "1")]) and the like."""
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def connect_properties(**values):
    return properties(PacketTypes.CONNECT, **values)


def publish_properties(**values):
    return properties(PacketTypes.PUBLISH, **values)


class Client:
    """A connected paho client with its own thread. It does not reconnect unless told to, and
    remembers all that came."""

    def __init__(self, version="v5", client_id=None, clean=True, connect=None, will=None, port=None,
                 reconnect=False, keep_alive_s=60, manual_ack=False):
        self.version = version
        self.news = threading.Condition()
        self.messages = []
        self.connected = None  # (session present, code, properties) of the last CONNACK
        self.connections = 0
        self.disconnected = None  # (Reason Code, whether the broker sent it) of the last end
        self.acknowledged = {}  # packet identifier -> Reason Codes of SUBACK, UNSUBACK, PUBACK...
        self.client_id = f"paho-{next(numbers)}" if client_id is None else client_id
        session = {} if version == "v5" else {"clean_session": clean}
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=self.client_id, manual_ack=manual_ack,
                                protocol=PROTOCOLS[version], reconnect_on_failure=reconnect, **session)
        self.paho.reconnect_delay_set(0.05, 0.2)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = self._on_message
        self.paho.on_subscribe = self._on_acknowledged
        self.paho.on_unsubscribe = self._on_acknowledged
        self.paho.on_publish = self._on_published
        if will:
            self.paho.will_set(**will)
        if version == "v5":
            start = {"clean_start": paho.MQTT_CLEAN_START_FIRST_ONLY if clean and reconnect else clean,
                     "properties": connect}
        else:
            start = {}
        self.paho.connect(HOST, port or broker.port, keep_alive_s, **start)
        self.paho.loop_start()
        self.until(lambda: self.connected or self.disconnected, "CONNACK")

    def __enter__(self):
        assert self.connected and self.connected[1] == 0, f"CONNACK {self.connected}, end {self.disconnected}"
        return self

    def __exit__(self, *_):
        self.leave()

    # callbacks, all on the thread of paho

    def _note(self):
        self.news.notify_all()

    def _on_connect(self, _client, _userdata, flags, code, given):
        with self.news:
            self.connected = (flags.session_present, code.value, given)
            self.connections += 1
            self._note()

    def _on_disconnect(self, _client, _userdata, flags, code, _given):
        with self.news:
            self.disconnected = (code.value, flags.is_disconnect_packet_from_server)
            self._note()

    def _on_message(self, _client, _userdata, m):
        with self.news:
            self.messages.append(Got(m.topic, bytes(m.payload), m.qos, m.retain, m.dup, m.properties, m.mid))
            self._note()

    def _on_acknowledged(self, _client, _userdata, identifier, codes, _given):
        with self.news:
            self.acknowledged[identifier] = [code.value for code in codes]
            self._note()

    def _on_published(self, _client, _userdata, identifier, code, _given):
        with self.news:
            self.acknowledged[identifier] = [code.value]
            self._note()

    # waiting

    def until(self, condition, what, patience_s=PATIENCE_S):
        with self.news:
            if not self.news.wait_for(condition, patience_s):
                seen = [(m.topic, m.payload[:30]) for m in self.messages[-5:]]
                raise AssertionError(f"{self.client_id}: no {what} within {patience_s} s; "
                                     f"{len(self.messages)} messages, last {seen}, end {self.disconnected}")

    def gets(self, *payloads, settle=True):
        """Exactly these payloads, in this order, and then silence. Gives the messages."""
        self.until(lambda: len(self.messages) >= len(payloads), f"{len(payloads)} messages")
        if settle:
            time.sleep(SILENCE_S)
        expected = [p.encode() if isinstance(p, str) else p for p in payloads]
        got = [m.payload for m in self.messages]
        if got != expected:
            short = [[p[:40] for p in some[:20]] for some in (expected, got)]
            raise AssertionError(f"{self.client_id}: expected {len(expected)} {short[0]}, got {len(got)} {short[1]}")
        return self.messages

    def gets_nothing(self):
        self.gets()

    def ended(self):
        """Waits until the connection is over; gives (Reason Code, whether the broker sent it)."""
        self.until(lambda: self.disconnected, "end of the connection")
        return self.disconnected

    # doing

    def subscribe(self, filter, qos=0, **more):
        """Gives the Reason Codes of the SUBACK. `filter` may be what paho's own method takes."""
        _result, identifier = self.paho.subscribe(filter, qos, **more)
        self.until(lambda: identifier in self.acknowledged, "SUBACK")
        return self.acknowledged[identifier]

    def subscribe_v5(self, filter, identifier=None, **options):
        """With SubscribeOptions and, if given, a Subscription Identifier."""
        given = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier) if identifier else None
        return self.subscribe(filter, options=SubscribeOptions(**options), properties=given)

    def unsubscribe(self, filter):
        _result, identifier = self.paho.unsubscribe(filter)
        self.until(lambda: identifier in self.acknowledged, "UNSUBACK")
        return self.acknowledged[identifier]

    def publish(self, topic, payload="", qos=0, retain=False, **given):
        """Waits for the acknowledgement; gives its Reason Code. Keywords become properties."""
        made = publish_properties(**given) if given else None
        info = self.paho.publish(topic, payload, qos, retain, made)
        self.until(lambda: info.mid in self.acknowledged, f"acknowledgement of QoS {qos}")
        return self.acknowledged.pop(info.mid)[0]

    def leave(self, code=None, **given):
        """DISCONNECT, then the end of the thread."""
        made = properties(PacketTypes.DISCONNECT, **given) if given else None
        if self.version == "v5":
            self.paho.disconnect(reasoncode=code and ReasonCode(PacketTypes.DISCONNECT, identifier=code), properties=made)
        else:
            self.paho.disconnect()
        self.paho.loop_stop()

    def cut(self):
        """Ends the connection without a DISCONNECT."""
        with contextlib.suppress(OSError):
            self.paho.socket().shutdown(socket.SHUT_RDWR)
        self.ended()
        self.paho.loop_stop()


def leave_session(version, client_id, filter, qos=2, expiry_s=600):
    """A durable session with one subscription, left behind."""
    if version == "v5":
        options = {"connect": connect_properties(SessionExpiryInterval=expiry_s)}
    else:
        options = {"clean": False}
    with Client(version, client_id, **options) as client:
        client.subscribe(filter, qos)


def resume(version, client_id, expiry_s=600, **more):
    """Comes back to a durable session."""
    if version == "v5":
        more.setdefault("connect", connect_properties(SessionExpiryInterval=expiry_s))
    return Client(version, client_id, clean=False, **more)


# ---- connecting


@for_each(*VERSIONS)
def connects_to_a_new_session(version):
    with Client(version) as client:
        assert client.connected[:2] == (False, 0), f"CONNACK {client.connected}"


@test
def connack_restricts_nothing_by_default():
    with Client("v5") as client:
        given = vars(client.connected[2])
        for name in ("ServerKeepAlive", "AssignedClientIdentifier", "MaximumQoS", "RetainAvailable", "SessionExpiryInterval",
                     "WildcardSubscriptionAvailable", "SubscriptionIdentifierAvailable", "SharedSubscriptionAvailable"):
            assert given.get(name) in (None, 1) and (name.endswith("Available") or name not in given), \
                f"CONNACK carries {name} = {given.get(name)}"


@test
def connack_tells_the_default_limits():
    """As mosquitto 2.1 does; 2.0 has no Maximum Packet Size by default and says nothing of it."""
    with Client("v5") as client:
        given = vars(client.connected[2])
        got = {name: given.get(name) for name in ("TopicAliasMaximum", "MaximumPacketSize", "ReceiveMaximum")}
        expected = {"TopicAliasMaximum": 10, "MaximumPacketSize": 2_000_000, "ReceiveMaximum": 20}
        assert got == expected, f"expected {expected}, got {got}"


@test
def empty_client_identifier_is_assigned():
    with Client("v5", "") as one, Client("v5", "") as other:
        names = [vars(client.connected[2]).get("AssignedClientIdentifier") for client in (one, other)]
        assert all(names) and names[0] != names[1], f"assigned {names}"
    with Raw(broker.port) as client:
        assert client.connect("v311", "") == 0
    with Raw(broker.port) as client:
        # [MQTT-3.1.3-8] a nameless client must not ask for a session that lasts.
        assert client.connect("v311", "", clean=False) == 2
        assert client.ends() == []


@test
def first_packet_must_be_connect():
    """[MQTT-3.1.0-1]"""
    with Raw(broker.port) as client:
        client.send(packet(0x30, text("topic") + b"payload"))
        client.ends()
    with Raw(broker.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.ends()


@for_each("v311", "v5")
def second_connect_is_an_error(version):
    """[MQTT-3.1.0-2] [MQTT5-3.1.0-2]"""
    with Raw(broker.port) as client:
        assert client.connect(version, "connects-twice") == 0
        client.send(connect_packet(version, "connects-twice"))
        client.ends()


@for_each("v311", "v5")
def packets_may_come_byte_by_byte(version):
    with Raw(broker.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in connect_packet(version, "slow") + packet(0x30, text("slow") + (b"\0" if version == "v5" else b"") + b"x"):
            client.send(bytes([byte]))
            time.sleep(0.005)
        answer = client.read()
        assert answer[0] == 0x20 and answer[1][1] == 0, f"CONNACK {answer}"
        client.answers_ping()


@for_each(*VERSIONS)
def takeover_ends_the_older_connection(version):
    client_id = f"takeover-{version}"
    with Client(version, client_id) as older, Client(version, client_id) as newer:
        end = older.ended()
        if version == "v5":
            assert end == (0x8E, True), f"the older client saw {end}"  # [MQTT5-3.1.4-3]
        newer.subscribe(client_id)
        newer.publish(client_id, "still here")
        newer.gets("still here")
        assert newer.disconnected is None


@test
def silent_client_is_closed_after_one_and_a_half_keep_alives():
    """[MQTT-3.1.2-24] [MQTT5-3.1.2-22], and its Will goes out."""
    with contextlib.ExitStack() as stack:
        watcher = stack.enter_context(Client())
        watcher.subscribe("keep/alive/+")
        silent = []
        started = time.monotonic()
        for version, keep_alive_s in (("v311", 1), ("v5", 1), ("v311", 2), ("v5", 2)):
            client = stack.enter_context(Raw(broker.port))
            name = f"{version}-{keep_alive_s}"
            assert client.connect(version, name, keep_alive_s=keep_alive_s, will=(f"keep/alive/{name}", name)) == 0
            silent.append((name, keep_alive_s, client))
        endless, lively = (stack.enter_context(Raw(broker.port)) for _ in range(2))
        assert endless.connect("v311", "endless", keep_alive_s=0) == 0
        assert lively.connect("v5", "lively", keep_alive_s=1) == 0
        stopped = threading.Event()
        stack.callback(stopped.set)

        def ping():
            while not stopped.wait(0.6):
                lively.answers_ping()

        pinger = threading.Thread(target=ping, daemon=True)
        pinger.start()
        for name, keep_alive_s, client in silent:
            packets = client.ends()
            took = time.monotonic() - started
            # The upper bound leaves room for brokers that look once a second.
            assert 1.5 * keep_alive_s - 0.1 <= took <= 1.5 * keep_alive_s + 2.5, f"{name} was closed after {took:.1f} s"
            codes = [(first_byte, body[0]) for first_byte, body in packets]
            assert codes in ([], [(0xE0, 0x8D)]), f"{name} got {packets}"
        watcher.until(lambda: len(watcher.messages) == 4, "four Wills")
        assert {m.payload for m in watcher.messages} == {name.encode() for name, _, _ in silent}
        assert pinger.is_alive(), "the client that sends PINGREQ was closed"
        endless.answers_ping()


# ---- publishing


@for_each(*VERSIONS)
def every_qos_both_ways_in_order(version):
    topics = {qos: f"order/{version}/{qos}" for qos in (0, 1, 2)}
    sent = [str(number) for number in range(100)]
    with contextlib.ExitStack() as stack:
        publisher = stack.enter_context(Client(version))
        subscribers = []
        for granted, topic_qos in itertools.product((0, 1, 2), (0, 1, 2)):
            subscriber = stack.enter_context(Client(version))
            assert subscriber.subscribe(topics[topic_qos], granted) == [granted]
            subscribers.append((granted, topic_qos, subscriber))
        infos = [publisher.paho.publish(topics[qos], payload, qos) for qos in (0, 1, 2) for payload in sent]
        for info in infos:
            info.wait_for_publish(PATIENCE_S)
            assert info.is_published(), "a message was not acknowledged"
        for granted, topic_qos, subscriber in subscribers:
            for message in subscriber.gets(*sent, settle=False):
                assert message.qos == min(granted, topic_qos), f"granted {granted}, sent {topic_qos}, got {message.qos}"
                assert message.topic == topics[topic_qos] and not message.retain and not message.dup, f"got {message}"
        time.sleep(SILENCE_S)
        assert all(len(subscriber.messages) == len(sent) for _, _, subscriber in subscribers), "more than was sent"


@for_each(*[f"{version}-qos{qos}" for version in VERSIONS for qos in (0, 1, 2)])
def big_payload(how):
    version, qos = how.split("-qos")
    content = random.Random(how).randbytes(BIG_BYTES)
    with Client(version) as publisher, Client(version) as subscriber:
        subscriber.subscribe(f"big/{how}", int(qos))
        publisher.publish(f"big/{how}", content, int(qos))
        subscriber.until(lambda: subscriber.messages, "big message")
        got = subscriber.messages[0].payload
        assert got == content, f"{len(got)} of {len(content)} bytes arrived, or they changed"


@for_each("v311", "v5")
def packet_above_the_maximum_is_refused(version):
    """2,000,000 bytes by default as in mosquitto 2.1; 2.0 has no such default and waits for more.
    The announced length is enough, no payload needs to come."""
    with Raw(broker.port, timeout_s=3) as client:
        assert client.connect(version, "too-big") == 0
        client.send(b"\x30" + variable_byte_integer(3_000_000) + text("too/big"))
        packets = client.ends()
        if version == "v5":
            assert [p[1][0] for p in packets if p[0] == 0xE0] == [0x95], f"got {packets}"
        else:
            assert packets == []


@for_each(*VERSIONS)
def empty_payload_and_odd_topics(version):
    topics = ["/", "//", f"odd/{version} with space", f"odd/{version}/größe/µ/日本/🦟", f"odd/{version}/" + "x" * 1000]
    with Client(version) as client:
        for topic in topics:
            client.subscribe(topic, 1)
            client.publish(topic, "", 1)
        got = client.gets(*[""] * len(topics))
        assert [m.topic for m in got] == topics


@test
def publish_to_nobody_is_acknowledged():
    """0x10 (no matching subscribers) is optional [MQTT5 §3.4.2.1]."""
    with Client("v5") as client:
        for qos in (1, 2):
            code = client.publish("nobody/listens", "x", qos)
            assert code in (0, 0x10), f"Reason Code {code:#x} for QoS {qos}"


@for_each("v311-qos2", "v5-qos2", "v5-qos1")
def nothing_is_lost_over_broken_connections(how):
    """2,000 messages while both connections are cut a dozen times in the middle of packets:
    QoS 2 arrives exactly once and in order, QoS 1 at least once."""
    version, qos = how.split("-qos")
    qos = int(qos)
    count = 2000
    chance = random.Random(how)
    proxies = [CuttingProxy(broker.port, lambda: chance.randrange(3_000, 9_000)) for _ in range(2)]
    with contextlib.ExitStack() as stack:
        for proxy in proxies:
            stack.callback(proxy.close)
        more = {"connect": connect_properties(SessionExpiryInterval=600)} if version == "v5" else {"clean": False}
        subscriber = stack.enter_context(Client(version, f"broken-sub-{how}", port=proxies[0].port, reconnect=True, **more))
        publisher = stack.enter_context(Client(version, f"broken-pub-{how}", port=proxies[1].port, reconnect=True, **more))
        subscriber.subscribe(f"broken/{how}", qos)
        for proxy in proxies:
            proxy.cuts_left = 12
        expected = [f"message {number:05} " + "." * 20 for number in range(count)]
        infos = []
        for number, payload in enumerate(expected):
            infos.append(publisher.paho.publish(f"broken/{how}", payload, qos))
            # After reconnecting paho sends all that is open, whatever Receive Maximum (20) says,
            # and a broker may refuse what is more; so no more than 15 are open.
            if number >= 15:
                publisher.until(lambda: infos[number - 15].mid in publisher.acknowledged, "acknowledgement", 20)
            # What waits, repetitions included, must stay below what a broker queues for one client
            # that is away for a moment (1,000 by default).
            if number >= 200:
                subscriber.until(lambda: len(subscriber.messages) >= number - 200, f"message {number - 200}", 20)
        complete = {payload.encode() for payload in expected}
        subscriber.until(lambda: len({m.payload for m in subscriber.messages}) >= count, f"all {count} messages", 20)
        time.sleep(SILENCE_S)
        got = [m.payload for m in subscriber.messages]
        left = [proxy.cuts_left for proxy in proxies]
        assert max(left) <= 6, f"the connections were not cut often enough: {left} of 12 cuts left"
        assert set(got) == complete, f"{len(complete - set(got))} messages are missing"
        if qos == 2:
            twice = [payload for payload, times in collections.Counter(got).items() if times > 1]
            assert not twice, f"{len(twice)} messages came more than once, for instance {twice[:3]}"
            assert got == [payload.encode() for payload in expected], "the messages came in another order"


# ---- subscribing


@for_each(*VERSIONS)
def wildcards(version):
    base = f"wild/{version}"
    with Client(version) as client:
        client.subscribe([(f"{base}/+/end", 0), (f"{base}/tree/#", 0)])
        topics = ["a/end", "/end", "a/b/end", "tree", "tree/a", "tree/a/b", "trees"]
        for topic in topics:
            client.publish(f"{base}/{topic}", topic)
        client.gets("a/end", "/end", "tree", "tree/a", "tree/a/b")


@for_each(*VERSIONS)
def suback_and_unsuback(version):
    base = f"suback/{version}"
    with Client(version) as client:
        got = client.subscribe([(f"{base}/{qos}", qos) for qos in (0, 1, 2)])
        assert got == [0, 1, 2], f"SUBACK {got}"
        got = client.unsubscribe([f"{base}/1", f"{base}/never"])
        # [MQTT5 §3.11.3] 0x11: no subscription existed. Before 5 an UNSUBACK says nothing.
        assert got == ([0, 0x11] if version == "v5" else []), f"UNSUBACK {got}"
        for qos in (0, 1, 2):
            client.publish(f"{base}/{qos}", str(qos), 2)
        client.gets("0", "2")


@for_each("v311", "v5")
def invalid_filter_is_never_granted(version):
    """[MQTT-4.7.1-2] [MQTT5-4.7.1-1] Either a refusal in the SUBACK or the end of the connection."""
    for number, filter in enumerate(("a/#/b", "a#", "a+/b", "", "$share//a", "$share/g", "$share/g/", "$share/+/a")):
        if version == "v311" and filter.startswith("$share"):
            continue
        with Raw(broker.port) as client:
            assert client.connect(version, f"invalid-{version}-{number}") == 0
            client.send(packet(0x82, b"\0\x01" + (b"\0" if version == "v5" else b"") + text(filter) + b"\0"))
            answer = client.read()
            refused = answer is None or answer[0] == 0xE0 or (answer[0] == 0x90 and answer[1][-1] >= 0x80)
            assert refused, f"{filter!r} was answered by {answer}"


@for_each(*VERSIONS)
def subscribing_again_replaces(version):
    with Client(version) as client:
        client.subscribe(f"again/{version}", 0)
        client.subscribe(f"again/{version}", 2)
        client.publish(f"again/{version}", "x", 2)
        assert client.gets("x")[0].qos == 2  # [MQTT-3.8.4-3] one subscription, the newer one


@for_each("v311", "v5")
def shared_subscription(version):
    topic = f"shared/{version}"
    sent = [str(number) for number in range(90)]
    with contextlib.ExitStack() as stack:
        publisher, *members = [stack.enter_context(Client(version)) for _ in range(4)]
        outsider = stack.enter_context(Client(version))
        for member in members:
            assert member.subscribe(f"$share/crew/{topic}", 1) == [1]
        outsider.subscribe(f"$share/others/{topic}", 1)
        for payload in sent:
            publisher.publish(topic, payload, 1)
        outsider.gets(*sent)
        got = sorted((int(m.payload) for member in members for m in member.messages))
        assert got == [int(payload) for payload in sent], f"together the members got {got}"
        shares = [len(member.messages) for member in members]
        assert min(shares) > 0, f"one member got nothing: {shares}"
        assert members[0].unsubscribe(f"$share/crew/{topic}") == ([0] if version == "v5" else [])
        for payload in sent:
            publisher.publish(topic, payload, 1)
        time.sleep(SILENCE_S)
        now = [len(member.messages) for member in members]
        assert now[0] == shares[0] and sum(now) == 2 * len(sent), f"first {shares}, then {now}"


@test
def shared_subscription_knows_no_no_local():
    """[MQTT5-3.8.3-4] It is a Protocol Error."""
    with Client() as client:
        client.paho.subscribe("$share/crew/nolocal", options=SubscribeOptions(noLocal=True))
        end = client.ended()
        assert end == (0x82, True), f"the client saw {end}"


@test
def subscription_identifiers():
    with Client() as client, Client() as publisher:
        client.subscribe_v5("identifier/a", identifier=1, qos=1)
        client.subscribe_v5("identifier/#", identifier=268_435_455, qos=1)
        client.subscribe_v5("identifier/+/b", qos=1)
        publisher.publish("identifier/a", "both", 1)
        publisher.publish("identifier/c", "wide", 1)
        client.until(lambda: any(m.payload == b"wide" for m in client.messages), "message")
        found = collections.defaultdict(list)
        for message in client.messages:
            found[message.payload].extend(getattr(message.properties, "SubscriptionIdentifier", []))
        # [MQTT5-3.3.4-4] in one copy or in one copy each.
        assert sorted(found[b"both"]) == [1, 268_435_455], f"got {dict(found)}"
        assert found[b"wide"] == [268_435_455], f"got {dict(found)}"


@test
def subscription_identifier_is_replaced():
    with Client() as client:
        client.subscribe_v5("identifier2/a", identifier=7)
        client.subscribe_v5("identifier2/a")
        client.publish("identifier2/a", "x")
        assert not hasattr(client.gets("x")[0].properties, "SubscriptionIdentifier")


@test
def no_local():
    with Client() as client, Client() as other:
        client.subscribe_v5("local/none", qos=1, noLocal=True)
        client.subscribe_v5("local/own", qos=1)
        for publisher, payload in ((client, "mine"), (other, "yours")):
            publisher.publish("local/none", f"none {payload}", 1)
            publisher.publish("local/own", f"own {payload}", 1)
        client.gets("own mine", "none yours", "own yours")


@test
def retain_as_published():
    with Client() as client, Client() as publisher:
        client.subscribe_v5("published/as", retainAsPublished=True)
        client.subscribe_v5("published/not")
        for topic in ("published/as", "published/not"):
            publisher.publish(topic, topic, retain=True)
            publisher.publish(topic, "passing")
        flags = {(m.topic, m.payload): m.retain for m in client.gets(
            "published/as", "passing", "published/not", "passing")}
        assert flags[("published/as", b"published/as")], "the flag was dropped"
        assert sum(flags.values()) == 1, f"got {flags}"


@test
def retain_handling():
    with Client() as publisher:
        publisher.publish("handling", "kept", 1, True)
        for handling, counts in ((0, (1, 2)), (1, (1, 1)), (2, (0, 0))):
            with Client() as client:
                for count in counts:
                    client.subscribe_v5("handling", retainHandling=handling)
                    time.sleep(SILENCE_S)
                    got = len(client.messages)
                    assert got == count, f"Retain Handling {handling}: expected {counts}, got {got}"


# ---- retained messages


@for_each(*VERSIONS)
def retained_is_set_replaced_and_cleared(version):
    topic = f"retained/{version}"
    with Client(version) as publisher, Client(version) as live:
        live.subscribe(topic, 1)  # with 2 paho would hand some over late, at PUBREL
        for payload, qos, retain in (("first", 0, True), ("second", 2, True), ("passing", 1, False)):
            publisher.publish(topic, payload, qos, retain)
        with Client(version) as late:
            late.subscribe(topic, 1)
            message = late.gets("second")[0]
            assert message.retain and message.qos == 1 and message.topic == topic, f"got {message}"
        publisher.publish(topic, "", 1, True)
        with Client(version) as late:
            late.subscribe(topic, 1)
            late.gets_nothing()
        got = live.gets("first", "second", "passing", "")
        assert not any(m.retain for m in got), f"RETAIN on an established subscription: {got}"


@test
def retained_by_wildcards_come_all():
    with Client() as publisher, Client() as client:
        for number in range(500):
            publisher.publish(f"retained-many/{number % 10}/{number}", str(number), 1, True)
        client.subscribe("retained-many/+/#", 1)
        client.until(lambda: len(client.messages) >= 500, "500 messages")
        assert sorted(int(m.payload) for m in client.messages) == list(range(500))


@test
def retained_message_expires():
    with Client() as publisher:
        publisher.publish("retained/expiry/1", "short", 1, True, MessageExpiryInterval=1)
        publisher.publish("retained/expiry/2", "long", 1, True, MessageExpiryInterval=60)
        time.sleep(2.2)
        with Client() as client:
            client.subscribe("retained/expiry/+", 1)
            left = client.gets("long")[0].properties.MessageExpiryInterval
            assert 55 <= left <= 58, f"Message Expiry Interval {left}"


# ---- wills


@for_each(*[f"{version}-{retain}" for version in VERSIONS for retain in ("plain", "retained")])
def will_on_a_broken_connection(how):
    version, retain = how.split("-")
    topic = f"will/{how}"
    with Client(version) as watcher:
        watcher.subscribe(topic, 2)
        with Client(version, will={"topic": topic, "payload": "gone", "qos": 1, "retain": retain == "retained"}) as victim:
            victim.cut()
        message = watcher.gets("gone")[0]
        assert message.qos == 1 and not message.retain, f"got {message}"
        with Client(version) as late:
            late.subscribe(topic, 2)
            late.gets(*(["gone"] if retain == "retained" else []))


@test
def will_is_sent_at_once():
    """Not only when the next packet from anybody wakes the broker."""
    with Raw(broker.port, timeout_s=1) as watcher:
        watcher.connect("v311", "will-watcher")
        watcher.send(packet(0x82, b"\0\x01" + text("will/once") + b"\0"))
        assert watcher.read()[0] == 0x90
        for _ in range(3):
            with Raw(broker.port) as victim:
                victim.connect("v311", "will-victim", will=("will/once", "gone"))
            got = watcher.read()
            assert got == (0x30, text("will/once") + b"gone"), f"got {got}"


@for_each(*VERSIONS)
def no_will_after_disconnect(version):
    with Client(version) as watcher:
        watcher.subscribe(f"will/none/{version}", 2)
        with Client(version, will={"topic": f"will/none/{version}", "payload": "gone"}):
            pass
        watcher.gets_nothing()


@for_each(*VERSIONS)
def will_when_taken_over(version):
    """[MQTT-3.1.4-2] [MQTT5-3.1.4-3]"""
    client_id = f"will-over-{version}"
    with Client(version) as watcher:
        watcher.subscribe(f"will/over/{version}")
        with Client(version, client_id, will={"topic": f"will/over/{version}", "payload": "gone"}) as older, \
                Client(version, client_id):
            older.ended()
            watcher.gets("gone")


@test
def disconnect_with_will_message():
    """Reason Code 0x04."""
    with Client() as watcher:
        watcher.subscribe("will/disconnect")
        with Client(will={"topic": "will/disconnect", "payload": "gone"}) as client:
            client.leave(0x04)
            watcher.gets("gone")


def delayed_will(topic, seconds):
    return {"topic": topic, "payload": "gone", "properties": properties(PacketTypes.WILLMESSAGE, WillDelayInterval=seconds)}


@test
def will_waits_for_its_delay():
    lasting = connect_properties(SessionExpiryInterval=600)
    with Client() as watcher:
        watcher.subscribe("will/delay")
        with Client("v5", "delay", connect=lasting, will=delayed_will("will/delay", 2)) as victim:
            victim.cut()
        cut = time.monotonic()
        watcher.until(lambda: watcher.messages, "Will")
        took = time.monotonic() - cut
        assert 1.5 <= took <= 4, f"the Will came after {took:.1f} s"


@test
def will_is_forgotten_when_the_client_comes_back():
    """[MQTT5-3.1.3-9]"""
    lasting = connect_properties(SessionExpiryInterval=600)
    with Client() as watcher:
        watcher.subscribe("will/back")
        with Client("v5", "back", connect=lasting, will=delayed_will("will/back", 1)) as victim:
            victim.cut()
        with resume("v5", "back") as returned:
            assert returned.connected[0], "the session is gone"
            time.sleep(2.5)
            watcher.gets_nothing()


@test
def will_does_not_wait_longer_than_the_session():
    """[MQTT5 §3.1.3.2.2] delay or end of the session, whichever is first."""
    with Client() as watcher:
        watcher.subscribe("will/session/+")
        for number, expiry in enumerate((0, 1)):
            with Client("v5", f"will-session-{number}", connect=connect_properties(SessionExpiryInterval=expiry),
                        will=delayed_will(f"will/session/{number}", 600)) as victim:
                victim.cut()
        watcher.until(lambda: len(watcher.messages) == 2, "two Wills", 6)


@test
def will_properties():
    given = properties(PacketTypes.WILLMESSAGE, UserProperty=("a", "1"), ContentType="text/x", ResponseTopic="r",
                       CorrelationData=b"\0\xff", PayloadFormatIndicator=1, MessageExpiryInterval=60)
    given.UserProperty = ("a", "2")
    with Client() as watcher:
        watcher.subscribe("will/properties")
        with Client(will={"topic": "will/properties", "payload": "gone", "properties": given}) as victim:
            victim.cut()
        got = watcher.gets("gone")[0].properties
        assert got.UserProperty == [("a", "1"), ("a", "2")], f"got {got}"
        assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == ("text/x", "r", b"\0\xff"), f"got {got}"
        assert got.PayloadFormatIndicator == 1 and 58 <= got.MessageExpiryInterval <= 60, f"got {got}"


# ---- sessions


@for_each(*VERSIONS)
def session_keeps_subscriptions_and_messages(version):
    client_id, topic = f"session-{version}", f"session/{version}"
    leave_session(version, client_id, topic)
    sent = [f"{qos}-{number}" for number in range(100) for qos in (1, 2)]
    with Client(version) as publisher:
        for payload in sent:
            publisher.publish(topic, payload, int(payload[0]))
        with resume(version, client_id) as client:
            if version != "v31":  # 3.1 has no such flag
                assert client.connected[0], "no Session Present"
            client.until(lambda: len(client.messages) >= 200, "200 messages")
            publisher.publish(topic, "1-live", 1)
            client.until(lambda: len(client.messages) >= 201, "live message")
            time.sleep(SILENCE_S)
            for qos in (1, 2):  # paho hands a QoS 2 message over at PUBREL, so the order is one per quality
                got = [m.payload.decode() for m in client.messages if m.qos == qos]
                expected = [payload for payload in [*sent, "1-live"] if payload[0] == str(qos)]
                assert got == expected, f"QoS {qos}: got {got}"
        with resume(version, client_id) as client:
            client.gets_nothing()
    with Client(version, client_id) as client:
        assert not client.connected[0], "a clean session is said to be an old one"
    with resume(version, client_id) as client:
        assert not client.connected[0], "the session was not ended by a clean one"


@for_each("v311", "v5")
def unacknowledged_messages_come_again(version):
    """[MQTT-4.4.0-1] [MQTT5-4.4.0-1] after reconnecting, with DUP, in their order."""
    client_id, topic = f"again-{version}", f"unacknowledged/{version}"
    leave_session(version, client_id, topic)
    with Client(version) as publisher, resume(version, client_id, manual_ack=True) as first:
        for number in range(5):
            publisher.publish(topic, str(number), 1)
        first.gets("0", "1", "2", "3", "4")
        first.paho.ack(first.messages[0].mid, 1)
        time.sleep(SILENCE_S)
        first.cut()
    with resume(version, client_id) as second:
        got = second.gets("1", "2", "3", "4")
        assert all(m.dup for m in got), "DUP is not set"


@test
def session_expires():
    leave_session("v5", "expires-0", "expires/0", expiry_s=0)
    leave_session("v5", "expires-1", "expires/1", expiry_s=1)
    leave_session("v5", "expires-60", "expires/60", expiry_s=60)
    time.sleep(3)
    for seconds, lives in ((0, False), (1, False), (60, True)):
        with resume("v5", f"expires-{seconds}") as client:
            assert client.connected[0] == lives, f"Session Present {client.connected[0]} for {seconds} s"


@test
def disconnect_changes_the_session_expiry():
    lasting = connect_properties(SessionExpiryInterval=600)
    with Client("v5", "expiry-changes", connect=lasting) as client:
        client.subscribe("expiry/changes", 1)
        client.leave(SessionExpiryInterval=0)
    with resume("v5", "expiry-changes") as client:
        assert not client.connected[0], "the session outlived its DISCONNECT"


@test
def clean_start_keeps_the_session_for_later():
    """MQTT 5 parts what Clean Session was: this session begins anew and then lasts."""
    for _ in range(2):
        with Client("v5", "clean-start", connect=connect_properties(SessionExpiryInterval=600)) as client:
            assert not client.connected[0]
    with resume("v5", "clean-start") as client:
        assert client.connected[0]


# ---- properties of MQTT 5


@test
def publish_properties_arrive_unchanged_and_in_order():
    users = [("b", "1"), ("a", "2"), ("b", "3"), ("", ""), ("größe", "µ" * 500)]
    with Client() as publisher, Client() as client, Client("v311") as older:
        client.subscribe("properties", 1)
        older.subscribe("properties", 1)
        publisher.publish("properties", "x", 1, UserProperty=users, ContentType="text/tea", ResponseTopic="answer/to",
                          CorrelationData=bytes(range(256)), PayloadFormatIndicator=1, MessageExpiryInterval=100)
        got = client.gets("x")[0].properties
        assert got.UserProperty == users, f"got {got.UserProperty}"
        assert got.ContentType == "text/tea" and got.ResponseTopic == "answer/to", f"got {got}"
        assert got.CorrelationData == bytes(range(256)) and got.PayloadFormatIndicator == 1, f"got {got}"
        assert 98 <= got.MessageExpiryInterval <= 100, f"got {got}"
        older.gets("x")


@test
def no_properties_come_from_nowhere():
    with Client("v311") as older, Client() as newer, Client() as client:
        client.subscribe("nothing/added", 1)
        for publisher in (older, newer):
            publisher.publish("nothing/added", "x", 1)
        for message in client.gets("x", "x"):
            assert message.properties.isEmpty(), f"got {message.properties}"


@test
def message_expiry_counts_down():
    """[MQTT5-3.3.2-5] [MQTT5-3.3.2-6]"""
    leave_session("v5", "counts-down", "counts/down")
    with Client() as publisher:
        publisher.publish("counts/down", "short", 1, MessageExpiryInterval=1)
        publisher.publish("counts/down", "long", 1, MessageExpiryInterval=60)
        publisher.publish("counts/down", "endless", 1)
    time.sleep(2.2)
    with resume("v5", "counts-down") as client:
        got = client.gets("long", "endless")
        left = got[0].properties.MessageExpiryInterval
        assert 55 <= left <= 58, f"Message Expiry Interval {left}"
        assert not hasattr(got[1].properties, "MessageExpiryInterval")


@test
def topic_alias_from_the_client():
    with Client() as publisher, Client() as client:
        client.subscribe("alias/+", 1)
        for topic, payload, alias in (("alias/a", "1", 1), ("", "2", 1), ("alias/b", "3", 2), ("", "4", 1), ("", "5", 2),
                                      ("alias/c", "6", 1), ("", "7", 1)):
            publisher.publish(topic, payload, 1, TopicAlias=alias)
        got = client.gets(*"1234567")
        topics = [m.topic.removeprefix("alias/") for m in got]
        assert topics == list("aababcc"), f"got {topics}"
        assert not any(hasattr(m.properties, "TopicAlias") for m in got), "an alias reached a client that allows none"


@for_each(0, 11)
def topic_alias_out_of_range(alias):
    """[MQTT5-3.3.2-8] [MQTT5-3.3.2-9] with the default Topic Alias Maximum of 10."""
    with Raw(broker.port) as client:
        assert client.connect("v5", f"alias-{alias}") == 0
        client.send(packet(0x30, text("alias/out") + bytes([3, 0x23, 0, alias]) + b"x"))
        packets = client.ends()
        # 0 can also be called malformed or a Protocol Error.
        codes = (0x94,) if alias else (0x94, 0x82, 0x81)
        assert len(packets) == 1 and packets[0][0] == 0xE0 and packets[0][1][0] in codes, f"got {packets}"


@test
def unknown_topic_alias():
    """An alias that was never set: Protocol Error [MQTT5 §3.3.2.3.4]; mosquitto says 0x82, some 0x94."""
    with Raw(broker.port) as client:
        assert client.connect("v5", "alias-unknown") == 0
        client.send(packet(0x30, text("") + bytes([3, 0x23, 0, 5]) + b"x"))
        packets = client.ends()
        assert len(packets) == 1 and packets[0][0] == 0xE0 and packets[0][1][0] in (0x82, 0x94), f"got {packets}"


@test
def topic_alias_to_the_client():
    """Whether aliases are used is the broker's choice, what they mean is not."""
    with Raw(broker.port) as client, Client() as publisher:
        body = text("MQTT") + bytes([5, 0x02, 0, 60, 3, 0x22, 0, 2]) + text("alias-reader")
        client.send(packet(0x10, body))
        assert client.read()[1][1] == 0
        client.send(packet(0x82, b"\0\x01\0" + text("alias-out/+") + b"\0"))
        assert client.read()[0] == 0x90
        sent = [f"alias-out/{letter}" for letter in "abcabcaabbcc"]
        for topic in sent:
            publisher.publish(topic, "x", 1)
        aliases, got = {}, []
        for _ in sent:
            _head, body = client.read()
            size = int.from_bytes(body[:2], "big")
            topic, rest = body[2:2 + size].decode(), body[2 + size:]
            if rest[0] == 3:
                alias = int.from_bytes(rest[2:4], "big")
                assert rest[1] == 0x23 and 1 <= alias <= 2, f"alias {alias} is out of range [MQTT5-3.1.2-26]"
                topic = aliases.setdefault(alias, topic) if not topic else aliases.update({alias: topic}) or topic
            else:
                assert rest[0] == 0, f"unexpected properties {rest}"
            got.append(topic)
        assert got == sent, f"expected {sent}, got {got}"


@for_each(1, 2)
def receive_maximum_is_respected(qos):
    """[MQTT5-3.3.4-9] no more than that many unacknowledged messages at any time."""
    with Client(connect=connect_properties(ReceiveMaximum=3), manual_ack=True) as client, Client() as publisher:
        client.subscribe(f"receive/{qos}", qos)
        sent = [str(number) for number in range(10)]
        for payload in sent:
            publisher.publish(f"receive/{qos}", payload, qos)
        for done in range(10):
            expected = min(done + 3, 10)
            client.until(lambda: len(client.messages) >= expected, f"{expected} messages")
            time.sleep(0.1)
            assert len(client.messages) == expected, f"{len(client.messages)} messages after {done} acknowledgements"
            client.paho.ack(client.messages[done].mid, qos)
        client.gets(*sent)


@for_each("live", "stored", "retained")
def packets_too_big_for_the_client_are_left_out(how):
    """[MQTT5-3.1.2-24] [MQTT5-3.1.2-25] and the rest flows."""
    small_only = connect_properties(MaximumPacketSize=1000, SessionExpiryInterval=600)
    topic, big = f"too-big/{how}", "x" * 2000
    sent = [("before", 0), (big, 0), (big, 1), ("between", 1), (big, 2), ("after", 2)]

    def publish():
        with Client() as publisher:
            for number, (payload, qos) in enumerate(sent):
                publisher.publish(f"{topic}/{number}", payload, max(qos, 1 if how == "stored" else 0), how == "retained")

    if how != "live":
        if how == "stored":
            leave_session("v5", f"too-big-{how}", topic + "/+")
        publish()
    with Client("v5", f"too-big-{how}", clean=how != "stored", connect=small_only) as client:
        if how != "stored":
            client.subscribe(topic + "/+", 2)
        if how == "live":
            publish()
        client.until(lambda: len(client.messages) >= 3, "3 messages")
        time.sleep(SILENCE_S)
        got = sorted(m.payload for m in client.messages)
        assert got == [b"after", b"before", b"between"], f"got {[p[:10] for p in got]}"
        assert client.disconnected is None


@test
def shared_subscription_passes_on_what_one_member_left():
    """A member that leaves hands its share to the others, at the latest when its session ends."""
    with Client() as publisher, Client() as stays:
        with Client() as leaves:
            for member in (leaves, stays):
                member.subscribe("$share/pair/leaving", 1)
        for number in range(10):
            publisher.publish("leaving", str(number), 1)
        stays.gets(*map(str, range(10)))


main(broker)

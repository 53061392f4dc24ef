#!/usr/bin/env python3
"""The broker as users of mosquitto_pub, mosquitto_sub and mosquitto_rr see it.

These three commands are what people reach for first, and scripts on boards are made of
them. Every test starts them as a shell would and looks only at what they print and at
their exit codes. Needs Debian's package mosquitto-clients (2.0.11 or later).

    [BROKER=mosquitto] tests/clients/mosquitto_clients.py [PART-OF-A-TEST-NAME...]
"""

import contextlib
import hashlib
import os
import pathlib
import random
import re
import subprocess
import tempfile
import threading
import time

from broker import Broker, HOST, accepts, end_with_parent
from suite import for_each, main, test

VERSIONS = ("mqttv31", "mqttv311", "mqttv5")
QOS = (0, 1, 2)
PATIENCE_S = 10  # for what must happen
SILENCE_S = 0.3  # for what must not
BIG_BYTES = 1_900_000

broker = Broker("mosquitto_clients")


# ---- the three commands


def at_broker(*arguments, host=HOST, version=None):
    chosen = ["-V", version] if version else []
    return ["-h", host, "-p", str(broker.port), *chosen, *map(str, arguments)]


def finished(command, timeout_s=PATIENCE_S, text=None):
    """Runs a command to its end; gives its exit code and what it printed."""
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=timeout_s, text=True,
                          **({} if text is not None else {"stdin": subprocess.DEVNULL}))
    return done.returncode, done.stdout


def pub(topic, *arguments, **options):
    """mosquitto_pub, which must end well."""
    text = options.pop("text", None)
    command = ["mosquitto_pub", *at_broker("-t", topic, *arguments, **options)]
    code, printed = finished(command, text=text)
    assert code == 0 and not printed, f"{' '.join(command)} ended with {code}: {printed}"


class Sub:
    """A running mosquitto_sub. `with` waits until the broker has granted the subscriptions
    and in the end kills what still runs."""

    def __init__(self, *arguments, format="%p", **options):
        # -d tells when the SUBACK is here; the prefix tells messages from its chatter, which
        # only stdbuf brings out of the pipe line by line.
        command = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-F", "MESSAGE " + format, *at_broker(*arguments, **options)]
        self.messages = []
        self.chatter = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace",
                                        preexec_fn=end_with_parent)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            with self.news:
                if line.startswith("MESSAGE "):
                    self.messages.append(line.removeprefix("MESSAGE "))
                else:
                    self.chatter.append(line)
                self.news.notify_all()

    def __enter__(self):
        try:
            self._until(lambda: any(line.startswith("Subscribed") for line in self.chatter), "SUBACK")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_):
        self.kill()

    def _until(self, condition, what):
        with self.news:
            done = self.news.wait_for(condition, PATIENCE_S)
        assert done, f"no {what} within {PATIENCE_S} s; got {self.messages[:20]}, said {self.chatter[-10:]}"

    def gets(self, *expected):
        """Exactly these messages, in this order, and then silence."""
        self._until(lambda: len(self.messages) >= len(expected), f"{len(expected)} messages")
        time.sleep(SILENCE_S)
        assert self.messages == list(expected), f"expected {list(expected)}, got {self.messages}"

    def gets_nothing(self):
        self.gets()

    def take(self, count):
        """The first `count` messages, however many follow."""
        self._until(lambda: len(self.messages) >= count, f"{count} messages")
        return self.messages[:count]

    def ends(self):
        """Waits until the command ends by itself; gives its exit code."""
        code = self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)
        return code

    def kill(self):
        """kill -9: the broker sees the connection break without a DISCONNECT."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE_S)

    def leave(self):
        """Ends the command as Ctrl-C does, which sends a DISCONNECT."""
        self.process.terminate()
        assert self.ends() == 0, f"mosquitto_sub did not leave cleanly: {self.chatter[-5:]}"


def collected(*arguments, format="%p", seconds=1, **options):
    """What a mosquitto_sub prints that listens for `seconds`, for instance retained messages."""
    command = ["mosquitto_sub", "-W", str(seconds), "-F", format, *at_broker(*arguments, **options)]
    _code, printed = finished(command)
    return [line for line in printed.splitlines() if line != "Timed out"]


def stored_session(client_id, filter, *arguments, qos=1, version=None):
    """Makes a durable session with one subscription and leaves it behind."""
    code, printed = finished(["mosquitto_sub", "-E", "-c", "-i", client_id, "-q", str(qos),
                              *at_broker("-t", filter, *arguments, version=version)])
    assert code == 0, f"mosquitto_sub -E ended with {code}: {printed}"


# ---- the proof of concept: two commands and a broker without any configuration


def hello_devices(pub_port=(), sub_port=()):
    """The two commands exactly as a user types them."""
    sub = subprocess.Popen(["mosquitto_sub", "-u", "pie", "-h", "127.0.0.1", "-t", "test", *sub_port],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        printed = []
        reader = threading.Thread(target=lambda: printed.append(sub.stdout.readline()), daemon=True)
        reader.start()
        # Without -d the command does not say when it is subscribed, so this sends until it
        # prints: once in practice, and a message too early goes nowhere.
        give_up = time.monotonic() + PATIENCE_S
        while reader.is_alive():
            assert time.monotonic() < give_up, "mosquitto_sub printed nothing"
            reader.join(0.4)
            if reader.is_alive():
                code, said = finished(["mosquitto_pub", "-t", "test", "-h", "127.0.0.1", "-m", "hello devices", *pub_port])
                assert code == 0 and not said, f"mosquitto_pub ended with {code}: {said}"
            reader.join(0.4)
        assert printed == ["hello devices\n"], f"mosquitto_sub printed {printed}"
    finally:
        sub.kill()
        sub.wait()


@test
def hello_devices_without_any_argument():
    """A broker started by its bare name listens on port 1883, as mosquitto does."""
    assert not accepts(1883), "port 1883 is taken by another program; stop it to run this test"
    with Broker("mosquitto_clients_1883", port=1883, arguments=[]) as bare:
        hello_devices()
        bare.must_be_alive()


@test
def hello_devices_with_a_port():
    port = ("-p", str(broker.port))
    hello_devices(port, port)


@test
def sigterm_ends_the_broker_with_code_0():
    with Broker("mosquitto_clients_sigterm") as second:
        code = second.stop()
    assert code == 0, f"exit code {code} after SIGTERM"


@test
def second_broker_on_a_taken_port_fails_and_says_so():
    with contextlib.ExitStack() as stack:
        second = Broker("mosquitto_clients_taken", port=broker.port)
        stack.callback(second.stop)
        with contextlib.suppress(RuntimeError), open(os.devnull, "w") as quiet, contextlib.redirect_stderr(quiet):
            second.start()
        time.sleep(SILENCE_S)
        log = second.log_path.read_text()
        assert second.process is None or second.process.poll() not in (None, 0), "it runs on without a port"
        assert "in use" in log.lower(), f"the log does not name the cause: {log}"


# ---- qualities of service and versions


@for_each(*[f"{version}-qos{qos}" for version in VERSIONS for qos in QOS])
def every_qos_reaches_every_version(publisher):
    """One publisher to nine subscribers: three versions times three granted qualities."""
    version, qos = publisher.split("-qos")
    topic = f"matrix/{publisher}"
    with contextlib.ExitStack() as stack:
        subs = [(q, stack.enter_context(Sub("-t", topic, "-q", q, version=v, format="%q %t %p")))
                for v in VERSIONS for q in QOS]
        pub(topic, "-m", "tea", "-q", qos, version=version)
        for granted, sub in subs:
            sub.take(1)
        time.sleep(SILENCE_S)
        for granted, sub in subs:
            # [MQTT-3.8.4-6] the lower of the two qualities.
            expected = [f"{min(granted, int(qos))} {topic} tea"]
            assert sub.messages == expected, f"expected {expected}, got {sub.messages}"


@for_each(*QOS)
def lines_keep_their_order(qos):
    """mosquitto_pub -l sends one message per line of its input."""
    lines = [f"line {number}" for number in range(200)]
    with Sub("-t", f"order/{qos}", "-q", qos) as sub:
        pub(f"order/{qos}", "-q", qos, "-l", text="\n".join(lines) + "\n")
        sub.gets(*lines)


@test
def file_and_null_and_stdin_payloads():
    with Sub("-t", "payload/#", format="%t %l %p") as sub, tempfile.TemporaryDirectory() as directory:
        text = pathlib.Path(directory) / "text"
        text.write_text("from a file")
        pub("payload/file", "-f", text)
        pub("payload/none", "-n")
        pub("payload/stdin", "-s", text="from standard input")
        sub.gets("payload/file 11 from a file", "payload/none 0 ", "payload/stdin 19 from standard input")


@for_each("mqttv311-qos0", "mqttv311-qos1", "mqttv311-qos2", "mqttv5-qos0", "mqttv5-qos1", "mqttv5-qos2")
def big_payload_arrives_unharmed(how):
    """Below the default max_packet_size of 2,000,000 bytes."""
    version, qos = how.split("-qos")
    topic = f"big/{how}"
    content = random.Random(how).randbytes(BIG_BYTES)
    with tempfile.TemporaryDirectory() as directory:
        sent, got = pathlib.Path(directory) / "sent", pathlib.Path(directory) / "got"
        sent.write_bytes(content)
        with open(got, "wb") as output:
            sub = subprocess.Popen(["mosquitto_sub", "-N", "-C", "1", "-W", "20", "-q", qos,
                                    *at_broker("-t", topic, "-t", topic + "/ready", version=version)],
                                   stdin=subprocess.DEVNULL, stdout=output)
        try:
            time.sleep(0.5)  # -d would mix its lines into the bytes
            pub(topic, "-f", sent, "-q", qos, version=version)
            assert sub.wait(20) == 0, "mosquitto_sub got no message"
        finally:
            sub.kill()
            sub.wait()
        expected, actual = (hashlib.sha256(data).hexdigest() for data in (content, got.read_bytes()))
        assert expected == actual, f"sent {len(content)} bytes, {got.stat().st_size} arrived, sha256 differs"


@test
def ipv6_loopback():
    with Sub("-t", "six", host="::1") as sub:
        pub("six", "-m", "to ::1", host="::1")
        pub("six", "-m", "to 127.0.0.1")
        sub.gets("to ::1", "to 127.0.0.1")


@test
def localhost_by_name():
    with Sub("-t", "name", host="localhost") as sub:
        pub("name", "-m", "hello", host="localhost")
        sub.gets("hello")


# ---- topics


@test
def plus_matches_one_level():
    with Sub("-t", "plus/+/x", format="%t") as sub:
        for topic in ("plus/a/x", "plus/a/b/x", "plus/x", "plus//x", "plus/a/y", "plus/b/x"):
            pub(topic, "-m", "1")
        # [MQTT-4.7.1-3] a level may be empty.
        sub.gets("plus/a/x", "plus//x", "plus/b/x")


@test
def hash_matches_the_parent_and_all_below():
    with Sub("-t", "hash/a/#", format="%t") as sub:
        for topic in ("hash", "hash/a", "hash/a/b", "hash/a/b/c", "hash/ab", "hash/a/"):
            pub(topic, "-m", "1")
        sub.gets("hash/a", "hash/a/b", "hash/a/b/c", "hash/a/")


@test
def wildcards_leave_dollar_topics_out():
    """[MQTT-4.7.2-1]; $SYS and its kind are for those who ask for them by name."""
    with Sub("-t", "#", "-t", "+/x", format="%t") as all_topics, Sub("-t", "$other/#", format="%t") as dollar:
        pub("$other/x", "-m", "1")
        pub("plain/x", "-m", "1")
        dollar.gets("$other/x")
        topics = [topic for topic in all_topics.messages if topic.startswith("$")]
        assert "plain/x" in all_topics.messages and not topics, f"got {all_topics.messages}"


@test
def leading_slash_case_spaces_and_utf8():
    with Sub("-t", "/Ort/Größe µ", "-t", "ort/größe µ", format="%t") as sub:
        for topic in ("/Ort/Größe µ", "/ort/Größe µ", "Ort/Größe µ", "ort/größe µ"):
            pub(topic, "-m", "1")
        sub.gets("/Ort/Größe µ", "ort/größe µ")


@test
def unsubscribed_filter_gets_nothing():
    stored_session("unsubscriber", "unsub/a")
    with Sub("-c", "-i", "unsubscriber", "-t", "unsub/b", "-U", "unsub/a", "-q", "1") as sub:
        sub._until(lambda: any("received UNSUBACK" in line for line in sub.chatter), "UNSUBACK")
        pub("unsub/a", "-m", "no", "-q", "1")
        pub("unsub/b", "-m", "yes", "-q", "1")
        sub.gets("yes")
    Sub("-i", "unsubscriber", "-t", "x").kill()


# ---- how many to how many


@test
def one_to_many():
    with contextlib.ExitStack() as stack:
        subs = [stack.enter_context(Sub("-t", "one/to/many", "-q", "1")) for _ in range(20)]
        pub("one/to/many", "-m", "all of you", "-q", "1")
        for sub in subs:
            sub.take(1)
        time.sleep(SILENCE_S)
        for sub in subs:
            assert sub.messages == ["all of you"], f"got {sub.messages}"


@test
def many_to_one():
    with Sub("-t", "many/+", "-q", "2") as sub:
        lines = {sender: [f"{sender}-{n}" for n in range(20)] for sender in range(10)}
        pubs = [subprocess.Popen(["mosquitto_pub", "-l", "-q", str(sender % 3), *at_broker("-t", f"many/{sender}")],
                                 stdin=subprocess.PIPE, text=True) for sender in lines]
        for process, sender in zip(pubs, lines):
            process.stdin.write("\n".join(lines[sender]) + "\n")
            process.stdin.close()
        for process in pubs:
            assert process.wait(PATIENCE_S) == 0, "mosquitto_pub failed"
        sub.take(200)
        time.sleep(SILENCE_S)
        for sender, sent in lines.items():
            got = [line for line in sub.messages if line.startswith(f"{sender}-")]
            assert got == sent, f"of sender {sender} expected {sent}, got {got}"


@for_each("mqttv311", "mqttv5")
def shared_subscription_gives_each_message_once(version):
    topic = f"shared/{version}"
    sent = [str(number) for number in range(60)]
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(Sub("-t", f"$share/crew/{topic}", "-q", "1", version=version)) for _ in range(3)]
        outsider = stack.enter_context(Sub("-t", topic, "-q", "1", version=version))
        other = stack.enter_context(Sub("-t", f"$share/others/{topic}", "-q", "1", version=version))
        pub(topic, "-q", "1", "-l", text="\n".join(sent) + "\n", version=version)
        outsider.gets(*sent)
        other.gets(*sent)
        got = sorted((m for member in members for m in member.messages), key=int)
        assert got == sent, f"together the members got {got}"
        shares = [len(member.messages) for member in members]
        assert min(shares) > 0, f"one member got nothing: {shares}"


@test
def shared_member_that_leaves_is_passed_over():
    with Sub("-t", "$share/pair/leaving", "-q", "1") as stays, Sub("-t", "$share/pair/leaving", "-q", "1") as leaves:
        leaves.leave()
        sent = [str(number) for number in range(10)]
        pub("leaving", "-q", "1", "-l", text="\n".join(sent) + "\n")
        stays.gets(*sent)


# ---- retained messages


@for_each(*VERSIONS)
def retained_is_set_replaced_and_cleared(version):
    topic = f"retained/{version}"
    with Sub("-t", topic, format="%r %p", version=version) as live:
        pub(topic, "-m", "first", "-r", version=version)
        assert collected("-t", topic, "-C", 1, format="%r %p", version=version) == ["1 first"]
        pub(topic, "-m", "second", "-r", "-q", "1", version=version)
        pub(topic, "-m", "passing", version=version)
        assert collected("-t", topic, "-C", 1, format="%r %p", version=version) == ["1 second"]
        pub(topic, "-r", "-n", version=version)
        assert collected("-t", topic, version=version) == []
        # [MQTT-3.3.1-9] on an established subscription the RETAIN flag is 0.
        live.gets("0 first", "0 second", "0 passing", "0 ")


@test
def retained_comes_with_the_lower_qos():
    for qos in QOS:
        pub(f"retained/qos/{qos}", "-m", "kept", "-r", "-q", qos)
    for granted in QOS:
        got = sorted(collected("-t", "retained/qos/+", "-q", granted, "-C", 3, format="%t %q"))
        expected = [f"retained/qos/{qos} {min(qos, granted)}" for qos in QOS]
        assert got == expected, f"subscribed with QoS {granted}: expected {expected}, got {got}"


@test
def retained_by_wildcards():
    for topic in ("a", "a/b", "a/b/c", "d/b"):
        pub(f"retained/wild/{topic}", "-m", topic, "-r")
    for filter, expected in {"#": ["a", "a/b", "a/b/c", "d/b"], "+": ["a"], "+/b": ["a/b", "d/b"],
                             "a/#": ["a", "a/b", "a/b/c"], "a/+/+": ["a/b/c"]}.items():
        got = sorted(collected("-t", f"retained/wild/{filter}", "-C", len(expected)))
        assert got == expected, f"{filter}: expected {expected}, got {got}"


@test
def retained_only_and_no_retained():
    pub("retained/only", "-m", "old", "-r")
    with Sub("-t", "retained/only", "--retained-only", format="%r %p") as only, \
            Sub("-t", "retained/only", "-R", format="%r %p") as fresh:
        only.take(1)
        pub("retained/only", "-m", "new")
        assert only.ends() == 0  # it leaves at the first message that is not retained
        assert only.messages == ["1 old"], f"--retained-only printed {only.messages}"
        fresh.gets("0 new")


@test
def remove_retained():
    for topic in ("keep", "drop/1", "drop/2"):
        pub(f"retained/remove/{topic}", "-m", topic, "-r")
    printed = collected("-t", "retained/remove/#", "-T", "retained/remove/keep", "--remove-retained")
    removed = sorted(line for line in printed if line)  # it also hears its own empty messages
    assert removed == ["drop/1", "drop/2"], f"--remove-retained printed {removed}"
    left = collected("-t", "retained/remove/#")
    assert left == ["keep"], f"left over: {left}"


# ---- wills


def will(topic, *arguments):
    return ["--will-topic", topic, "--will-payload", "gone", *arguments, "-t", "will/unused"]


@for_each(*[f"{version}-qos{qos}" for version in VERSIONS for qos in QOS])
def will_is_sent_when_the_client_is_killed(how):
    version, qos = how.split("-qos")
    with Sub("-t", f"will/kill/{how}", "-q", "2", format="%q %r %p", version=version) as watcher:
        with Sub(*will(f"will/kill/{how}", "--will-qos", qos), version=version) as victim:
            victim.kill()
        watcher.gets(f"{qos} 0 gone")


@for_each(*VERSIONS)
def no_will_after_a_clean_exit(version):
    topic = f"will/clean/{version}"
    with Sub("-t", topic, version=version) as watcher:
        with Sub("-C", 1, *will(topic), "-t", topic + "/leave", version=version) as leaver:
            pub(topic + "/leave", "-m", "now")
            assert leaver.ends() == 0, f"mosquitto_sub did not leave cleanly: {leaver.chatter[-5:]}"
        watcher.gets_nothing()


@for_each(*VERSIONS)
def will_of_a_client_stopped_by_ctrl_c(version):
    """mosquitto_sub says DISCONNECT then: with MQTT 5 it asks for its Will (0x04), before it cannot."""
    with Sub("-t", f"will/stopped/{version}", version=version) as watcher:
        with Sub(*will(f"will/stopped/{version}"), version=version) as leaver:
            leaver.leave()
        watcher.gets(*(["gone"] if version == "mqttv5" else []))


@for_each(*VERSIONS)
def retained_will_stays(version):
    topic = f"will/retained/{version}"
    with Sub("-t", topic, format="%r %p", version=version) as watcher:
        with Sub(*will(topic, "--will-retain"), version=version) as victim:
            victim.kill()
        watcher.gets("0 gone")
    assert collected("-t", topic, "-C", 1, format="%r %p", version=version) == ["1 gone"]
    pub(topic, "-r", "-n")


@test
def will_is_sent_when_the_client_id_is_taken_over():
    with Sub("-t", "will/takeover") as watcher:
        with Sub(*will("will/takeover"), "-i", "twin") as first:
            # mosquitto_sub reconnects by itself, so the twin is short.
            finished(["mosquitto_sub", "-E", "-i", "twin", *at_broker("-t", "x")])
            first.kill()
        assert watcher.take(1) == ["gone"], f"got {watcher.messages}"


# ---- sessions that outlive the connection


@for_each(*VERSIONS)
def durable_session_keeps_messages(version):
    client, topic = f"durable-{version}", f"durable/{version}"
    stored_session(client, topic, qos=2, version=version)
    pub(topic, "-q", "0", "-m", "zero", version=version)
    pub(topic, "-q", "1", "-m", "one", version=version)
    pub(topic, "-q", "2", "-m", "two", version=version)
    pub("durable/other", "-q", "1", "-m", "not mine", version=version)
    with Sub("-c", "-i", client, "-q", "2", "-t", topic, format="%q %p", version=version) as sub:
        sub.take(2)
        time.sleep(SILENCE_S)
        kept = [message for message in sub.messages if message != "0 zero"]  # QoS 0 may be kept or not
        assert kept == ["1 one", "2 two"], f"got {sub.messages}"
        sub.leave()
    with Sub("-c", "-i", client, "-q", "2", "-t", topic, version=version) as sub:
        sub.gets_nothing()
        sub.leave()
    # Connecting without -c ends the session for good.
    pub(topic, "-q", "1", "-m", "three", version=version)
    with Sub("-i", client, "-q", "2", "-t", topic, version=version) as sub:
        sub.gets_nothing()


@test
def killed_durable_client_loses_nothing():
    with Sub("-c", "-i", "killed-durable", "-q", "1", "-t", "durable/killed") as sub:
        pub("durable/killed", "-q", "1", "-m", "before")
        sub.gets("before")
        sub.kill()
    pub("durable/killed", "-q", "1", "-l", text="".join(f"{n}\n" for n in range(100)))
    with Sub("-c", "-i", "killed-durable", "-q", "1", "-t", "durable/killed") as sub:
        sub.gets(*map(str, range(100)))
        sub.leave()
    Sub("-i", "killed-durable", "-t", "x").kill()


@test
def session_expires_after_its_interval():
    """-x is the Session Expiry Interval of MQTT 5 in seconds."""
    for client, seconds in (("expires", 1), ("expires-not", 60)):
        stored_session(client, f"expiry/{client}", "-x", seconds, version="mqttv5")
        pub(f"expiry/{client}", "-q", "1", "-m", "kept")
    time.sleep(3)
    for client, expected in (("expires", []), ("expires-not", ["kept"])):
        with Sub("-c", "-x", "60", "-i", client, "-q", "1", "-t", f"expiry/{client}", version="mqttv5") as sub:
            sub.gets(*expected)
            sub.leave()
        Sub("-i", client, "-t", "x").kill()


# ---- MQTT 5


def property(command, *identifier_and_value):
    return ["-D", command, *identifier_and_value]


ALL_PUBLISH_PROPERTIES = [
    *property("PUBLISH", "user-property", "colour", "red"),
    *property("PUBLISH", "user-property", "colour", "blue"),
    *property("PUBLISH", "user-property", "Größe", "µ"),
    *property("PUBLISH", "content-type", "text/tea"),
    *property("PUBLISH", "response-topic", "answer/here"),
    *property("PUBLISH", "correlation-data", "4711"),
    *property("PUBLISH", "message-expiry-interval", "60"),
    *property("PUBLISH", "payload-format-indicator", "1"),
]
ALL_AS_PRINTED = "%p|%C|%R|%D|%F|%P"
ALL_PRINTED = "tea|text/tea|answer/here|4711|1|colour:red colour:blue Größe:µ"


@for_each("live", "retained", "stored")
def publish_properties_are_passed_on(how):
    topic = f"properties/{how}"
    if how == "stored":
        stored_session("properties", topic, "-x", "60", version="mqttv5")
        pub(topic, "-q", "1", "-m", "tea", *ALL_PUBLISH_PROPERTIES, version="mqttv5")
        sub = Sub("-c", "-i", "properties", "-q", "1", "-t", topic, format=ALL_AS_PRINTED + "|%E", version="mqttv5")
    elif how == "retained":
        pub(topic, "-r", "-m", "tea", *ALL_PUBLISH_PROPERTIES, version="mqttv5")
        sub = Sub("-t", topic, format=ALL_AS_PRINTED + "|%E", version="mqttv5")
    else:
        sub = Sub("-t", topic, format=ALL_AS_PRINTED + "|%E", version="mqttv5")
    with sub:
        if how == "live":
            pub(topic, "-m", "tea", *ALL_PUBLISH_PROPERTIES, version="mqttv5")
        message, expiry = sub.take(1)[0].rsplit("|", 1)
        assert message == ALL_PRINTED, f"expected {ALL_PRINTED}, got {message}"
        # [MQTT5-3.3.2-6] what is left of it.
        assert 55 <= int(expiry) <= 60, f"Message Expiry Interval {expiry}"
    pub(topic, "-r", "-n")


@test
def publish_properties_stay_away_from_older_clients():
    with Sub("-t", "properties/older", version="mqttv311") as sub:
        pub("properties/older", "-m", "tea", *ALL_PUBLISH_PROPERTIES, version="mqttv5")
        sub.gets("tea")


@test
def message_expires_while_it_waits():
    stored_session("message-expiry", "message/expiry", "-x", "60", version="mqttv5")
    short, long = (property("PUBLISH", "message-expiry-interval", seconds) for seconds in ("1", "60"))
    pub("message/expiry", "-q", "1", "-m", "short", *short, version="mqttv5")
    pub("message/expiry", "-q", "1", "-m", "long", *long, version="mqttv5")
    pub("message/expiry/kept", "-r", "-m", "short", *short, version="mqttv5")
    time.sleep(2.5)
    with Sub("-c", "-i", "message-expiry", "-q", "1", "-t", "message/expiry", format="%p %E", version="mqttv5") as sub:
        first = sub.take(1)[0]
        name, left = first.split()
        assert name == "long" and 50 <= int(left) <= 58, f"got {first}"
        time.sleep(SILENCE_S)
        assert len(sub.messages) == 1, f"got {sub.messages}"
    assert collected("-t", "message/expiry/kept", version="mqttv5") == []


@test
def connect_properties_are_accepted():
    arguments = [  # no topic-alias-maximum: mosquitto_sub can ask for aliases but not read them
        *property("CONNECT", "receive-maximum", "3"),
        *property("CONNECT", "maximum-packet-size", "300"),
        *property("CONNECT", "request-problem-information", "1"),
        *property("CONNECT", "user-property", "who", "me"),
        *property("CONNECT", "session-expiry-interval", "0"),
        *property("SUBSCRIBE", "subscription-identifier", "7"),
        *property("SUBSCRIBE", "user-property", "why", "tea"),
    ]
    with Sub("-t", "connect/properties", "-q", "1", *arguments, format="%S %p", version="mqttv5") as sub:
        pub("connect/properties", "-q", "1", "-m", "x" * 1000, version="mqttv5")
        pub("connect/properties", "-q", "1", "-l", text="".join(f"{n}\n" for n in range(20)), version="mqttv5")
        # [MQTT5-3.1.2-25] the big one is left out, the rest arrives as if it had been sent.
        sub.gets(*[f"7 {n}" for n in range(20)])


@test
def will_properties_are_passed_on():
    arguments = [
        *property("WILL", "user-property", "cause", "power"),
        *property("WILL", "content-type", "text/plain"),
        *property("WILL", "response-topic", "answer"),
        *property("WILL", "correlation-data", "1"),
        *property("WILL", "payload-format-indicator", "1"),
        *property("WILL", "message-expiry-interval", "30"),
    ]
    with Sub("-t", "will/properties", format="%p|%C|%R|%D|%F|%P", version="mqttv5") as watcher:
        with Sub(*will("will/properties"), *arguments, version="mqttv5") as victim:
            victim.kill()
        watcher.gets("gone|text/plain|answer|1|1|cause:power")


@test
def will_waits_for_its_delay():
    """[MQTT5-3.1.3-9]"""
    delayed = ["-x", "60", *property("WILL", "will-delay-interval", "2")]
    with Sub("-t", "will/delay/+", format="%t %p", version="mqttv5") as watcher:
        with Sub(*will("will/delay/1"), "-c", "-i", "delayed", *delayed, version="mqttv5") as victim:
            killed = time.monotonic()
            victim.kill()
        assert watcher.take(1) == ["will/delay/1 gone"]
        delay = time.monotonic() - killed
        assert 1.5 <= delay <= 4.5, f"it came after {delay:.1f} s"
        with Sub(*will("will/delay/2"), "-c", "-i", "delayed", *delayed, version="mqttv5") as victim:
            victim.kill()
        with Sub("-t", "will/unused", "-c", "-i", "delayed", "-x", "60", version="mqttv5") as returned:
            time.sleep(3)
            assert watcher.messages == ["will/delay/1 gone"], f"got {watcher.messages}"
            returned.leave()
    Sub("-i", "delayed", "-t", "x").kill()


@for_each("mqttv311", "mqttv5")
def request_and_response(version):
    """mosquitto_rr asks, a responder built of the other two answers."""
    topic, answer_topic = f"rr/{version}/request", f"rr/{version}/answer"
    with Sub("-t", topic, "-C", "1", format="%p|%R|%D", version=version) as responder:
        extra = property("PUBLISH", "correlation-data", "c-1") if version == "mqttv5" else []
        asker = subprocess.Popen(["mosquitto_rr", "-e", answer_topic, "-m", "how much?", "-W", "8", *extra, "-F", "%p %D",
                                  *at_broker("-t", topic, version=version)],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            question = responder.take(1)[0]
            expected = f"how much?|{answer_topic}|c-1" if version == "mqttv5" else "how much?||"
            assert question == expected, f"expected {expected}, got {question}"
            pub(answer_topic, "-m", "42", *extra, version=version)
            printed, _ = asker.communicate(timeout=PATIENCE_S)
        finally:
            asker.kill()
            asker.wait()
        expected = "42 c-1\n" if version == "mqttv5" else "42 \n"
        assert asker.returncode == 0 and printed == expected, f"mosquitto_rr ended with {asker.returncode}: {printed!r}"


@test
def publisher_hears_of_no_subscriber_or_success():
    """[MQTT5 §3.4.2.1] 0x10 is optional; mosquitto_pub must end well either way."""
    code, printed = finished(["mosquitto_pub", "-d", "-q", "1", "-m", "x",
                              *at_broker("-t", "nobody/listens", version="mqttv5")])
    found = re.search(r"received PUBACK \(Mid: \d+, RC:(\d+)\)", printed)
    assert code == 0 and found, f"ended with {code}: {printed}"
    assert int(found[1]) in (0, 16), f"PUBACK with Reason Code {found[1]}"


main(broker)

"""The matrix: every cell that is measured, as what to ask of the load generator."""

import dataclasses

CPU, LATENCY, MEMORY = "CPU time per delivery", "Latency", "Memory"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the load generator, which fills one row of the table or several."""

    section: str
    scenario: str
    options: str
    # Row by row: its name, and the field of the load generator's answer that fills it.
    rows: dict[str, str]
    # What the relay needs to play this; None: it cannot.
    relay: str | None = None
    unit: str = "µs"
    # Runs for a time, not for a number of messages.
    is_timed: bool = False

    def title(self):
        return ", ".join(self.rows)


def relayed(name, options, relay=None):
    return Cell(CPU, "relay", options, {name: "broker_us_per_delivery"}, relay, is_timed=True)


def latency(name, rate):
    rows = {f"{name}, median": "p50_us", f"{name}, 99 %": "p99_us"}
    return Cell(LATENCY, "latency", f"--preset 1-1 --rate {rate}", rows, "", is_timed=True)


def memory(scenario, options, rows):
    return Cell(MEMORY, scenario, options, rows, unit="bytes")


# With a window of 1 every message is a wake-up of its own, with 100 several come per wake-up.
MATRIX = [
    relayed("one to one, one at a time, QoS 0", "--preset 1-1 --qos 0 --window 1", ""),
    relayed("one to one, one at a time, QoS 1", "--preset 1-1 --qos 1 --window 1"),
    relayed("one to one, pipelined, QoS 0", "--preset 1-1 --qos 0 --window 100", ""),
    relayed("one to one, pipelined, QoS 1", "--preset 1-1 --qos 1 --window 100"),
    # More than 20 unfinished messages, and mosquitto 2.0 loses some.
    relayed("one to one, pipelined, QoS 2", "--preset 1-1 --qos 2 --window 20"),
    relayed("one to one, pipelined, 4 KiB", "--preset 1-1 --qos 0 --window 100 --size 4096", ""),
    relayed("100 to one, QoS 0", "--preset fan-in --publishers 100 --window 100", ""),
    relayed("1,000 to one, one at a time, QoS 1", "--preset fan-in --publishers 1000 --window 1 --qos 1"),
    relayed("one to 100, QoS 0", "--preset fan-out --subscribers 100 --window 100", ""),
    relayed("one to 1,000, QoS 1", "--preset fan-out --subscribers 1000 --window 10 --qos 1"),
    relayed("100 pairs, QoS 0", "--preset pairs --publishers 100 --window 100", "--route topic"),
    relayed("1,000 pairs, one at a time, QoS 1", "--preset pairs --publishers 1000 --window 1 --qos 1"),
    relayed("overlapping wildcards, QoS 0", "--preset wildcard --window 10"),
    Cell(CPU, "retained", "--messages 50k --qos 0",
         {"storing a retained message": "broker_us_per_store",
          "replaying a retained message": "broker_us_per_replay"}),
    Cell(CPU, "queue", "--sessions 100 --messages 1000 --qos 1 --silence 1",
         {"queueing, QoS 1": "broker_us_per_queued", "draining, QoS 1": "broker_us_per_drained"}),
    Cell(CPU, "connect-storm", "", {"connecting and leaving": "broker_us_per_connect"}, is_timed=True),
    latency("1,000 messages a second", 1000),
    latency("20,000 messages a second", 20000),
    memory("idle", "--clients 10k --hold 0", {"idle connection": "bytes_per_connection"}),
    memory("retained", "--messages 50k --size 64", {"retained message of 64 bytes": "bytes_per_message"}),
    memory("queue", "--sessions 100 --messages 1000 --size 64 --silence 1",
           {"queued QoS 1 message of 64 bytes": "bytes_per_message"}),
]

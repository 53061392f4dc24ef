"""Registers, runs and reports the tests of one client program.

Apart from the tests so that every suite prints the same lines, which tests/run counts:
`ok NAME`, or `FAILED NAME: why`. It knows no MQTT and starts no broker.

    from suite import test, for_each, main

    @test
    def retained_is_cleared(): ...

    @for_each("v311", "v5")
    def will_is_sent(version): ...        # two tests: will_is_sent[v311], will_is_sent[v5]

    main(broker)                           # arguments: parts of names; only matching tests run
"""

import contextlib
import signal
import sys
import time
import traceback

_tests = []


def test(function):
    """Registers `function` as one test, named as it is."""
    _tests.append((function.__name__, function))
    return function


def for_each(*values):
    """Registers the function once per value, with that value as its argument."""

    def register(function):
        for value in values:
            _tests.append((f"{function.__name__}[{value}]", lambda value=value: function(value)))
        return function

    return register


class TookTooLong(Exception):
    """One test used up the time that `main` gives it."""


@contextlib.contextmanager
def _time_limit(seconds):
    def expired(_number, _frame):
        raise TookTooLong(f"not done after {seconds} s")

    signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _why(error):
    """One line that names the error and the line of the suite where it came up."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == sys.argv[0]]
    where = f" (line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split()) or "no message"
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return f"{kind}{text[:2000]}{where}"


def main(broker, test_time_s=60):
    """Runs the registered tests one after another against `broker`, then ends the process.

    The exit code is 0 when every test passed and the broker lived to the end. After a
    failure the last lines of the broker's log go to standard error.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = [(n, f) for n, f in _tests if not sys.argv[1:] or any(a in n for a in sys.argv[1:])]
    failed = 0
    with broker:
        for name, function in wanted:
            started = time.monotonic()
            try:
                with _time_limit(test_time_s):
                    function()
                    broker.must_be_alive()
                print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception as error:  # one broken test must not hide the others
                failed += 1
                print(f"FAILED {name}: {_why(error)}", flush=True)
                broker.revive()
        if failed:
            broker.show_log()
    if not wanted:
        print("FAILED no test has such a name")
    sys.exit(1 if failed or not wanted else 0)

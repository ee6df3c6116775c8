"""Starting a cluster: Ctrl-C waits until what was started can be undone."""

import signal
from collections.abc import Iterator
from threading import Thread

import pytest

from i2r.cluster.startup import hold_interrupt


@pytest.fixture(autouse=True)
def usual_ctrl_c() -> Iterator[None]:
    """Python's own handler; libraries that other tests import put theirs in its place."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_held_until_the_end() -> None:
    before, reached = signal.getsignal(signal.SIGINT), []

    def press_and_go_on() -> None:
        press()
        reached.append("the end")

    with pytest.raises(KeyboardInterrupt), hold_interrupt():
        press_and_go_on()
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_is_not_held() -> None:
    reached = []

    def press_twice() -> None:
        for which in ("first", "second"):
            press()
            reached.append(which)

    with pytest.raises(KeyboardInterrupt), hold_interrupt():
        press_twice()
    assert reached == ["first"]


def test_workers_that_the_same_signal_ended_are_no_error() -> None:
    def press_and_fail() -> None:
        press()
        raise RuntimeError("Nanny failed to start worker process")

    with pytest.raises(KeyboardInterrupt), hold_interrupt():
        press_and_fail()
    with pytest.raises(RuntimeError, match="another reason"), hold_interrupt():
        raise RuntimeError("another reason")


def test_nothing_is_held_in_another_thread() -> None:
    entered = []

    def work() -> None:
        with hold_interrupt():
            entered.append(signal.getsignal(signal.SIGINT))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGINT)]

"""A unary method of a `grpc.Server`, answered in the thread that received the request.

grpc's own way hands a request from thread to thread: from the one that polls to a worker, back for
the message, to the worker again. Each costs a wake-up, and for a call of half a millisecond they
cost more than the call. Here the method has a completion queue of its own, and the thread that
takes an event from it carries it on. Threads receive in turns, for each that waits at the queue is
woken by what another one takes from it. All other methods of the server stay with grpc.
docs/adr/0003-predict-without-a-change-of-thread.md has what was measured and what it costs.
"""

import threading
import time
from collections.abc import Callable

import grpc
from absl import logging
from grpc._cython import cygrpc

from serving.lone_calls import LoneCalls

_NO_FLAGS = 0
_AT_ONCE = 0.0  # A deadline that has passed.
# Calls asked for in advance. While none is received as many wait in the queue, and are answered
# before a stop; any more wait in the core, which then cancels them.
_REQUESTED = 256
_CODES = {code: code.value[0] for code in grpc.StatusCode}


class UnaryCall:
    """One call of the method.

    Attributes:
        is_wanted: whether its client still waits and its deadline has not passed.
    """

    __slots__ = ("_call", "_method", "is_wanted")

    def __init__(self, method: "UnaryMethod", call: cygrpc.Call) -> None:
        """Begins to watch for the client's leave."""
        self._method = method
        self._call = call
        self.is_wanted = True
        # Operations hold memory of their own call: each is made anew.
        self._start(self._on_closed, cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS))

    def receive(self) -> None:
        """Asks for the message."""
        self._start(self._on_message, cygrpc.ReceiveMessageOperation(_NO_FLAGS))

    def answer(self, response: bytes) -> None:
        """Sends the response; the call ends with it."""
        self._finish(grpc.StatusCode.OK, "", cygrpc.SendMessageOperation(response, _NO_FLAGS))

    def refuse(self, code: grpc.StatusCode, text: str) -> None:
        """Ends the call with a status."""
        self._finish(code, text)

    def _finish(self, code: grpc.StatusCode, text: str, *operations: cygrpc.Operation) -> None:
        # First: a client that has its answer may ask again at once, within the limit.
        self._method.on_finished()
        self._start(
            _on_sent,
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            *operations,
            cygrpc.SendStatusFromServerOperation(
                None, _CODES[code], text.encode("utf-8", "replace"), _NO_FLAGS
            ),
        )

    def _start(
        self, tag: Callable[[cygrpc.BatchOperationEvent], None], *operations: cygrpc.Operation
    ) -> None:
        """Begins operations; a thread of the method calls `tag` when they are complete."""
        self._call.start_server_batch(operations, tag)

    def _on_message(self, event: cygrpc.BatchOperationEvent) -> None:
        (operation,) = event.batch_operations
        message = operation.message()
        if message is None:
            # Either the client sent none, or it is larger than the server takes, which the core
            # has told it.
            text = "the method requires exactly one request message"
            self.refuse(grpc.StatusCode.UNIMPLEMENTED, text)
        else:
            self._method.lone_calls.on_message(len(message))
            self._method.handle(message, self)

    def _on_closed(self, event: cygrpc.BatchOperationEvent) -> None:
        (operation,) = event.batch_operations
        if operation.cancelled():
            self.is_wanted = False


def _on_sent(event: cygrpc.BatchOperationEvent) -> None:
    """The client has it, or has left: either way nothing is left to do."""


class UnaryMethod:
    """The method and the threads that answer it."""

    def __init__(
        self,
        server: grpc.Server,
        name: str,
        handle: Callable[[bytes, UnaryCall], None],
        work: Callable[[], bool],
        has_work: Callable[[], bool],
        *,
        threads: int,
        may_stay: bool,
        max_concurrent: int | None,
    ) -> None:
        """Takes the method; nothing is answered before `start`.

        Args:
            server: not yet started.
            name: of the method, `/package.Service/Method`.
            handle: takes a request and its call, which it answers or refuses, once, at once or
                later, from any thread. It raises nothing.
            work: does a piece of what `handle` left to do, if there is any that no other thread
                does, and says whether it did. It is called when nothing is there to be received,
                so that what came together is worked on together.
            has_work: whether `work` would find something to do.
            threads: that receive requests and work.
            may_stay: whether the thread that receives may work on a call that is alone, and let
                others wait to be received meanwhile, where calls have been alone and short of
                late (`serving.lone_calls`). It spares a lone client a twentieth of its latency.
            max_concurrent: calls that are not answered yet; one more is RESOURCE_EXHAUSTED. None:
                no limit.
        """
        self.handle = handle
        self._work = work
        self._has_work = has_work
        self._may_stay = may_stay
        self._name = name
        self._max_concurrent = max_concurrent
        self._lock = threading.Lock()
        self._active = 0
        self.lone_calls = LoneCalls()
        self._receiving = threading.Lock()
        self._core: cygrpc.Server = server._state.server
        self._queue = cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        self._core.register_method(name)
        self._threads = [
            threading.Thread(target=self._serve, name=f"predict-{i}", daemon=True)
            for i in range(threads)
        ]

    def start(self) -> None:
        """Begins to answer; the server has been started."""
        for _ in range(_REQUESTED):
            self._request_call()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads; the server has been stopped, and with it all calls have ended."""
        self._queue.shutdown()
        for thread in self._threads:
            thread.join()

    def on_finished(self) -> None:
        """Counts a call as answered."""
        with self._lock:
            self._active -= 1

    def _request_call(self) -> None:
        try:
            self._core.request_registered_call(self._queue, self._queue, self._name, self._on_call)
        except ValueError:  # The server is stopping: it takes no more calls.
            return

    def _on_call(self, event: cygrpc.RequestCallEvent) -> None:
        if not event.success:  # The server is stopping.
            return
        with self._lock:
            self._active += 1
            self.lone_calls.on_call(self._active - 1)
            is_full = self._max_concurrent is not None and self._active > self._max_concurrent
        try:
            call = UnaryCall(self, event.call)
            if is_full:
                call.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
            else:
                call.receive()
        finally:
            self._request_call()  # Last: this one's message comes the sooner.

    def _serve(self) -> None:
        while self._receive():
            while self._do_work():
                pass

    def _receive(self) -> bool:
        """Carries on what is received, one thread at a time, until there is work for the others.

        Returns:
            False: nothing will be received any more.
        """
        with self._receiving:
            if self._has_work():
                return True
            is_busy = False
            while True:
                event = self._queue.poll(_AT_ONCE if is_busy else None)
                if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                    return False
                if event.completion_type == cygrpc.CompletionType.queue_timeout:
                    if self._has_work():
                        return True
                    is_busy = False
                    continue
                try:
                    event.tag(event)
                except Exception:  # One call's bug must not end the thread.
                    logging.exception("a call of %s", self._name)
                # The event holds its call, and the core spins while a finished call is held.
                del event
                is_busy = self._active > 1
                if is_busy or not self._has_work():
                    continue
                # Nobody else is here whom it could be worked on together with.
                if not (self._may_stay and self.lone_calls.are_likely):
                    return True
                self._stay()
                # Whoever finds no place relies on those that run to look again.
                if self._has_work():
                    return True

    def _stay(self) -> None:
        begin = time.perf_counter()
        self._do_work()
        self.lone_calls.on_done(time.perf_counter() - begin)

    def _do_work(self) -> bool:
        try:
            return self._work()
        except Exception:
            logging.exception("a call of %s", self._name)
            return True

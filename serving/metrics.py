"""What the server counts, for Prometheus: TF Serving's names and a few of our own.

Source: tensorflow_serving/servables/tensorflow/util.cc (names, labels, buckets),
tensorflow/core/common_runtime/metrics.cc and
tensorflow_serving/util/prometheus_exporter.cc (the spelling: '/' becomes ':').
"""

from collections.abc import Callable
from typing import Any

import grpc
import prometheus_client

from serving.batching import Run
from serving.request_errors import RequestError

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4

_REQUEST_COUNT = ":tensorflow:serving:request_count"
_GRAPH_RUNS = ":tensorflow:core:graph_runs"
_GRAPH_RUN_TIME = ":tensorflow:core:graph_run_time_usecs"
_COUNTERS = (_REQUEST_COUNT, _GRAPH_RUNS, _GRAPH_RUN_TIME)
# From 10 µs by factors of 1.8, as TF Serving's: the last is about 20 minutes.
_LATENCY_BUCKETS_US = tuple(10 * 1.8**i for i in range(33))
_LATENCY_BUCKETS_S = tuple(1e-6 * bucket for bucket in _LATENCY_BUCKETS_US)
_ROWS_BUCKETS = tuple(2**i for i in range(11))


class _Children:
    """A metric's series by label values: to ask the library for one takes longer than to count."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._by_values: dict[tuple[str, ...], Any] = {}

    def __call__(self, *values: str) -> Any:
        child = self._by_values.get(values)
        if child is None:
            child = self._by_values[values] = self._metric.labels(*values)
        return child


class Metrics:
    """The metrics of one server."""

    def __init__(self, model_name: str) -> None:
        """Nothing is counted yet."""
        # Series of creation times double the page and TF Serving has none.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = prometheus_client.CollectorRegistry()
        self._model_name = model_name
        self._counts = _Children(
            prometheus_client.Counter(
                _REQUEST_COUNT,
                "The total number of requests.",
                ("model_name", "status"),
                registry=self._registry,
            )
        )
        self._latencies_us = _Children(
            prometheus_client.Histogram(
                ":tensorflow:serving:request_latency",
                "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
                ("model_name", "API", "entrypoint", "status"),
                buckets=_LATENCY_BUCKETS_US,
                registry=self._registry,
            )
        )
        self._runtime_us = prometheus_client.Histogram(
            ":tensorflow:serving:runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ("model_name", "API", "runtime"),
            buckets=_LATENCY_BUCKETS_US,
            registry=self._registry,
        ).labels(model_name, "Predict", "TF1")  # TF Serving's word for a session.
        self._graph_runs = prometheus_client.Counter(
            _GRAPH_RUNS,
            "The number of graph executions used to collect /tensorflow/core/graph_run_time_usecs",
            registry=self._registry,
        )
        self._graph_run_us = prometheus_client.Counter(
            _GRAPH_RUN_TIME,
            "The total time spent on executing graphs in microseconds.",
            registry=self._registry,
        )
        self._latencies_s = _Children(
            prometheus_client.Histogram(
                "streamrec_predict_latency_seconds",
                "Wall time of a Predict, by signature.",
                ("signature",),
                buckets=_LATENCY_BUCKETS_S,
                registry=self._registry,
            )
        )
        self._rows = _Children(
            prometheus_client.Histogram(
                "streamrec_predict_batch_size",
                "Rows of a Predict, by signature.",
                ("signature",),
                buckets=_ROWS_BUCKETS,
                registry=self._registry,
            )
        )
        self._batch_rows = prometheus_client.Histogram(
            "streamrec_batch_rows",
            "Rows of each run of the graph.",
            buckets=_ROWS_BUCKETS,
            registry=self._registry,
        )
        self._queue_s = prometheus_client.Histogram(
            "streamrec_batch_queue_seconds",
            "How long the first request of a run waited.",
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._queue_length = prometheus_client.Gauge(
            "streamrec_queue_length", "Requests that wait for a run.", registry=self._registry
        )
        self._in_flight = prometheus_client.Gauge(
            "streamrec_requests_in_flight", "Predicts being answered.", registry=self._registry
        )

    def begun(self) -> None:
        """Counts a Predict that was received."""
        self._in_flight.inc()

    def ended(
        self,
        entrypoint: str,
        error: Exception | None,
        *,
        signature: str,
        rows: int,
        elapsed_s: float,
    ) -> None:
        """Counts a Predict that is answered or refused.

        Args:
            entrypoint: GRPC or REST.
            error: why it was refused; a `RequestError` has its code, anything else is INTERNAL.
            signature: that answered; only of one that the model has.
            rows: of the request.
            elapsed_s: since it was received.
        """
        self._in_flight.dec()
        if error is None:
            status = "OK"
            self._rows(signature).observe(rows)
            self._latencies_s(signature).observe(elapsed_s)
        else:
            code = error.code if isinstance(error, RequestError) else grpc.StatusCode.INTERNAL
            status = code.name
        self._counts(self._model_name, status).inc()
        self._latencies_us(self._model_name, "Predict", entrypoint, status).observe(1e6 * elapsed_s)

    def run(self, run: Run) -> None:
        """Counts one run of the graph."""
        self._batch_rows.observe(run.rows)
        self._queue_s.observe(run.waited_s)
        self._runtime_us.observe(1e6 * run.elapsed_s)
        self._graph_runs.inc()
        self._graph_run_us.inc(1e6 * run.elapsed_s)

    def queue_length(self, function: Callable[[], int]) -> None:
        """Shows, on each page, how many requests wait."""
        self._queue_length.set_function(function)

    def page(self) -> bytes:
        """Everything, in Prometheus's text format."""
        text = prometheus_client.generate_latest(self._registry)
        # The library ends a counter's name in _total; TF Serving's have no such end.
        for name in _COUNTERS:
            text = text.replace(f"{name}_total".encode(), name.encode())
        return text

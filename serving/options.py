"""What a server can be told: each option with its default, its bounds and its flag's text, once."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from configs.errors import UserError


def _option(
    default: Any, text: str, *, least: float | None = None, most: float | None = None
) -> Any:
    """A field with what `--help` says of it; None where the option is off is within any bounds."""
    return dataclasses.field(default=default, metadata={"help": text, "least": least, "most": most})


_REQUIRED = dataclasses.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The options of one server; each is a flag of `serving.server`, and its text is the flag's.

    Options that are None are off, as TF Serving has them.
    """

    model_base_path: Path = _option(
        _REQUIRED, "Directory of the model's versions, each named by an integer."
    )
    model_name: str = _option(_REQUIRED, "What clients call the model.")
    version: int | None = _option(
        None, "The version to stay on, whatever else is published; the newest without it.", least=0
    )
    host: str = _option("127.0.0.1", "Address to listen on.")
    port: int = _option(8500, "Port of gRPC; 0 picks a free one.", least=0, most=65535)
    rest_api_port: int = _option(
        8501,
        "Port of REST and metrics; 0 picks a free one, -1 offers neither.",
        least=-1,
        most=65535,
    )
    max_concurrent_requests: int | None = _option(
        256, "gRPC requests running or waiting; one more gets RESOURCE_EXHAUSTED at once.", least=1
    )
    max_message_mib: int | None = _option(
        64, "The largest request, in MiB; a larger one is refused unread.", least=1, most=2047
    )
    max_batch: int | None = _option(
        1024, "Rows of a request; one with more gets INVALID_ARGUMENT.", least=1
    )
    max_history_length: int | None = _option(
        10_000, "Values in a row of an input, such as a history.", least=1
    )
    max_exclusions: int | None = _option(
        10_000, "Items in a row that a request leaves out (exclude_item_id).", least=1
    )
    num_batch_threads: int = _option(
        os.cpu_count() or 1,
        "Runs of the graph at the same time; requests that come meanwhile wait.",
        least=1,
        most=1024,
    )
    max_batch_size: int = _option(
        32, "Rows of waiting requests to run together; 1 runs each alone.", least=1
    )
    batch_timeout_ms: float = _option(
        0.0, "How long a run waits for more rows than it has.", least=0, most=1000
    )
    tensorflow_intra_op_parallelism: int = _option(
        1, "Threads that one operation may use; 0 lets TensorFlow take every core.", least=0
    )
    poll_interval_s: float = _option(
        1.0, "Seconds between looks for new versions.", least=0.01, most=3600
    )

    enable_reload_config: bool = _option(
        False, "Let any client change what is served and from where (HandleReloadConfigRequest)."
    )

    ssl_certificate: Path | None = _option(
        None, "PEM of the server's certificate and those it hangs from: TLS on both ports."
    )
    ssl_key: Path | None = _option(None, "PEM of its private key, without a passphrase.")
    client_ca: Path | None = _option(
        None, "PEM of the authorities whose clients are let in: mutual TLS on both ports."
    )

    def validate(self) -> Self:
        """The options themselves.

        Raises:
            UserError: a value is out of its bounds; it names the flag.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least, most = field.metadata["least"], field.metadata["most"]
            if value is None or (least is None and most is None):
                continue
            # Written so that a NaN is refused too.
            if not ((least is None or value >= least) and (most is None or value <= most)):
                expected = f"at least {least}" if most is None else f"{least} to {most}"
                raise UserError(f"--{field.name}: found {value}, expected {expected}")
        if (self.ssl_certificate is None) != (self.ssl_key is None):
            missing = "ssl_certificate" if self.ssl_certificate is None else "ssl_key"
            raise UserError(
                f"--{missing}: found none, expected both --ssl_certificate and --ssl_key"
            )
        if self.client_ca is not None and self.ssl_certificate is None:
            raise UserError(
                "--client_ca: found no --ssl_certificate, without TLS no client is known"
            )
        if not self.model_name:
            raise UserError("--model_name: found an empty name, expected what clients will ask for")
        return self

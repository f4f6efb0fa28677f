"""How much one request may ask for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from serving.request_errors import RequestError
from serving.signatures import EXCLUDE_ITEM_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of the tensors of one request; None is no limit.

    Attributes:
        max_batch: rows, the first dimension.
        max_history_length: values in a row, the dimensions after the first.
        max_exclusions: the same of `exclude_item_id`.
    """

    max_batch: int | None = None
    max_history_length: int | None = None
    max_exclusions: int | None = None

    def check(self, name: str, shape: Sequence[int]) -> None:
        """Refuses what is too large, before it is decoded: a small message may state a huge shape.

        Args:
            name: of the input.
            shape: as the request states it.

        Raises:
            RequestError: INVALID_ARGUMENT, for the same request will not do later either.
        """
        if not shape:
            return
        if self.max_batch is not None and shape[0] > self.max_batch:
            raise _refusal(name, "rows", shape[0], "max_batch", self.max_batch)
        # The product: a tensor of too high a rank is refused too, but only once it is decoded.
        values = math.prod(shape[1:])
        if name == EXCLUDE_ITEM_ID:
            flag, most = "max_exclusions", self.max_exclusions
        else:
            flag, most = "max_history_length", self.max_history_length
        if most is not None and values > most:
            raise _refusal(name, "values in a row", values, flag, most)


def _refusal(name: str, what: str, found: int, flag: str, most: int) -> RequestError:
    return RequestError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"input {name} has {found} {what}, this server takes {most} at most (--{flag})",
    )

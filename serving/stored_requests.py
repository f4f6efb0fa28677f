"""Requests of a dataset's users: some to tune an index on, others to measure it with."""

import numpy as np

from configs.errors import UserError
from serving.requests import Request, build_request, load_states
from trainer.dataset import Dataset

_TUNING_USERS = 1_000
_HELD_OUT_USERS = 500


def stored_requests(dataset: Dataset) -> tuple[Request, Request]:
    """Requests to tune on and held-out ones, the same ones each time.

    Raises:
        UserError: the dataset holds no user.
    """
    states = load_states(
        dataset.root, dataset.manifest, dataset.spec, sample=_TUNING_USERS + _HELD_OUT_USERS
    )
    count = len(states.user_id)
    if not count:
        raise UserError(f"--dataset={dataset.root}: found no user, expected at least one")
    request = build_request(dataset.spec, states)
    held_out = np.arange(count) % 3 == 2 if count >= 3 else np.ones(count, bool)
    tuning = ~held_out if count >= 3 else held_out
    return (
        {name: column[tuning] for name, column in request.items()},
        {name: column[held_out] for name, column in request.items()},
    )

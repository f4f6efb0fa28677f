"""What each row's positive is told apart from: which candidates, and how much each weighs."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from configs.schema import Correction, Duplicates, Frequency, LossKind
from configs.schema import Loss as LossConfig
from trainer.candidate_columns import (
    Columns,
    Inputs,
    Vectors,
    copies_of_item,
    mask_of_pairs,
    with_memory,
    without_history,
    without_shown,
)
from trainer.frequency import StreamingFrequency
from trainer.losses import MASKED, Drawn, Scores, log_expected, log_weights
from trainer.memory import ItemMemory
from trainer.replicas import own_pairs, own_rows


class Negatives(tf.Module):
    """Scores a batch's candidates for each of its rows.

    Candidates are the batch's own positives, items drawn uniformly, the memory's, and each row's
    impressed ones, as the config mixes them. Masked for a row are the positives of its user, in the
    batch and in the memory, wherever their items stand; the items of its history, which no request
    is answered with; and the items uploaded after its day: what was not there to be liked says
    nothing of the user, and would teach that new is unliked.

    Attributes:
        memory: of earlier batches' positives; None without.
        frequency: estimates shares; None where they are counted.
    """

    def __init__(
        self,
        config: LossConfig,
        *,
        dim: int,
        num_items: int,
        upload_day: npt.NDArray[np.int64],
        seed: int,
    ) -> None:
        """Remembers nothing yet.

        Args:
            config: the mix of candidates.
            dim: of their vectors.
            num_items: what uniform ones are drawn from.
            upload_day: int64 [items + 1], the first day on which each item exists.
            seed: of the frequency estimates' hashes.
        """
        super().__init__(name="negatives")
        self._config = config
        self._num_items = num_items
        self._upload_day = tf.constant(upload_day) if upload_day.any() else None
        # The full softmax samples nothing: every item stands for itself.
        is_full = config.kind is LossKind.FULL_SOFTMAX
        self._correction = Correction.NONE if is_full else config.correction
        self.memory = ItemMemory(config.memory_size, dim) if config.memory_size else None
        self.frequency = None
        if config.frequency is Frequency.STREAMING:
            self.frequency = StreamingFrequency(
                arrays=config.frequency_arrays,
                buckets=config.frequency_buckets,
                rate=config.frequency_rate,
                seed=seed,
            )

    def score(
        self,
        users: tf.Tensor,
        candidates: tf.Tensor,
        inputs: Inputs,
        *,
        temperature: tf.Tensor,
        use_memory: tf.Tensor | bool = False,
    ) -> list[Scores]:
        """Scores candidates, and remembers the batch's positives for later ones.

        Nothing is learnt through the memory. Counted in the one loss, its items would leave little
        of what pushes items from users beside what pulls them there, and all items would drift to
        one place. So users learn from all candidates, items from those through which they learn.

        Args:
            users: float32 [B, dim], unit vectors; of this replica's rows, if there are several.
            candidates: float32 [T, dim], those of `inputs["candidate_item"]`.
            inputs: a batch of `trainer.input.train_batches`.
            temperature: float32 [].
            use_memory: bool [], whether the memory's items are candidates yet.

        Returns:
            Scores of items for each user; with a memory from it and all others, of which users
            alone learn, then from all others, of which items alone learn; of a symmetric loss also
            of users for each item.
        """
        share = self._shares(inputs)
        vectors = Vectors(users=users, candidates=candidates, temperature=temperature)
        if self.memory is None:
            scores = [self._items_of_users(vectors, inputs, share)]
        else:
            used = tf.where(use_memory, self.memory.filled, 0)
            of_users = replace(vectors, candidates=tf.stop_gradient(candidates))
            of_items = replace(vectors, users=tf.stop_gradient(users))
            scores = [
                self._items_of_users(of_users, inputs, share, used),
                self._items_of_users(of_items, inputs, share),
            ]
            index = inputs["positive_index"]
            self.memory.push(
                vector=tf.gather(candidates, index),
                item=tf.gather(inputs["candidate_item"], index),
                user=inputs["user"],
                share=tf.gather(share, index),
            )
        if self._config.symmetric:
            scores.append(self._users_of_items(vectors, inputs, share))
        return scores

    def _shares(self, inputs: Inputs) -> tf.Tensor:
        """Of the drawn candidates, float32 [T], counted or estimated; an estimate counts these."""
        if self.frequency is None:
            return inputs["candidate_share"]
        item = inputs["candidate_item"][: tf.shape(inputs["candidate_copies"])[0]]
        self.frequency.update(tf.gather(item, inputs["positive_index"]))
        return self.frequency.share(item)

    def _items_of_users(
        self,
        vectors: Vectors,
        inputs: Inputs,
        share: tf.Tensor,
        used: tf.Tensor | None = None,
    ) -> Scores:
        """Items for each user, of the memory too where so many of its slots, int64 [], are used."""
        columns = self._drawn_columns(vectors, inputs, share)
        positive_index = own_rows(inputs["positive_index"])
        # Not out of all logits: their gradient would be as large as they are, all but empty.
        positive = tf.squeeze(vectors.logits_of_own(positive_index[:, tf.newaxis]), 1)
        # Of the whole batch: what the other replicas' rows know of a user is known of this one's.
        item_of_row = tf.gather(columns.item, inputs["positive_index"])
        shown = inputs.get("impressed_index")
        if shown is not None:
            shown = own_rows(shown)
            also = own_pairs(inputs["impressed_masked"], tf.shape(item_of_row, tf.int64)[0])
            columns = replace(columns, masked=tf.concat([columns.masked, also], 0))
        if self.memory is not None and used is not None:
            remembered = vectors.logits(self.memory.vector)
            columns = with_memory(
                columns, inputs["user"], item_of_row, self.memory, used, remembered
            )
            if "had_before" in inputs:
                rows = tf.shape(item_of_row, tf.int64)[0]
                had_before = own_pairs(inputs["had_before"], rows)
                columns = without_history(columns, had_before, self.memory)
            if shown is not None:
                columns, shown = without_shown(columns, shown, inputs, self.memory, used)
        mix = Drawn(
            copies=columns.copies,
            share=columns.share,
            rows=columns.rows,
            own_rows=columns.own_rows,
            uniform=self._config.uniform_negatives,
            num_items=self._num_items,
            since=self._since(columns.item),
            day=own_rows(inputs["row_day"]),
        )
        of_item = None
        if self._config.duplicates is Duplicates.REMOVED:
            of_item = copies_of_item(columns.item, columns.copies)
        log_weight = log_weights(mix, self._correction, copies_of_item=of_item)
        log_weight = columns.without_masked(log_weight)
        negatives = columns.logits
        if shown is not None:
            # A row's own: there for sure, so each stands for itself.
            impressed = vectors.logits_of_own(tf.maximum(shown, 0))
            negatives = tf.concat([negatives, impressed], 1)
            log_weight = tf.concat([log_weight, tf.where(shown >= 0, 0.0, MASKED)], 1)
        share_of_positive = tf.gather(share, positive_index)
        return Scores(
            positive=positive,
            negatives=negatives,
            log_weight=log_weight,
            positive_log_weight=self._positive_log_weight(mix, share_of_positive),
            temperature=vectors.temperature,
        )

    def _drawn_columns(self, vectors: Vectors, inputs: Inputs, share: tf.Tensor) -> Columns:
        """The candidates that were drawn for all rows."""
        copies, positive_index = inputs["candidate_copies"], inputs["positive_index"]
        count = tf.shape(copies)[0]  # the candidates beyond were impressed on some row, no more
        item = inputs["candidate_item"][:count]
        logits = vectors.logits(vectors.candidates[:count])
        rows = tf.shape(positive_index, tf.int64)[0]
        in_batch = float(self._config.in_batch_negatives)
        return Columns(
            item=item,
            copies=copies,
            share=share,
            logits=logits,
            masked=own_pairs(inputs["masked"], rows),
            hidden=None,
            rows=in_batch * tf.cast(rows, tf.float32),
            own_rows=in_batch * own_rows(inputs["rows_of_user"]),
        )

    def _since(self, item: tf.Tensor) -> tf.Tensor | None:
        """The first day of each item, int64 [N] twice; None where no item's is known."""
        return None if self._upload_day is None else tf.gather(self._upload_day, item)

    def _positive_log_weight(self, mix: Drawn, share: tf.Tensor) -> tf.Tensor:
        """Yi et al. correct the positive's logit too."""
        if self._correction is not Correction.LOGQ:
            return tf.zeros_like(share)
        kept = self._config.duplicates is Duplicates.KEPT
        return -log_expected(mix, mix.rows, share, with_duplicates=kept)

    def _users_of_items(self, vectors: Vectors, inputs: Inputs, share: tf.Tensor) -> Scores:
        """The batch's users for the item of each row: who likes it is masked.

        Of the B rows those with the row's own item are masked, c of them; each of the others holds
        a user with the share of train rows that are theirs.
        """
        drawn = self._drawn_columns(vectors, inputs, share)
        positive_index = inputs["positive_index"]
        item_of_row = tf.gather(drawn.item, positive_index)
        negatives = tf.transpose(tf.gather(drawn.logits, positive_index, axis=1))
        _, index, count = tf.unique_with_counts(item_of_row)
        mix = Drawn(
            copies=tf.ones_like(inputs["user_share"]),
            share=inputs["user_share"],
            rows=tf.cast(tf.shape(negatives)[0], tf.float32),
            own_rows=tf.cast(tf.gather(count, index), tf.float32),
            uniform=0,
            num_items=1,
        )
        liked = mask_of_pairs(drawn.masked, tf.shape(drawn.logits, tf.int64))
        masked = tf.transpose(tf.gather(liked, positive_index, axis=1))
        since = self._since(item_of_row)
        if since is not None:
            masked |= since[:, tf.newaxis] > inputs["row_day"]
        log_weight = tf.where(masked, MASKED, log_weights(mix, self._correction))
        return Scores(
            positive=tf.linalg.diag_part(negatives),
            negatives=negatives,
            log_weight=log_weight,
            positive_log_weight=self._positive_log_weight(mix, inputs["user_share"]),
            temperature=vectors.temperature,
        )


def rows_between(inputs: Inputs, first: tf.Tensor, last: tf.Tensor) -> dict[str, tf.Tensor]:
    """A batch with the rows `first`..`last` - 1 alone, and all of its candidates; int32 []."""
    pairs = inputs["masked"]  # in order of rows
    bounds = tf.cast(tf.stack([first, last]), tf.int64)
    start, stop = tf.unstack(tf.searchsorted(pairs[:, 0], bounds))
    names = ("positive_index", "row_day", "rows_of_user", "user")
    by_row = {name: inputs[name][first:last] for name in names}
    return {**inputs, **by_row, "masked": pairs[start:stop] - tf.stack([bounds[0], 0])}

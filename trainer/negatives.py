"""What each row's positive is told apart from: which candidates, and how much each weighs."""

from collections.abc import Mapping

import tensorflow as tf

from configs.schema import Correction, Duplicates, Frequency, LossKind
from configs.schema import Loss as LossConfig
from trainer.frequency import StreamingFrequency
from trainer.losses import MASKED, Drawn, Scores, log_expected, log_weights
from trainer.memory import ItemMemory

Inputs = Mapping[str, tf.Tensor]


class Negatives(tf.Module):
    """Scores a batch's candidates for each of its rows.

    Candidates are the batch's own positives, items drawn uniformly, the memory's, and each row's
    impressed ones, as the config mixes them. Masked for a row are the positives of its user, in the
    batch and in the memory, wherever their items stand.

    Attributes:
        memory: of earlier batches' positives; None without.
        frequency: estimates shares; None where they are counted.
    """

    def __init__(self, config: LossConfig, *, dim: int, num_items: int, seed: int) -> None:
        """Candidates' vectors are `dim` wide; `num_items` are what uniform ones are drawn from."""
        super().__init__(name="negatives")
        self._config = config
        self._num_items = num_items
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

        Args:
            users: float32 [B, dim], unit vectors.
            candidates: float32 [T, dim], those of `inputs["candidate_item"]`.
            inputs: a batch of `trainer.input.train_batches`.
            temperature: float32 [].
            use_memory: bool [], whether the memory's items are candidates yet.

        Returns:
            Scores of items for each user; of a symmetric loss also of users for each item.
        """
        copies, positive_index = inputs["candidate_copies"], inputs["positive_index"]
        drawn = tf.shape(copies)[0]  # the candidates beyond were impressed on some row, no more
        item = inputs["candidate_item"][:drawn]
        item_of_row = tf.gather(item, positive_index)
        share = inputs["candidate_share"]
        if self.frequency is not None:
            self.frequency.update(item_of_row)
            share = self.frequency.share(item)
        rows = tf.shape(users, tf.int64)[0]
        logits = _logits(users, candidates[:drawn], temperature)
        positive = tf.gather_nd(logits, tf.stack([tf.range(rows), positive_index], 1))
        hidden = _pairs(inputs["masked"], tf.shape(logits, tf.int64))
        scores = []
        if self._config.symmetric:
            scores.append(
                self._users_of_items(
                    logits, hidden, inputs, item_of_row=item_of_row, temperature=temperature
                )
            )
        shown = inputs.get("impressed_index")
        if shown is not None:
            hidden |= _pairs(inputs["impressed_masked"], tf.shape(logits, tf.int64))

        in_batch = float(self._config.in_batch_negatives)
        all_rows = in_batch * tf.cast(rows, tf.float32)
        own_rows = in_batch * inputs["rows_of_user"]
        share_of_positive = tf.gather(share, positive_index)
        if self.memory is not None:
            memory = self.memory
            used = tf.where(use_memory, memory.filled, 0)
            also_hidden, entries = _known_to_user(
                inputs["user"], item_of_row, memory, used, tf.concat([item, memory.item], 0)
            )
            logits = tf.concat(
                [logits, _logits(users, tf.cast(memory.vector, users.dtype), temperature)], 1
            )
            hidden = tf.concat([hidden, tf.zeros([rows, memory.size], tf.bool)], 1) | also_hidden
            if shown is not None:
                shown_item = tf.gather(inputs["candidate_item"], tf.maximum(shown, 0))
                shown_item = tf.where(shown >= 0, shown_item, -1)
                copies_in_memory, is_liked = _shown_and_remembered(
                    shown_item, inputs["user"], memory, used
                )
                hidden |= tf.pad(copies_in_memory, [[0, 0], [drawn, 0]])
                shown = tf.where(is_liked, -1, shown)
            copies = tf.concat(
                [copies, tf.cast(tf.range(memory.size, dtype=tf.int64) < used, tf.float32)], 0
            )
            item = tf.concat([item, memory.item], 0)
            share = tf.concat([share, memory.share], 0)
            all_rows += tf.cast(used, tf.float32)
            own_rows += entries
            memory.push(
                vector=tf.gather(candidates, positive_index),
                item=item_of_row,
                user=inputs["user"],
                share=share_of_positive,
            )
        mix = Drawn(
            copies=copies,
            share=share,
            rows=all_rows,
            own_rows=own_rows,
            uniform=self._config.uniform_negatives,
            num_items=self._num_items,
        )
        log_weight = log_weights(
            mix,
            self._correction,
            copies_of_item=(
                _copies_of_item(item, copies)
                if self._config.duplicates is Duplicates.REMOVED
                else None
            ),
        )
        log_weight = tf.where(hidden, MASKED, log_weight)
        if shown is not None:
            # A row's own: there for sure, so each stands for itself.
            impressed = tf.linalg.matvec(tf.gather(candidates, tf.maximum(shown, 0)), users)
            logits = tf.concat([logits, tf.cast(impressed, tf.float32) / temperature], 1)
            log_weight = tf.concat([log_weight, tf.where(shown >= 0, 0.0, MASKED)], 1)
        return [
            Scores(
                positive=positive,
                negatives=logits,
                log_weight=log_weight,
                positive_log_weight=self._positive_log_weight(mix, share_of_positive),
                temperature=temperature,
            ),
            *scores,
        ]

    def _positive_log_weight(self, mix: Drawn, share: tf.Tensor) -> tf.Tensor:
        """Yi et al. correct the positive's logit too."""
        if self._correction is not Correction.LOGQ:
            return tf.zeros_like(share)
        kept = self._config.duplicates is Duplicates.KEPT
        return -log_expected(mix, mix.rows, share, with_duplicates=kept)

    def _users_of_items(
        self,
        logits: tf.Tensor,
        hidden: tf.Tensor,
        inputs: Inputs,
        *,
        item_of_row: tf.Tensor,
        temperature: tf.Tensor,
    ) -> Scores:
        """The batch's users for the item of each row: who likes it is masked.

        Of the B rows those with the row's own item are masked, c of them; each of the others holds
        a user with the share of train rows that are theirs.
        """
        positive_index = inputs["positive_index"]
        negatives = tf.transpose(tf.gather(logits, positive_index, axis=1))
        _, index, count = tf.unique_with_counts(item_of_row)
        mix = Drawn(
            copies=tf.ones_like(inputs["user_share"]),
            share=inputs["user_share"],
            rows=tf.cast(tf.shape(logits)[0], tf.float32),
            own_rows=tf.cast(tf.gather(count, index), tf.float32),
            uniform=0,
            num_items=1,
        )
        masked = tf.transpose(tf.gather(hidden, positive_index, axis=1))
        log_weight = tf.where(masked, MASKED, log_weights(mix, self._correction))
        return Scores(
            positive=tf.linalg.diag_part(negatives),
            negatives=negatives,
            log_weight=log_weight,
            positive_log_weight=self._positive_log_weight(mix, inputs["user_share"]),
            temperature=temperature,
        )


def _logits(users: tf.Tensor, items: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Float32 [B, N], whatever the precision of the vectors."""
    return tf.cast(tf.matmul(users, items, transpose_b=True), tf.float32) / temperature


def _pairs(pairs: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """True at each pair, int64 [n, 2]: bool of the shape."""
    return tf.scatter_nd(pairs, tf.ones(tf.shape(pairs)[:1]), shape) > 0


def _copies_of_item(item: tf.Tensor, copies: tf.Tensor) -> tf.Tensor:
    """Copies of each column's item over all of its columns: float32 [N]."""
    distinct, index = tf.unique(item)
    return tf.gather(tf.math.unsorted_segment_sum(copies, index, tf.shape(distinct)[0]), index)


def _known_to_user(
    user: tf.Tensor,
    item_of_row: tf.Tensor,
    memory: ItemMemory,
    used: tf.Tensor,
    columns: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which columns hold a positive of the row's user, of the batch or of the memory.

    Args:
        user: int64 [B].
        item_of_row: int64 [B].
        memory: whose first `used` slots count.
        used: int64 [].
        columns: int64 [N], items.

    Returns:
        bool [B, N], and the memory's entries of each row's user, float32 [B].
    """
    distinct, user_index = tf.unique(user)
    order = tf.argsort(distinct)
    ascending = tf.gather(distinct, order)
    place = tf.minimum(tf.searchsorted(ascending, memory.user), tf.shape(ascending)[0] - 1)
    is_known = (tf.gather(ascending, place) == memory.user) & (
        tf.range(memory.size, dtype=tf.int64) < used
    )
    entry = tf.where(is_known)[:, 0]
    owner = tf.gather(order, tf.gather(place, entry))
    liked_by = tf.concat([user_index, owner], 0)
    liked = tf.concat([item_of_row, tf.gather(memory.item, entry)], 0)
    at = tf.where(liked[:, tf.newaxis] == columns)
    pairs = tf.stack([tf.cast(tf.gather(liked_by, at[:, 0]), tf.int64), at[:, 1]], 1)
    shape = tf.stack([tf.shape(distinct, tf.int64)[0], tf.shape(columns, tf.int64)[0]])
    entries = tf.math.unsorted_segment_sum(
        tf.ones_like(owner, tf.float32), owner, tf.shape(distinct)[0]
    )
    return tf.gather(_pairs(pairs, shape), user_index), tf.gather(entries, user_index)


def _shown_and_remembered(
    shown: tf.Tensor, user: tf.Tensor, memory: ItemMemory, used: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Impressed items that the memory holds, and those it holds as a positive of the same user.

    Args:
        shown: int64 [B, K], items; -1 for none.
        user: int64 [B].
        memory: whose first `used` slots count.
        used: int64 [].

    Returns:
        bool [B, memory.size], whose copies those are; bool [B, K], which are liked after all.
    """
    mine = (user[:, tf.newaxis] == memory.user) & (tf.range(memory.size, dtype=tf.int64) < used)
    copies, liked = tf.zeros_like(mine), []
    for item in tf.unstack(shown, axis=1):
        same = item[:, tf.newaxis] == memory.item
        copies |= same
        liked.append(tf.reduce_any(same & mine, 1))
    return copies, tf.stack(liked, 1)

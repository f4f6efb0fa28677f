"""The generator of the first StreamRec document: profiles, category weights, content, category.

Its best possible expected HR@100 is known in closed form (0.0336); nothing beats it.
"""

from configs import default
from configs.kinds import Dense, Entity, Sequence, Vocabulary
from configs.schema import Config, Data, Eval, Model, PositiveRule, Protocol, Split, Train
from configs.simulation import StreamRecSimulation


def get_config() -> Config:
    """The run on the StreamRec generator's log."""
    simulation = StreamRecSimulation()
    config = default.get_config()
    config.simulation = simulation
    config.model = Model()
    # All that tells items apart is their category, and it takes some hundred steps to be learnt;
    # until then their vectors are near one another, which is no collapse.
    config.train = Train(max_item_cosine=1.0)
    config.features = {
        "profile": Dense(column="profile_vector", length=simulation.profile_dim),
        "category_weights": Dense(column="category_weights", length=simulation.categories),
        "history": Sequence(),
        "item_id": Vocabulary(column="video_id", entity=Entity.ITEM, dim=4),
        "category": Vocabulary(column="category", entity=Entity.ITEM),
        "content": Dense(
            column="content_vector", entity=Entity.ITEM, length=simulation.content_dim
        ),
    }
    config.data = Data(
        positive=PositiveRule(min_watch_fraction=1.0, events=("like",)),
        split=Split(validation_fraction=0.8, test_fraction=0.8),
    )
    # A user may be drawn to the same item again: nothing is left out.
    config.eval = Eval(protocols=(Protocol.WINDOW,), exclude_seen=False)
    config.export.exclude_history = False
    return config

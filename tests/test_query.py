"""What `serving.query` notices of an answer, without a server."""

from serving.requests import strangers


def test_videos_of_another_dataset_are_noticed() -> None:
    catalog = {"v1": ("title", ""), "v2": ("", "")}
    assert strangers(["v1", "v2"], catalog) is None
    assert strangers([], catalog) is None
    assert strangers(["v1", "x9", "x8"], catalog) == (
        "found 2 of 3 recommended videos that its catalog does not hold, such as 'x9':"
        " they were added since, or the model is another dataset's"
    )

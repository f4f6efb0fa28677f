"""The Beam job: raw tables to the files of a dataset."""

from collections.abc import Mapping

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton

from preprocessing import outputs, tally
from preprocessing.contract import Table
from preprocessing.features import FeatureSpec
from preprocessing.previous import Previous
from preprocessing.sources import SourceFile
from preprocessing.stages import cuts, intake, items, labelling, user_rows


def define_pipeline(
    root: beam.Pipeline,
    *,
    files: tuple[SourceFile, ...],
    tables: Mapping[str, Table],
    spec: FeatureSpec,
    folder: str,
    window_days: int = 0,
    previous: Previous | None = None,
) -> None:
    """Lays out the job.

    Args:
        root: the pipeline.
        files: of all tables.
        tables: what is read of each.
        spec: of the dataset.
        folder: where files are written; `summary.json` there is written last and says what else is.
        window_days: take the events of the last so many UTC days only; 0 for all.
        previous: a dataset whose ids are kept.
    """
    data = spec.data

    # Lines and rows become typed columns, and go to the group of their user. What breaks the
    # contract goes aside; if that is too much, nothing below runs.
    read = (
        root
        | "files" >> beam.Create(files)
        | "spread" >> beam.Reshuffle()
        | "read"
        >> beam.ParDo(intake.Read(tables, data)).with_outputs(
            "videos", "users", "dead", "tally", main="events"
        )
    )
    tally_read = (
        read.tally
        | "add tallies" >> beam.CombineGlobally(tally.add).without_defaults()
        | "check tables" >> beam.Map(intake.check_tables, files, tables, data.max_bad_fraction)
    )

    # One event for each (name, user, video, time), in order, all of a user's in one place.
    deduplicated = (
        read.events
        | "events by group" >> beam.GroupByKey()
        | "deduplicate"
        >> beam.ParDo(intake.Deduplicate(spec), AsSingleton(tally_read)).with_outputs(
            "tally", main="events"
        )
    )
    videos = (
        read.videos
        | "videos together" >> beam.GroupByKey()
        | "one row a video" >> beam.Map(intake.one_row_a_video, AsSingleton(tally_read), previous)
    )

    # Where the log is cut: days are counted first, then the seconds of the days with a cut.
    events, tallies = deduplicated.events, [deduplicated.tally]
    days = (
        events
        | "count days" >> beam.Map(cuts.count_days)
        | "add days" >> beam.CombineGlobally(cuts.add_days).without_defaults()
    )
    if window_days:
        days = days | "last days" >> beam.Map(cuts.last_days, window_days)
        recent = events | "recent" >> beam.ParDo(cuts.Recent(), AsSingleton(days)).with_outputs(
            "tally", main="events"
        )
        events = recent.events
        tallies.append(recent.tally)
    splits = (
        events
        | "count seconds" >> beam.Map(cuts.count_seconds, spec, AsSingleton(days))
        | "add seconds" >> beam.CombineGlobally(tally.add).without_defaults()
        | "find splits" >> beam.Map(cuts.cut, spec, AsSingleton(days))
    )

    # Positives, labels and their splits; and what they say of items.
    labelled = events | "label" >> beam.ParDo(
        labelling.Label(spec), AsSingleton(videos), AsSingleton(splits)
    ).with_outputs("items", "daily", "hashes", "tally", main="events")
    tally_labels = (
        (labelled.tally, *tallies)
        | "label tallies" >> beam.Flatten()
        | "add label tallies" >> beam.CombineGlobally(tally.add).without_defaults()
        | "check labels" >> beam.Map(labelling.check_labels, AsSingleton(splits))
    )
    next_limit = (
        labelled.hashes
        | "next queries"
        >> beam.CombineGlobally(labelling.SmallestHashes(data.max_next_queries)).without_defaults()
    )

    # The catalog numbers all items; statistics of items by day follow its numbers.
    catalog = (
        labelled.items
        | "item facts together" >> beam.GroupByKey()
        | "catalog"
        >> beam.Map(
            items.number_items,
            spec,
            AsSingleton(videos),
            AsSingleton(splits),
            AsSingleton(tally_labels),
            previous,
        )
    )
    statistics = (
        labelled.daily
        | "daily counts together" >> beam.GroupByKey()
        | "item statistics" >> beam.Map(items.statistics_by_day, spec, AsSingleton(catalog))
    )

    # Titles and such, each distinct text once; only the file of the catalog takes their vectors.
    texts = (
        videos
        | "distinct texts" >> beam.FlatMap(items.distinct_texts, spec)
        | "spread texts" >> beam.Reshuffle()
        | "embed texts" >> beam.Map(items.embed_texts)
    )

    # Rows and queries, each as of its own moment, then to the file that its hash says.
    rows = (
        {"events": labelled.events, "users": read.users}
        | "users to their events" >> beam.CoGroupByKey()
        | "rows"
        >> beam.ParDo(
            user_rows.Rows(spec, tables["events"], tables["users"]),
            AsSingleton(splits),
            AsSingleton(catalog),
            AsSingleton(statistics),
            AsSingleton(next_limit),
        ).with_outputs("users", "positives", "values", "tally", main="rows")
    )
    written = [
        rows.rows
        | "rows by file" >> beam.GroupByKey()
        | "write rows" >> beam.Map(outputs.write_rows, folder, spec, AsSingleton(catalog)),
        rows.users
        | "users together" >> beam.GroupByKey()
        | "write users" >> beam.Map(outputs.write_users, folder),
        rows.positives
        | "positives together" >> beam.GroupByKey()
        | "write positives" >> beam.Map(outputs.write_positives, folder),
        catalog
        | "write catalog"
        >> beam.Map(outputs.write_catalog, folder, spec, AsSingleton(videos), AsList(texts)),
        statistics | "write statistics" >> beam.Map(outputs.write_item_statistics, folder, spec),
        read.dead
        | "dead letters together" >> beam.GroupByKey()
        | "write dead letters" >> beam.Map(outputs.write_dead_letters, folder),
    ]
    tally_rows = (
        rows.tally | "add row tallies" >> beam.CombineGlobally(tally.add).without_defaults()
    )
    written.append(
        rows.values
        | "values together" >> beam.GroupByKey()
        | "write assets"
        >> beam.FlatMap(
            outputs.write_assets,
            folder,
            spec,
            AsSingleton(catalog),
            AsSingleton(tally_rows),
            previous,
        )
    )
    (
        written
        | "all files" >> beam.Flatten()
        | "files together" >> beam.combiners.ToList()
        | "write summary"
        >> beam.Map(
            outputs.write_summary,
            folder,
            AsSingleton(splits),
            AsSingleton(tally_read),
            AsSingleton(tally_labels),
            AsSingleton(tally_rows),
            AsSingleton(videos),
            AsSingleton(catalog),
        )
    )

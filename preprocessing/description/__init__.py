"""What a dataset holds, put so that a person sees at a glance whether it is right.

`reading` decodes packed records without TensorFlow, `sample` makes one pass over a set of rows,
`columns` says what is described, `statistics` and `drift` reduce it, `dataset` puts one dataset's
description together, `comparison` two; `plots`, `page` and `tables` show it.
"""

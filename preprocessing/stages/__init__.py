"""What the job does with each element; `preprocessing.pipeline` says in which order.

Elements are (group of users, packed frame), so that work is over columns; what all groups share
arrives as a side input.
"""

"""Consumers: what reads the log. Workers handle records, projections fold them, replay proves.

`streams` knows nothing of this package.
"""

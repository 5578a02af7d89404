"""Readers: why did it do that? Each turns a run's record into something for people or programs; none writes."""

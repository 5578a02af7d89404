"""Benchmarks: each row measures holdfast beside a raw reference on the same file system in the same run."""

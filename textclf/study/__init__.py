"""Benchmarks: many trainings, executed by one runner and compared with statistics."""

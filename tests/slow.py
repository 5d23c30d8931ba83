"""Tests that take more than 5 s of one core, dearest first: a file, or one test of a file."""

SLOW = ("tests/test_build.py",)

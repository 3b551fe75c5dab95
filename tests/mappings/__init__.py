"""Tests of mappings, file for file."""

"""Adaptation: golden files, tables of single steps, and properties."""

"""Conversion between wire messages and domain values, written by hand, in both directions. It happens only here."""

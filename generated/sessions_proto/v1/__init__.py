# Generated from protos/ by `make gen` (protos/generate.py). Do not edit.
"""Messages and stubs of the protobuf package `sessions.v1`."""

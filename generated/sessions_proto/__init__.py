# Generated from protos/ by `make gen` (protos/generate.py). Do not edit.
"""The generated code of the `sessions` protocol, one package for each version."""

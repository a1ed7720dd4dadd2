"""Measures the server beside a bare gRPC echo and beside its peers, in one run on one machine."""

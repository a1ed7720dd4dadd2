"""Measures the server relative to a bare gRPC echo and to comparable libraries, in one run on one machine."""

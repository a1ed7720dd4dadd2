"""HTTP as a driver of `rpc.calls`: Connect, gRPC-Web, JSON, events and the console, on a separate port."""

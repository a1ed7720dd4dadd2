"""The Sessions server: keeps the state of conversations and serves it over gRPC."""

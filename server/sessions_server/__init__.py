"""The Sessions server: keeps the state of conversations behind a gRPC service."""

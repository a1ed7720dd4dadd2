"""Several server processes behind one address: one process starts, watches and stops them, and serves their metrics.

Each worker is a complete replica. The process that supervises them imports neither gRPC nor SQLAlchemy, and serves no
call itself.
"""

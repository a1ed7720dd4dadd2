"""What only shows at size. Each module is run by hand, as its first lines say, and prints its figures."""
